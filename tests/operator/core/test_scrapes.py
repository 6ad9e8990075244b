"""What doctor makes of Prometheus' series."""

import pytest

from penstock_operator.core import scrapes
from penstock_operator.core.checkup import Result
from penstock_operator.core.scrapes import Series

KEY = ("demo", "chat")
GOOD = Series(ready=2, missing=(), reporting=2, age_seconds=1.0)


def levels(results: list[Result]) -> list[str]:
    return [result.level.value for result in results]


@pytest.mark.parametrize(
    ("seconds", "level"), [(5.0, "OK"), (15.0, "OK"), (30.0, "WARN"), (61.0, "FAIL"), (None, "WARN")]
)
def test_the_scrape_interval(seconds: float | None, level: str) -> None:
    assert scrapes.interval(seconds).level == level


@pytest.mark.parametrize(
    ("found", "level", "says"),
    [
        (GOOD, "OK", "all there, 1.0 s old, 2 of 2 pods"),
        (Series(0, ("x",), 0, None), "OK", "no ready replica"),
        (Series(2, ("some_total",), 2, 1.0), "FAIL", "no series of some_total"),
        (Series(2, (), 2, 61.0), "FAIL", "too old (61 s)"),
        (Series(2, (), 2, None), "FAIL", "too old (unknown)"),
        (Series(2, (), 1, 1.0), "WARN", "1 of 2 ready pods are scraped"),
    ],
)  # fmt: skip
def test_the_series_of_a_service(found: Series, level: str, says: str) -> None:
    result = scrapes.series(KEY, found, window_seconds=60.0)
    assert (result.level, says in result.message) == (level, True)
    assert (result.fix == "") == (level == "OK")


def test_labels_that_betray_a_wrong_scrape_job() -> None:
    assert levels(scrapes.labels(renamed=0, unclaimed=[], doubled=[])) == ["OK"]
    found = scrapes.labels(renamed=3, unclaimed=["demo/chat"], doubled=["demo/chat-1"])
    assert levels(found) == ["FAIL"] * 3
    assert "honor_labels: false" in found[1].fix


@pytest.mark.parametrize(
    ("found", "unjudged", "level", "says"),
    [
        (GOOD, [], "OK", "gateways: all there, 1.0 s old, 2 of 2 pods"),
        (Series(2, ("some_total",), 0, None), [], "WARN", "no series of some_total"),
        (Series(2, (), 2, 61.0), [], "WARN", "too old (61 s)"),
        (Series(2, (), 1, 1.0), [], "WARN", "1 of 2 ready pods are scraped"),
        (GOOD, ["demo/chat"], "WARN", "penstock_gateway_objective_total for demo/chat"),
    ],
)
def test_the_series_of_the_gateways(found: Series, unjudged: list[str], level: str, says: str) -> None:
    result = scrapes.gateways(found, unjudged=unjudged, window_seconds=60.0)
    assert (result.level, says in result.message) == (level, True)
    assert (result.fix == "") == (level == "OK")


@pytest.mark.parametrize(("engine", "level"), [("Penstock", "FAIL"), ("TGI", "WARN")])
def test_other_engines_may_be_silent_before_their_first_request(engine: str, level: str) -> None:
    seen = scrapes.Series(ready=1, missing=("tgi_queue_size",), reporting=0, age_seconds=None)
    assert scrapes.series(KEY, seen, window_seconds=20, engine=engine).level == level


def test_an_engine_without_steps_needs_a_target() -> None:
    found = scrapes.unmodelled(KEY, "TensorRTLLM")
    assert (found.level, "spec.scaling.targets.tokensPerSecond" in found.fix) == ("WARN", True)
