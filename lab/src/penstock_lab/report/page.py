"""The report as one HTML file. It loads nothing: plots are embedded twice, for light and dark, and so are the data.

The template escapes everything; the page also forbids itself to load anything, so that a mistake here shows nothing
rather than asks somebody's server.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from penstock_lab.report.model import Plot, Report
from penstock_lab.report.picture import DARK, LIGHT, Theme, render_svg


@dataclass(frozen=True, slots=True)
class _Picture:
    """A plot as two images."""

    plot: Plot
    light: str
    dark: str


def render_html(report: Report) -> str:
    """The page."""
    environment = Environment(
        loader=PackageLoader("penstock_lab.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pictures = [_Picture(plot, _embedded(report, plot, LIGHT), _embedded(report, plot, DARK)) for plot in report.plots]
    template = environment.get_template("report.html")
    return template.render(report=report, pictures=pictures, data=_script(report.data), light=LIGHT, dark=DARK)


def write_html(report: Report, path: Path) -> Path:
    """Write the page and return its path."""
    path.write_text(render_html(report), encoding="utf-8")
    return path


def _embedded(report: Report, plot: Plot, theme: Theme) -> str:
    svg = render_svg(report, plot, theme=theme)
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


def _script(data: object) -> Markup:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(data, allow_nan=False).replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e")
    return Markup(text)  # noqa: S704 - no character that HTML knows is left in it
