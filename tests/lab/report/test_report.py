"""A report is complete in itself, escapes everything, and is the same each time."""

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest

from penstock_lab.report import (
    Fact,
    Mark,
    Plot,
    Report,
    Series,
    Span,
    Table,
    Threshold,
    Verdict,
    render_html,
    render_png,
    write_html,
    write_png,
)
from penstock_lab.report.picture import DARK, LIGHT, render_svg

NASTY = "<script>alert('&')</script>"
XS = [float(x) for x in range(100)]


@pytest.fixture
def report() -> Report:
    stack = [(x, x % 5) for x in XS]
    return Report(
        title=f"Title {NASTY}",
        lead=f"Lead {NASTY}",
        passed=False,
        verdicts=[Verdict(f"Verdict {NASTY}", good=True), Verdict("told")],
        banner=f"EMULATED {NASTY}",
        facts=[Fact(f"7 {NASTY}", f"fact {NASTY}")],
        plots=[
            Plot(
                f"Costs $5 and $6 {NASTY}",
                "$/h",
                [
                    Series(f"line {NASTY}", [(x, None if x == 50 else x) for x in XS]),
                    Series("step", stack, kind="step", tone="red", dashed=True),
                    Series("low", stack, kind="stack", tone="green"),
                    Series("high", stack, kind="stack", tone="orange"),
                ],
                note=f"Note {NASTY}",
            ),
            Plot(
                "Latency", "s", [Series("p99", [(x, x / 10) for x in XS])], [Threshold("asked", 2.0)], logarithmic=True
            ),
            Plot("Nothing was measured", "s", [Series("p99", [])], logarithmic=True),
        ],
        spans=[Span(NASTY, 0, 50), Span("burst", 50, 99)],
        marks=[Mark("1", 20.0, "green"), Mark(NASTY, 60.0)],
        tables=[Table(f"Table {NASTY}", ("a", NASTY), [("x", NASTY), ("y", "z")], note=NASTY)],
        data={"text": NASTY, "number": 1.5},
    )


class Page(HTMLParser):
    """Elements with their attributes, texts, and what stands in #data."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.data = ""
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in ("meta", "img", "source", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, "elements are closed in order"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.data += data
        else:
            self.texts.append(data)


def read(html: str) -> Page:
    page = Page()
    page.feed(html)
    page.close()
    assert page.open == []
    return page


def test_the_page_refers_to_nothing_outside(report: Report) -> None:
    html = render_html(report)
    page = read(html)
    for tag, attributes in page.elements:
        assert tag not in ("link", "iframe", "object", "embed", "base"), tag
        for name in ("src", "srcset", "href", "action", "poster", "xlink:href"):
            assert attributes.get(name, "data:").startswith("data:image/"[: len(attributes.get(name, "data:"))]), (
                attributes
            )
    assert "url(" not in html
    assert "@import" not in html
    assert [attributes for tag, attributes in page.elements if tag == "script"] == [
        {"type": "application/json", "id": "data"}
    ]
    policy = next(one["content"] for _, one in page.elements if one.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")


def test_every_text_is_escaped_and_shown(report: Report) -> None:
    html = render_html(report)
    assert NASTY not in html
    page = read(html)
    assert json.loads(page.data) == report.data
    text = "".join(page.texts)
    for part in ("Title", "Lead", "Verdict", "EMULATED", "Note", "Table", "fact", "7"):
        assert f"{part} {NASTY}" in text
    assert "FAILED" in text


def test_every_plot_is_there_for_light_and_dark(report: Report) -> None:
    page = read(render_html(report))
    images = [one for tag, one in page.elements if tag == "img"]
    assert [one["alt"].split(",")[0] for one in images] == [plot.title for plot in report.plots]
    darks = [one for tag, one in page.elements if tag == "source"]
    assert len(darks) == len(images)
    assert all(one["media"] == "(prefers-color-scheme: dark)" for one in darks)
    assert all(dark["srcset"] != light["src"] for dark, light in zip(darks, images, strict=True))


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_a_picture_refers_to_nothing_outside(report: Report, theme: object) -> None:
    assert theme in (LIGHT, DARK)
    svg = render_svg(report, report.plots[0], theme=LIGHT if theme is LIGHT else DARK)
    assert svg.startswith("<svg")
    assert "DOCTYPE" not in svg
    assert "<script" not in svg
    references = [part.split('"')[0] for part in svg.split('href="')[1:]]
    assert all(reference.startswith("#") for reference in references)


def test_the_same_report_gives_the_same_bytes(report: Report, tmp_path: Path) -> None:
    png = write_png(report, tmp_path / "plot.png").read_bytes()
    assert png == render_png(report)
    assert png.startswith(b"\x89PNG")
    assert write_html(report, tmp_path / "report.html").read_text() == render_html(report)


def test_an_empty_report_is_a_page_too() -> None:
    page = read(render_html(Report("Nothing", "was run")))
    assert "PASSED" not in "".join(page.texts)
    assert render_png(Report("Nothing", "was run")).startswith(b"\x89PNG")
