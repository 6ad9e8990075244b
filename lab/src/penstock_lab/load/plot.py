"""Pictures of a load and of a sweep, as PNG."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from penstock_lab.load.text import printable
from penstock_lab.report.picture import plain_text

_SIZE: Final = (11.0, 8.0)


def draw(report: dict[str, Any], path: Path) -> None:
    """A load over time: rates, requests in flight, tokens, TTFT; the warm-up is shaded."""
    series, meta = report["series"], report["meta"]
    figure = Figure(figsize=_SIZE, layout="constrained")
    grid: Any = figure.subplots(2, 2, sharex=True)
    rates, flight, tokens, first = grid.flat
    at = series["second"]
    for key in ("sent", "answered", "failed"):
        rates.plot(at, series[key], label=key, linewidth=1, color="crimson" if key == "failed" else None)
    rates.set_ylabel("requests/s")
    rates.legend()
    flight.plot(at, series["in_flight"], linewidth=1)
    flight.set_ylabel("requests in flight")
    tokens.plot(at, series["output_tokens"], linewidth=1)
    tokens.set_ylabel("output tokens/s")
    for key, label in (("ttft_p50_seconds", "p50"), ("ttft_p99_seconds", "p99")):
        first.plot(at, _numbers(series[key]), label=label, linewidth=1)
    first.set_ylabel("TTFT by due second (s)")
    if "ttft" in report["objectives"]:
        first.axhline(report["objectives"]["ttft"]["threshold_seconds"], color="grey", linestyle=":", label="objective")
    first.legend()
    for axes in grid.flat:
        _finish(axes)
        if meta.get("warmup_seconds"):
            axes.axvspan(0, meta["warmup_seconds"], color="grey", alpha=0.15)
    for axes in (tokens, first):
        axes.set_xlabel("seconds")
    figure.suptitle(_title(meta))
    figure.savefig(path, dpi=110)


def draw_sweep(sweep: dict[str, Any], path: Path) -> None:
    """Latency and throughput over the offered rate, and latency over throughput; the knee is marked."""
    steps = sorted(sweep["steps"], key=lambda step: float(step["requests_per_second"]))
    figure = Figure(figsize=_SIZE, layout="constrained")
    grid: Any = figure.subplots(2, 2)
    first, pace, through, curve = grid.flat
    rate = [step["requests_per_second"] for step in steps]
    output = [step["rates"]["output_tokens_per_second"] for step in steps]
    for axes, key, title in ((first, "ttft_seconds", "TTFT (s)"), (pace, "itl_seconds", "ITL (s)")):
        for percentile in ("p50", "p99"):
            values = _numbers([step["latency"][key][percentile] for step in steps])
            axes.plot(rate, values, marker="o", label=percentile)
        axes.set_ylabel(title)
        threshold = sweep["objectives"].get(key.removesuffix("_seconds"))
        if threshold is not None:
            axes.axhline(threshold, color="grey", linestyle=":", label="objective")
        axes.set_yscale("log")
    through.plot(rate, [step["rates"]["answered_requests_per_second"] for step in steps], marker="o", label="answered")
    through.plot(rate, [step["rates"]["goodput_requests_per_second"] for step in steps], marker="o", label="goodput")
    through.plot(rate, rate, color="grey", linestyle=":", label="offered")
    through.set_ylabel("requests/s")
    curve.plot(output, _numbers([step["latency"]["e2e_seconds"]["p50"] for step in steps]), marker="o", label="E2E p50")
    curve.plot(
        output, _numbers([step["latency"]["ttft_seconds"]["p99"] for step in steps]), marker="o", label="TTFT p99"
    )
    curve.set(xlabel="output tokens/s", ylabel="seconds", yscale="log")
    knee = sweep["knee"]["requests_per_second"]
    for axes in (first, pace, through):
        axes.set_xlabel("offered requests/s")
        if knee is not None:
            axes.axvline(knee, color="seagreen", linewidth=1, label=f"knee {knee:g}/s")
    for axes in grid.flat:
        _finish(axes)
        axes.legend()
    figure.suptitle(_title(sweep["meta"]))
    figure.savefig(path, dpi=110)


def _title(meta: dict[str, Any]) -> str:
    return plain_text(printable(f"{meta.get('model', '')} at {meta.get('url', '')}"))


def _numbers(values: list[float | None]) -> list[float]:
    return [float("nan") if value is None else value for value in values]


def _finish(axes: Axes) -> None:
    axes.grid(alpha=0.3)
    if axes.get_yscale() == "linear":
        axes.set_ylim(bottom=0)
