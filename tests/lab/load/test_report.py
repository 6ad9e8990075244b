"""Figures of a load with known outcomes."""

import csv
import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from penstock_lab.load.arrivals import Process, steps
from penstock_lab.load.exchange import Answer, FailedError
from penstock_lab.load.files import write_json, write_requests
from penstock_lab.load.histogram import Histogram
from penstock_lab.load.ledger import GIVEN_UP, TIMED_OUT, Ledger
from penstock_lab.load.lengths import Uniform
from penstock_lab.load.quantiles import of_histogram, of_values, wilson
from penstock_lab.load.rank import nearest_rank
from penstock_lab.load.report import Judgement, Objectives, result
from penstock_lab.load.schedule import Phase
from penstock_lab.load.table import show
from penstock_lab.load.workload import Workload, draw
from penstock_lab.traces.request import Arrays, TraceRequest, arrays

START = 100.0  # of the load, on the clock of the answers


def workload(*due, seconds=10.0, phases=()):
    requests = arrays(TraceRequest(at, 50, 20) for at in due)
    return Workload(requests=requests, seconds=seconds, description={}, phases=phases)


def ended(ledger, number, *, ttft=0.1, gap=0.02, tokens=20, ids=True, error=None):
    """A request whose tokens came at an even pace."""
    due = START + ledger.due[number]
    ledger.leave(number, 0.001)
    answer = Answer()
    at = due
    for token in range(tokens):
        at = due + ttft + token * gap
        choice = {"text": "x", **({"token_ids": [1]} if ids else {})}
        count, since = answer.take({"choices": [choice]}, at)
        ledger.tokens(count, at - START)
        if since is not None and ledger.due[number] >= ledger.warmup:
            ledger.itl.add(since)
    ledger.end(number, answer, start=START, now=at, error=error)


def report(ledger, work, **objectives):
    return result(ledger, work, Judgement(objectives=Objectives(**objectives)), meta={})


def make(*due, warmup=0.0, **more):
    work = workload(*due, **more)
    return Ledger(work.due, work.requests.prompt_tokens, warmup), work


def test_an_ordinary_load():
    ledger, work = make(0.5, 1.5, 2.5, 3.5)
    for number in range(4):
        ended(ledger, number, ttft=0.1 * (number + 1))
    found = report(ledger, work, ttft=0.25, tpot=0.021)
    assert found["valid"]
    assert found["requests"] | {"failures": {}} == found["requests"]
    assert (found["requests"]["sent"], found["requests"]["answered"]) == (4, 4)
    assert found["latency"]["ttft_seconds"]["p50"] == pytest.approx(0.2)
    assert found["latency"]["ttft_seconds"]["p99"] == pytest.approx(0.4)
    assert found["latency"]["tpot_seconds"]["mean"] == pytest.approx(0.02)
    assert found["latency"]["itl_seconds"]["count"] == 4 * 19
    assert found["latency"]["itl_seconds"]["p50"] == pytest.approx(0.02, rel=0.006)
    assert found["latency"]["e2e_seconds"]["max"] == pytest.approx(0.4 + 19 * 0.02)
    assert found["rates"]["output_tokens_per_second"] == 8.0
    assert found["rates"]["input_tokens_per_second"] == 20.0
    assert found["rates"]["goodput_requests_per_second"] == 0.2
    assert found["objectives"]["ttft"]["attainment"] == 0.5
    assert found["objectives"]["tpot"]["attainment"] == 1.0
    assert found["objectives"]["all"]["met"] == 2
    assert found["series"]["sent"][:5] == [1, 1, 1, 1, 0][: len(found["series"]["sent"])]
    assert sum(found["series"]["output_tokens"]) == 80
    json.dumps(found, allow_nan=False)


def test_warm_up_is_not_measured():
    ledger, work = make(0.5, 1.0, 5.0, 6.0, warmup=5.0)
    for number, ttft in enumerate((9.0, 9.0, 0.1, 0.1)):
        ended(ledger, number, ttft=ttft)
    found = report(ledger, work, ttft=1.0)
    assert (found["requests"]["sent"], found["requests"]["measured"]) == (4, 2)
    assert found["objectives"]["all"]["attainment"] == 1.0
    assert found["latency"]["ttft_seconds"]["max"] == pytest.approx(0.1)
    assert found["rates"]["offered_requests_per_second"] == pytest.approx(2 / 5)
    assert found["latency"]["itl_seconds"]["count"] == 2 * 19


def test_what_fails_meets_nothing():
    ledger, work = make(1.0, 2.0, 3.0, 4.0)
    ended(ledger, 0)
    ended(ledger, 1, tokens=0, error=FailedError("refused: http 429", "slow down"))
    ended(ledger, 2, tokens=5, error=FailedError("failed: cut off", "gone"))
    ended(ledger, 3, tokens=5, error=FailedError("failed: cut off", "gone again"))
    found = report(ledger, work, ttft=1.0, itl=1.0)
    assert found["requests"]["failures"] == {
        "refused: http 429": {"count": 1, "example": "slow down"},
        "failed: cut off": {"count": 2, "example": "gone"},
    }
    assert [found["requests"][key] for key in ("answered", "refused", "failed")] == [1, 1, 2]
    assert found["objectives"]["ttft"]["of"] == 4
    assert found["objectives"]["all"]["attainment"] == 0.25
    assert found["latency"]["ttft_seconds"]["count"] == 1


