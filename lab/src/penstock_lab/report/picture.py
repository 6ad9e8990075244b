"""The plots of a report, drawn with matplotlib: one PNG of all of them, or each as SVG in light or dark.

Figures are made without pyplot, so nothing global is touched and no display is needed. The same report gives the same
bytes: no dates, no random ids.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.typing import RcKeyType

from penstock_lab.report.model import Plot, Report, Series, Tone

_WIDTH_INCHES: Final = 11.0
_HEIGHT_INCHES: Final = 2.6
_PNG_DPI: Final = 80
_HEADROOM: Final = 1.2  # for the labels of the spans
_LOG_HEADROOM: Final = 2.0
_SETTINGS: Final[dict[RcKeyType, Any]] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "svg.fonttype": "path",
    "svg.hashsalt": "penstock",
    "path.simplify": True,
}


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours of one look."""

    paper: str
    ink: str
    faint: str
    shade: str
    tones: dict[Tone, str]


LIGHT: Final = Theme(
    paper="#ffffff",
    ink="#1f2933",
    faint="#7b8794",
    shade="#eef2f6",
    tones={
        "blue": "#1f6feb",
        "green": "#2da44e",
        "orange": "#bc6c00",
        "red": "#cf222e",
        "purple": "#8250df",
        "grey": "#7b8794",
    },
)
DARK: Final = Theme(
    paper="#161b22",
    ink="#e6edf3",
    faint="#8b949e",
    shade="#1f2630",
    tones={
        "blue": "#58a6ff",
        "green": "#3fb950",
        "orange": "#e3a03f",
        "red": "#ff7b72",
        "purple": "#bc8cff",
        "grey": "#8b949e",
    },
)


def render_png(report: Report, *, theme: Theme = LIGHT) -> bytes:
    """All plots above each other, with title, banner, phases and marks."""
    with mpl.rc_context(_SETTINGS):
        figure = _figure(report, report.plots, theme, title=report.title)
        FigureCanvasAgg(figure)
        sink = io.BytesIO()
        figure.savefig(sink, format="png", dpi=_PNG_DPI, metadata={"Software": None}, pil_kwargs={"optimize": True})
    return sink.getvalue()


def write_png(report: Report, path: Path) -> Path:
    """Write the picture and return its path."""
    path.write_bytes(render_png(report))
    return path


def render_svg(report: Report, plot: Plot, *, theme: Theme) -> str:
    """One plot as an SVG document that refers to nothing outside itself."""
    with mpl.rc_context(_SETTINGS):
        figure = _figure(report, [plot], theme, title="")
        FigureCanvasSVG(figure)
        sink = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(sink, format="svg", metadata=nothing)
    text = sink.getvalue()
    return text[text.index("<svg") :]  # without the XML and document type declarations, which name a W3C address


def _figure(report: Report, plots: Sequence[Plot], theme: Theme, *, title: str) -> Figure:
    heading = (0.9 if report.banner else 0.55) if title else 0.0
    height = _HEIGHT_INCHES * max(1, len(plots)) + heading
    figure = Figure(figsize=(_WIDTH_INCHES, height), facecolor=theme.paper, layout="constrained")
    if title:
        figure.get_layout_engine().set(rect=(0, 0, 1, 1 - heading / height))  # type: ignore[union-attr,call-arg]  # the constrained engine was asked for above, and takes it
        figure.text(
            0.01, 1 - 0.18 / height, plain_text(title), color=theme.ink, fontsize=13, fontweight="bold", va="top"
        )
        if report.banner:
            box = {"facecolor": "#ffd33d", "edgecolor": "none", "pad": 3}
            figure.text(0.012, 1 - 0.58 / height, plain_text(report.banner), color="#24292f", bbox=box, va="top")
    together = not any(plot.across for plot in plots)
    grid = figure.subplots(max(1, len(plots)), sharex=together, squeeze=False)
    for axes, plot in zip(grid[:, 0], plots, strict=False):
        _draw(axes, report, plot, theme)
    return figure


