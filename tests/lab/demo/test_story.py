"""The report of a run, from what was recorded."""

import json

from penstock_lab.demo.story import tell
from penstock_lab.demo.summary import Result
from penstock_lab.report import render_html, render_png


def test_the_report_tells_the_run(burst: Result) -> None:
    report = tell(burst)
    assert report.passed is True
    assert "EMULATED" in report.banner
    assert [plot.title for plot in report.plots] == [
        "Demand and capacity", "Replicas", "TTFT against the SLA", "TPOT against the SLA", "Requests that wait",
    ]  # fmt: skip
    assert [span.label for span in report.spans] == ["quiet", "burst grows", "burst", "quiet again", "no load"]
    assert [(mark.label, mark.at) for mark in report.marks] == [("1", 40.0), ("2", 160.0)]
    decisions = report.tables[0]
    assert [row[0] for row in decisions.rows] == ["1", "2"], "numbered as the marks"
    assert "951 tok/s offered" in decisions.rows[0][-1]
    assert any("MISSED" in verdict.text for verdict in report.verdicts)
    assert any("1.02 times" in verdict.text for verdict in report.verdicts)


def test_latency_is_a_rolling_percentile_by_due_time(burst: Result) -> None:
    ttft = next(plot for plot in tell(burst).plots if plot.title.startswith("TTFT"))
    assert [limit.value for limit in ttft.thresholds] == [2.0]
    worst = dict(ttft.series[-1].points)
    assert worst[70.0] == 0.1
    assert worst[125.0] == 3.0


def test_it_renders_and_its_data_are_the_summary(burst: Result) -> None:
    report = tell(burst)
    html = render_html(report)
    assert "<b>drained</b>" not in html
    assert "&lt;b&gt;drained&lt;/b&gt; &amp; gone" in html
    embedded = html.split('id="data">')[1].split("</script>")[0]
    assert json.loads(embedded) == json.loads(json.dumps(burst.to_json()))
    assert len(render_png(report)) < 200_000


def test_a_run_that_saw_nothing_still_has_a_report(burst: Result) -> None:
    burst.record.samples.clear()
    burst.record.outcomes.clear()
    report = tell(burst)
    assert report.passed is False
    assert "FAILED" in render_html(report)