def test_short_answers_are_not_judged_by_their_pace():
    ledger, work = make(1.0, 2.0)
    ended(ledger, 0, tokens=15, gap=5.0)
    ended(ledger, 1, tokens=16, gap=0.02)
    found = report(ledger, work, tpot=0.1)
    assert found["latency"]["tpot_seconds"]["count"] == 1
    assert found["objectives"]["tpot"]["of"] == 1
    assert found["objectives"]["all"]["attainment"] == 1.0


def test_one_long_gap_misses_the_itl_objective():
    ledger, work = make(1.0)
    ended(ledger, 0, gap=0.3, tokens=3)
    assert report(ledger, work, itl=0.2)["objectives"]["itl"]["attainment"] == 0.0
    assert report(ledger, work, itl=0.4)["objectives"]["itl"]["attainment"] == 1.0


def test_a_generator_that_fell_behind_says_so():
    ledger, work = make(1.0)
    ended(ledger, 0)
    ledger.lag_seconds[0] = 3.0
    ledger.reasons.append("client: too many open files")
    ledger.examples["client: too many open files"] = "raise the limit"
    found = report(ledger, work)
    assert not found["valid"]
    assert "requests left up to 3000 ms late" in found["problems"][0]
    assert "too many open files" in found["problems"][1]


def shown(found):
    console = Console(file=io.StringIO(), width=120, color_system=None)
    show(found, console)
    return console.file.getvalue()


def given_up(ledger, number, *, waited, tokens=0, reason=GIVEN_UP):
    """A request whose end nobody saw."""
    due = START + ledger.due[number]
    ledger.leave(number, 0.0)
    answer = Answer()
    for token in range(tokens):
        answer.take({"choices": [{"text": "x"}]}, due + 0.1 + 0.01 * token)
    ledger.end(number, answer, start=START, now=due + waited, error=FailedError(reason, "no end"))


def test_percentiles_know_of_the_requests_that_were_given_up():
    """Eight answers in 0.1 s and two that nobody waited for are no load with a p99 of 0.1 s."""
    ledger, work = make(*range(10))
    for number in range(8):
        ended(ledger, number, ttft=0.1, gap=0.001)
    given_up(ledger, 8, waited=3.0)
    given_up(ledger, 9, waited=2.0, tokens=3)
    found = report(ledger, work, e2e=1.0)
    first, whole = found["latency"]["ttft_seconds"], found["latency"]["e2e_seconds"]
    assert (first["count"], first["unfinished"]) == (10, 1)
    assert first["p50"] == first["p90"] == pytest.approx(0.1)
    assert first["p99"] == first["max"] == pytest.approx(3.0)
    assert first["at_least"] == ["mean", "p95", "p99", "p99.9", "max"]
    assert (whole["p90"], whole["p99"], whole["unfinished"]) == (pytest.approx(2.0), pytest.approx(3.0), 2)
    assert whole["at_least"] == ["mean", "p90", "p95", "p99", "p99.9", "max"]
    assert found["latency"]["tpot_seconds"]["p99"] == pytest.approx(1.9 / 19)
    assert "p99" in found["latency"]["tpot_seconds"]["at_least"]
    assert found["objectives"]["all"]["attainment"] == 0.8
    assert not found["valid"]
    assert "2 requests had not ended" in found["problems"][0]
    assert "--drain" in found["problems"][0]
    assert found["series"]["ttft_p99_seconds"][8] == pytest.approx(3.0)
    text = shown(found)
    assert "100.0 │ ≥3,000.0" in text, "p90 is exact, p95 is not"


def test_a_bound_that_is_below_what_came_still_marks_what_it_could_exceed():
    """Given up after 0.05 s, so it may have been the slowest of all."""
    ledger, work = make(1.0, 2.0)
    ended(ledger, 0, ttft=0.1)
    given_up(ledger, 1, waited=0.05)
    first = report(ledger, work)["latency"]["ttft_seconds"]
    assert (first["p50"], first["max"]) == (pytest.approx(0.05), pytest.approx(0.1))
    assert first["at_least"] == ["mean", "min", "p50", "p90", "p95", "p99", "p99.9", "max"]


def test_a_timeout_is_a_failure_and_a_lower_bound():
    ledger, work = make(1.0, 2.0)
    ended(ledger, 0)
    given_up(ledger, 1, waited=60.0, reason=TIMED_OUT)
    found = report(ledger, work)
    assert found["valid"]
    assert found["latency"]["ttft_seconds"]["max"] == 60.0
    assert "max" in found["latency"]["ttft_seconds"]["at_least"]


def test_an_interrupted_load_is_not_valid():
    ledger, work = make(1.0, 2.0)
    ended(ledger, 0)
    found = result(ledger, work, Judgement(), meta={"interrupted": True})
    assert not found["valid"]
    assert "interrupted: 1 of 2 requests were sent" in found["problems"][0]


