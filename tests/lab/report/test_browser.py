"""A report in a real browser: every picture shows, in light and in dark, and nothing is asked for outside the file."""

from pathlib import Path

import pytest

from browsing import browser_or_skip, visit
from penstock_lab.report import Plot, Report, Series, Table, write_html

SHOWN = "[...document.images].map(image => image.complete && image.naturalWidth > 0)"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
async def test_a_browser_shows_it_from_the_file_alone(tmp_path: Path, dark: bool) -> None:
    browser = browser_or_skip()
    plots = [Plot(name, "s", [Series("p99", [(0.0, 1.0), (9.0, 2.0)])]) for name in ("one", "two")]
    report = Report("A run", "of nothing", True, plots=plots, tables=[Table("Rows", ("a",), [("<b>x</b>",)])], data=[1])
    path = write_html(report, tmp_path / "report.html")
    async with visit(browser, path.as_uri(), dark=dark) as seen:
        await seen.until("document.readyState === 'complete'")
        assert await seen.page.evaluate(SHOWN) == [True, True]
        sources = await seen.page.evaluate("[...document.images].map(image => image.currentSrc)")
        darks = await seen.page.evaluate("[...document.querySelectorAll('source')].map(one => one.srcset)")
        assert (sources == darks) is dark
        loaded = await seen.page.evaluate("performance.getEntriesByType('resource').map(one => one.name)")
        assert [name for name in loaded if not name.startswith("data:")] == []
        assert await seen.text("td") == "<b>x</b>"
        assert seen.complaints == []
