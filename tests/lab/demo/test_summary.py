"""The demo's verdict: what makes it fail; and its figures."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from penstock_lab.demo.closing import summary
from penstock_lab.demo.record import Sample
from penstock_lab.demo.story import verdicts
from penstock_lab.demo.summary import Result
from penstock_lab.load.outcome import Outcome, percentile

Finished = Callable[..., Result]
GOOD = (1, 1, 4, 4, 1)


def outcome(error: str | None = None, *, ttft: float = 0.1, tokens: int = 32, attempts: int = 1) -> Outcome:
    return Outcome(
        at=0.0, phase="quiet", error=error, ttft_seconds=ttft, last_seconds=0.72, e2e_seconds=1.0, tokens=tokens,
        attempts=attempts,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("outcomes", "ready", "problem"),
    [
        ([outcome()], GOOD, None),
        ([outcome(), outcome("broken stream")], GOOD, "1 of 2 requests failed, the first with: broken stream"),
        ([outcome(), outcome(attempts=2)], GOOD, "1 of 2 requests were answered only when asked again"),
        ([], GOOD, "no request was sent"),
        ([outcome()], (1, 1, 1), "it did not scale up"),
        ([outcome()], (1, 4, 4), "it did not scale down"),
        ([outcome()], (3, 4, 1), "it did not begin with one replica"),
        ([outcome()], (), "it did not scale down"),
    ],
    ids=[
        "good",
        "a failed request",
        "a retried one",
        "no request",
        "never up",
        "never down",
        "began with three",
        "nothing seen",
    ],
)
def test_the_verdict(
    finished: Finished, outcomes: Sequence[Outcome], ready: tuple[int, ...], problem: str | None, tmp_path: Path
) -> None:
    result = finished(ready, outcomes)
    found = result.problems()
    assert (found == []) if problem is None else any(problem in text for text in found)
    written = json.loads(result.write(tmp_path).read_text())
    assert written["verdict"] == ("passed" if problem is None else "failed")
    assert written["requests"]["failed"] == sum(one.error is not None for one in outcomes)
    said = summary(result, written=[])
    assert said[-1].startswith("DEMO PASSED" if problem is None else "DEMO FAILED")
    assert problem is None or any(problem in line for line in said)


def test_a_request_that_was_planned_but_never_ended_fails_it(finished: Finished) -> None:
    result = finished()
    result.record.outcomes.clear()
    assert result.problems()


def test_accelerator_hours_count_every_pod_over_time(finished: Finished) -> None:
    result = finished((1, 2, 2, 1))
    assert result.accelerator_hours == pytest.approx((1 + 2 + 2) / 3600)
    assert result.to_json()["cost"] == pytest.approx(5 / 3600 * 2.5, abs=1e-4)


@pytest.mark.parametrize(
    ("outcomes", "share", "met"),
    [
        ([outcome()] * 99 + [outcome(ttft=2.5)], 0.99, True),
        ([outcome()] * 98 + [outcome(ttft=2.5)] * 2, 0.98, False),
        ([outcome()] * 98 + [outcome("gone"), outcome("gone", ttft=0.1)], 0.98, False),
    ],
    ids=["just met", "missed by slow ones", "a failed request misses"],
)
def test_the_sla_is_judged_apart_from_the_demo(
    finished: Finished, outcomes: Sequence[Outcome], share: float, met: bool
) -> None:
    result = finished(GOOD, outcomes)
    ttft = result.attained()[0]
    assert (ttft.share, ttft.met) == (pytest.approx(share), met)
    told = next(verdict for verdict in verdicts(result) if "TTFT" in verdict.text)
    assert told.good is met
    assert ("MISSED" in told.text) is not met
    assert bool(result.problems()) == any(one.error for one in outcomes), "a missed SLA alone fails nothing"


def test_time_per_token_ends_with_the_last_token(finished: Finished) -> None:
    """The stream ended later."""
    assert outcome().tpot_seconds == pytest.approx(0.62 / 31)
    assert finished(GOOD, [outcome()]).to_json()["requests"]["tpot_p99_seconds"] == pytest.approx(0.02)


def test_percentiles_are_nearest_ranks() -> None:
    values = [float(value) for value in range(1, 101)]
    assert [percentile(values, share) for share in (0.0, 0.5, 0.99, 1.0)] == [1, 50, 99, 100]
    assert percentile([], 0.5) is None


def test_what_was_not_asked_or_not_priced_is_unknown_and_not_perfect(finished: Finished) -> None:
    result = replace(finished(GOOD, [outcome(ttft=50.0)], objectives=[], cost=None), price=0.0)
    found = result.to_json()
    assert found["cost"] is None
    assert found["requests"]["ttft_attainment"] is found["requests"]["tpot_attainment"] is None
    assert not any("example's price" in line for line in summary(result, written=[]))


def test_a_silent_operator_leaves_no_accelerator_uncounted(finished: Finished) -> None:
    """What it said last is taken to hold, and that is said."""
    result = finished((4,))
    state = result.record.samples[0].state
    result.record.take(Sample(100.0, replace(state, at=state.at + 100)))
    assert result.accelerator_hours == pytest.approx(400 / 3600)
    assert result.to_json()["operator_silent_seconds"] == 100.0
    assert any("did not answer for 100 s" in line for line in summary(result, written=[]))
    assert not any("did not answer" in line for line in summary(finished(), written=[]))


def test_short_answers_do_not_count_for_time_per_token(finished: Finished) -> None:
    result = finished(GOOD, [outcome(tokens=4)])
    assert {item.objective.metric: item.counted for item in result.attained()} == {"TTFT": 1, "TPOT": 0}


def test_decisions_are_told_with_their_numbers(burst: Result) -> None:
    decisions = burst.to_json()["decisions"]
    assert [(one["from"], one["to"], one["event"], one["seconds"]) for one in decisions] == [
        (1, 4, "ScaledUp", 40.0),
        (4, 1, "ScaledDown", 160.0),
    ]
    assert any("951 tok/s offered" in line for line in summary(burst, written=[]))
