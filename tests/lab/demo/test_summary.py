"""The demo's verdict: what makes it fail."""

import json
from pathlib import Path

import pytest

from penstock_lab.demo.summary import Result
from penstock_lab.demo.watch import Point
from penstock_lab.load.outcome import Outcome


def outcome(error: str | None = None) -> Outcome:
    return Outcome(at=0.0, phase="quiet", error=error, ttft_seconds=0.1, e2e_seconds=1.0, tokens=32, attempts=1)


def points(*ready: int) -> list[Point]:
    return [Point(at=float(index), desired=count, ready=count, pods=count) for index, count in enumerate(ready)]


GOOD = (1, 1, 4, 4, 1)


@pytest.mark.parametrize(
    ("outcomes", "ready", "problem"),
    [
        ([outcome()], GOOD, None),
        ([outcome(), outcome("broken stream")], GOOD, "1 of 2 requests failed, the first with: broken stream"),
        ([], GOOD, "no request was sent"),
        ([outcome()], (1, 1, 1), "it did not scale up"),
        ([outcome()], (1, 4, 4), "it did not scale down"),
        ([outcome()], (3, 4, 1), "it did not begin with one replica"),
        ([outcome()], (), "it did not scale down"),
    ],
    ids=["good", "a failed request", "no request", "never up", "never down", "began with three", "nothing seen"],
)
def test_the_verdict(outcomes: list[Outcome], ready: tuple[int, ...], problem: str | None, tmp_path: Path) -> None:
    result = Result(outcomes, points(*ready), [], 2.5)
    found = result.problems()
    assert (found == []) if problem is None else any(problem in text for text in found)
    written = json.loads(result.write(tmp_path).read_text())
    assert written["verdict"] == ("passed" if problem is None else "failed")
    assert written["requests"]["failed"] == sum(one.error is not None for one in outcomes)


def test_gpu_hours_count_every_pod_over_time() -> None:
    result = Result([outcome()], points(1, 2, 2, 1), [], 2.0)
    assert result.gpu_hours() == pytest.approx((1 + 2 + 2) / 3600)
    assert result.to_json()["cost"] == pytest.approx(5 / 3600 * 2.0, abs=1e-4)