def test_a_stall_of_the_generator_counts_as_often_as_it_would_have_been_seen():
    """Ten seconds in ten minutes are more than one sample in a hundred."""
    ledger, _work = make(1.0)
    for _ in range(11_800):
        ledger.woke(0.001)
    ledger.woke(10.0)
    assert ledger.loop_lag.count == 11_800 + 200
    assert ledger.loop_lag.quantile(0.99) > 3.0


@pytest.mark.parametrize(
    ("share", "count", "rank"), [(0.99, 100, 99), (0.5, 100, 50), (0.999, 1000, 999), (1.0, 7, 7), (0.0, 7, 1)]
)
def test_nearest_rank(share, count, rank):
    assert nearest_rank(share, count) == rank
    percentile = share * 100
    if percentile in (50.0, 99.0, 99.9):
        assert of_values(np.arange(1.0, count + 1))[f"p{percentile:g}"] == rank


def test_what_an_endpoint_says_cannot_drive_the_terminal():
    ledger, work = make(1.0)
    ended(ledger, 0, tokens=0, error=FailedError("failed: http 500", "bad \x1b]0;pwned\x07 \x9b2J thing"))
    text = shown(report(ledger, work))
    assert not {"\x1b", "\x07", "\x9b"} & set(text)
    assert "bad \\x1b]0;pwned\\x07 \\x9b2J thing" in text


def test_phases_are_told_apart():
    phases = (Phase("quiet", 5.0, 1), Phase("burst", 5.0, 9))
    ledger, work = make(1.0, 6.0, 7.0, phases=phases)
    for number, ttft in enumerate((0.1, 0.5, 0.5)):
        ended(ledger, number, ttft=ttft)
    found = report(ledger, work, ttft=0.2)["phases"]
    assert [(phase["name"], phase["requests"]) for phase in found] == [("quiet", 1), ("burst", 2)]
    assert [phase["objectives"]["all"]["attainment"] for phase in found] == [1.0, 0.0]


def test_an_empty_report_has_no_figures():
    ledger, work = make(1.0)
    found = report(ledger, work, ttft=1.0)
    assert found["requests"]["not_sent"] == 1
    assert found["latency"]["ttft_seconds"]["p99"] is None
    assert found["objectives"]["all"]["attainment"] is None


def test_files(tmp_path):
    ledger, work = make(1.0, 2.0)
    ended(ledger, 0, ids=False)
    ended(ledger, 1, tokens=0, error=FailedError("failed: timeout", "slow"))
    write_json(report(ledger, work), tmp_path / "result.json")
    write_requests(ledger, tmp_path / "requests.csv")
    rows = list(csv.DictReader((tmp_path / "requests.csv").read_text().splitlines()))
    assert [row["end"] for row in rows] == ["answered", "failed: timeout"]
    assert (rows[0]["ttft_s"], rows[1]["ttft_s"]) == ("0.100000", "")
    assert rows[0]["output_tokens"] == "20"
    assert json.loads((tmp_path / "result.json").read_text())["meta"]["tokens_counted_by"] == {"chunks": 1}


def test_a_request_takes_sixty_bytes_however_long_the_load_is():
    """Half an hour at a thousand requests a second fits in 100 MB, and nothing is added while it runs."""
    nine = Uniform(9, 9)
    work = draw(steps([(1800.0, 1000.0)]), Process.POISSON, prompt=nine, output=nine, seed=0, description={})
    ledger = Ledger(work.due, work.requests.prompt_tokens, 0.0)
    held = [getattr(work.requests, name) for name in Arrays.__slots__]
    held += [getattr(ledger, name) for name in Ledger.__slots__ if name != "due"]
    total = sum(each.nbytes for each in held if isinstance(each, np.ndarray))
    assert len(work) > 1_700_000
    assert total / len(work) <= 60


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(1e-5, 1e4), min_size=1, max_size=300))
def test_a_histogram_is_right_to_half_a_percent(values):
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    exact, found = of_values(np.array(values)), of_histogram(histogram)
    assert found["count"] == exact["count"]
    for key in ("p50", "p90", "p99", "p99.9", "min", "max", "mean"):
        assert found[key] == pytest.approx(exact[key], rel=0.0051, abs=2e-6)


def test_a_histogram_takes_anything():
    histogram = Histogram()
    for value in (0.0, 1e-9, 1e9):
        histogram.add(value)
    assert (histogram.quantile(0.0), histogram.quantile(1.0)) == (
        pytest.approx(0.0, abs=2e-6),
        pytest.approx(1e5, rel=0.1),
    )
    assert Histogram().quantile(0.5) is None


@pytest.mark.parametrize(
    ("met", "of", "low", "high"),
    [
        (0, 0, 0.0, 1.0),
        (99, 100, 0.9455, 0.9982),
        (10, 10, 0.7225, 1.0),
        (0, 10, 0.0, 0.2775),
        (50, 100, 0.4038, 0.5962),
    ],
)
def test_wilson(met, of, low, high):
    """Known values of Wilson's score interval."""
    assert wilson(met, of) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))