def _draw(axes: Axes, report: Report, plot: Plot, theme: Theme) -> None:
    _dress(axes, plot, theme)
    if not plot.across:
        _draw_moments(axes, report, theme)
    _draw_series(axes, plot, theme)
    for limit in plot.thresholds:
        label = f"{plain_text(limit.label)} ({limit.value:g})"
        axes.axhline(limit.value, color=theme.tones["red"], linewidth=1.2, linestyle="--", label=label)
    if plot.logarithmic:
        axes.set_ylim(top=axes.get_ylim()[1] * _LOG_HEADROOM)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, labelcolor=theme.ink, fontsize=8)


def _draw_moments(axes: Axes, report: Report, theme: Theme) -> None:
    """Phases of the load, and what happened."""
    for number, span in enumerate(report.spans):
        if number % 2 == 0:
            axes.axvspan(span.begin, span.end, color=theme.shade, zorder=0, linewidth=0)
        axes.annotate(
            plain_text(span.label),
            xy=((span.begin + span.end) / 2, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(0, -3),
            textcoords="offset points",
            ha="center",
            va="top",
            fontsize=7.5,
            color=theme.faint,
        )
    for mark in report.marks:
        axes.axvline(mark.at, color=theme.tones[mark.tone], linewidth=0.8, linestyle=":", zorder=1)
        axes.annotate(
            plain_text(mark.label),
            xy=(mark.at, 0.0),
            xycoords=("data", "axes fraction"),
            xytext=(2, 2),
            textcoords="offset points",
            fontsize=7,
            color=theme.tones[mark.tone],
        )


def _dress(axes: Axes, plot: Plot, theme: Theme) -> None:
    axes.set_facecolor(theme.paper)
    axes.set_title(plain_text(plot.title), loc="left", color=theme.ink, fontsize=10, fontweight="bold")
    axes.set_ylabel(plain_text(plot.unit), color=theme.ink)
    axes.set_xlabel(plain_text(plot.across) or "seconds since the load began", color=theme.ink)
    axes.tick_params(colors=theme.ink, labelbottom=True)
    axes.grid(visible=True, color=theme.faint, alpha=0.25, linewidth=0.6)
    axes.margins(x=0.01)
    for name, spine in axes.spines.items():
        spine.set_visible(name in ("left", "bottom"))
        spine.set_color(theme.faint)
    if plot.logarithmic:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")


def _draw_series(axes: Axes, plot: Plot, theme: Theme) -> None:
    floor: list[float] = []
    highest: list[float] = []
    for series in plot.series:
        xs = [x for x, _ in series.points]
        ys = [_drawable(y, positive=plot.logarithmic) for _, y in series.points]
        colour = theme.tones[series.tone]
        if series.kind == "stack":
            floor = floor or [0.0] * len(ys)
            top = [low + (0.0 if math.isnan(y) else y) for low, y in zip(floor, ys, strict=True)]
            axes.fill_between(
                xs, floor, top, step="post", color=colour, alpha=0.55, linewidth=0, label=plain_text(series.label)
            )
            floor = top
            highest += top
        elif series.kind == "spot":
            _spots(axes, series, xs, ys, theme)
        else:
            _line(axes, series, xs, ys, colour)
    if not plot.logarithmic:
        limits = [limit.value for limit in plot.thresholds]
        axes.set_ylim(0.0, _HEADROOM * max([*highest, *_values(plot.series), *limits], default=0.0) or 1.0)


def _values(lines: Sequence[Series]) -> Iterator[float]:
    return (y for series in lines for _, y in series.points if y is not None and math.isfinite(y))


def _line(axes: Axes, series: Series, xs: list[float], ys: list[float], colour: str) -> None:
    axes.plot(
        xs,
        ys,
        color=colour,
        linewidth=1.5,
        linestyle="--" if series.dashed else "-",
        drawstyle="steps-post" if series.kind == "step" else "default",
        label=plain_text(series.label),
    )


def _spots(axes: Axes, series: Series, xs: list[float], ys: list[float], theme: Theme) -> None:
    axes.scatter(xs, ys, color=theme.tones[series.tone], s=24, zorder=3)
    for x, y in zip(xs, ys, strict=True):
        axes.annotate(
            plain_text(series.label),
            xy=(x, y),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=7.5,
            color=theme.ink,
        )


def _drawable(value: float | None, *, positive: bool) -> float:
    if value is None or not math.isfinite(value) or (positive and value <= 0):
        return math.nan
    return value


def plain_text(text: str) -> str:
    """Text as it is: a dollar sign starts no formula."""
    return text.replace("$", r"\$")
