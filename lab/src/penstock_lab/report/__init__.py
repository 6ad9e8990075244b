"""A report on a run: one HTML file that needs nothing else, and one PNG, from plain series, tables and marks.

Demo, load generator and simulator fill a `Report`; `write_html` and `write_png` show it. Nothing here knows what was
run.
"""

from penstock_lab.report.model import Fact, Mark, Plot, Report, Series, Span, Table, Threshold, Verdict
from penstock_lab.report.page import render_html, write_html
from penstock_lab.report.picture import render_png, write_png

__all__ = [
    "Fact",
    "Mark",
    "Plot",
    "Report",
    "Series",
    "Span",
    "Table",
    "Threshold",
    "Verdict",
    "render_html",
    "render_png",
    "write_html",
    "write_png",
]
