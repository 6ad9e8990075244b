"""What one tick makes of the answers of a metrics source, also of odd ones."""

import math
from collections.abc import Callable

import pytest

from penstock_operator.core.ports import Sample, Series, Unavailable
from penstock_operator.core.scaling.signals import DOOR_QUERIES, QUERIES, SCRAPE_INTERVAL_QUERY, signal
from penstock_operator.core.scaling.types import SignalState
from penstock_operator.core.sla import Objective
from penstock_operator.runtime.measure import MOST_WINDOWS, Measure, attainment

KEY = ("team-a", "chat")
LABELS = {"namespace": "team-a", "inferenceservice": "chat"}
TTFT = Objective("TTFT", 99.0, 2.0)
Answer = tuple[Sample, ...] | Unavailable


class Source:
    """Answers every query from a function and remembers the queries."""

    def __init__(self, answer: Callable[[str], Answer]) -> None:
        self.asked: list[str] = []
        self._answer = answer

    async def instant(self, query: str) -> Answer:
        self.asked.append(query)
        return self._answer(query)

    async def range(self, query: str, *, start: float, end: float, step: float) -> tuple[Series, ...] | Unavailable:
        assert (start, end) == (int(start), int(end)), "Prometheus' client rounds"
        self.asked.append(query)
        answer = self._answer(query)
        if isinstance(answer, Unavailable):
            return answer
        return tuple(Series(one.labels, ((end, one.value), (end - step, one.value))) for one in answer)


def scraping_every(seconds: float | None) -> Callable[[str], Answer]:
    interval: Answer = () if seconds is None else (Sample({}, seconds),)
    return lambda query: interval if query == SCRAPE_INTERVAL_QUERY else (Sample(LABELS, 1.0),)


async def windows(source: Source, ticks: int) -> list[float]:
    measure = Measure(source)
    return [(await measure.view(float(tick))).window_seconds for tick in range(ticks)]


@pytest.mark.parametrize("interval", [1.0, 5.0, 15.0, 30.0, 60.0])
async def test_the_window_becomes_four_scrapes(interval: float) -> None:
    found = await windows(Source(scraping_every(interval)), 20)
    assert found[-1] == found[-2] == pytest.approx(4 * interval)
    assert found == sorted(found, reverse=interval < 15)


async def test_a_shorter_interval_is_believed_at_once_and_a_longer_one_slowly() -> None:
    """Targets younger than a minute have few scrapes in it, which looks like a long interval."""
    intervals = iter((2.0, 20.0, 2.0))
    measure = Measure(Source(lambda query: (Sample({}, next(intervals)),) if query == SCRAPE_INTERVAL_QUERY else ()))
    found = [(await measure.view(float(tick))).window_seconds for tick in range(3)]
    assert found == [8, pytest.approx(8.8), 8]


@pytest.mark.parametrize("interval", [None, 0.0, -5.0, 1e-9])
async def test_an_odd_interval_makes_no_odd_window(interval: float | None) -> None:
    assert set(await windows(Source(scraping_every(interval)), 3)) <= {60.0, 2.0}


async def test_a_source_that_is_away_keeps_the_window_and_says_why() -> None:
    measure = Measure(Source(lambda _: Unavailable("away")))
    view = await measure.view(7.0)
    assert (view.error, view.window_seconds, view.now) == ("away", 60.0, 7.0)


async def test_the_number_of_queries_does_not_depend_on_the_services() -> None:
    many = tuple(Sample({"namespace": "n", "inferenceservice": str(index)}, 1.0) for index in range(500))
    source = Source(lambda query: (Sample({}, 1.0),) if query == SCRAPE_INTERVAL_QUERY else many)
    view = await Measure(source).view(0.0)
    assert len(source.asked) == 1 + len(QUERIES)
    assert signal(view, "arrivals", ("n", "499")).state is SignalState.FRESH


async def test_histograms_are_asked_once_per_metric_and_window() -> None:
    source = Source(lambda _: ())
    found = await Measure(source).histograms([("TTFT", 60), ("TPOT", 60), ("TTFT", 60), ("TTFT", 3600)])
    assert set(found) == {("TTFT", 60), ("TPOT", 60), ("TTFT", 3600)}
    assert len(source.asked) == 6, "of the workers and of the gateways"
    assert all("sum by (namespace, inferenceservice, le) (increase(" in text for text in source.asked)
    assert any("penstock_worker_time_to_first_token_seconds_bucket[3600s]" in text for text in source.asked)


async def test_rare_windows_take_turns_and_keep_what_they_had() -> None:
    """However many windows tenants think of, a measurement asks for six, and none goes unmeasured."""
    answer = (Sample(LABELS | {"le": "+Inf", "metric": "TTFT", "percentile": "99", "result": "met"}, 5.0),)
    source = Source(lambda _: answer)
    measure = Measure(source)
    rare = [60 * number for number in range(1, 12)]
    wanted = [("E2E", window) for window in (*rare, *[7200, 7260, 7320, 7380] * 3)]
    for _ in range(6):
        before = len(source.asked)
        found, judged = await measure.histograms(wanted), await measure.judged(wanted)
        asked = [query.partition("[")[2].partition("s]")[0] for query in source.asked[before:]]
        assert len(set(asked)) == MOST_WINDOWS
        assert {"7200", "7260", "7320", "7380"} < set(asked), "what most services have is measured every time"
    assert {window for _, window in found} == set(judged) == {window for _, window in wanted}
    assert all(isinstance(kept, dict) and kept[KEY] == {math.inf: 5.0} for kept in found.values())
    fewer = await measure.histograms([("E2E", 60)])
    assert set(fewer) == {("E2E", 60)}, "what nobody promises any more is forgotten"


async def buckets(*samples: tuple[dict[str, str], float]) -> dict[float, float]:
    answer = tuple(Sample(labels, value) for labels, value in samples)
    found = await Measure(Source(lambda _: answer)).histograms([("TTFT", 60)])
    kept = found["TTFT", 60]
    assert not isinstance(kept, Unavailable)
    return dict(kept.get(KEY, {}))


async def test_buckets_by_bound() -> None:
    found = await buckets((LABELS | {"le": "0.5"}, 3.0), (LABELS | {"le": "+Inf"}, 4.0))
    assert found == {0.5: 3.0, math.inf: 4.0}


async def test_two_spellings_of_a_bound_are_one() -> None:
    """Workers of two versions at once: "1" of one library is "1.0" of another."""
    assert await buckets((LABELS | {"le": "1"}, 3.0), (LABELS | {"le": "1.0"}, 4.0)) == {1.0: 7.0}


@pytest.mark.parametrize("bound", ["", "junk", "NaN", "-Inf", "1s", "0x1"])
async def test_a_label_that_is_no_bound_spoils_nothing(bound: str) -> None:
    """A worker may export any label; what one tenant sends must not stop the others."""
    assert await buckets((LABELS | {"le": bound}, 9.0), (LABELS | {"le": "0.5"}, 3.0)) == {0.5: 3.0}


@pytest.mark.parametrize("labels", [{}, {"namespace": "team-a"}, {"inferenceservice": "chat"}])
async def test_buckets_of_nobody_do_not_count(labels: dict[str, str]) -> None:
    assert await buckets((labels | {"le": "0.5"}, 9.0)) == {}


async def test_attainment() -> None:
    answer = (Sample(LABELS | {"le": "2.0"}, 97.0), Sample(LABELS | {"le": "+Inf"}, 100.0))
    histograms = await Measure(Source(lambda _: answer)).histograms([("TTFT", 60)])
    found = attainment(KEY, [TTFT], histograms, window_seconds=60)
    assert found is not None
    assert [(item.fraction, item.met) for item in found] == [(0.97, False)]
    other = attainment(("team-a", "idle"), [TTFT], histograms, window_seconds=60)
    assert other is not None
    assert other[0].fraction is None, "no traffic, though others have some"


async def test_attainment_is_unknown_when_it_cannot_be_asked() -> None:
    away = await Measure(Source(lambda _: Unavailable("away"))).histograms([("TTFT", 60)])
    assert attainment(KEY, [TTFT], away, window_seconds=60) is None
    assert attainment(KEY, [TTFT], {}, window_seconds=60) is None
    assert attainment(KEY, [], away, window_seconds=60) == []


async def test_the_past_is_asked_on_a_grid_that_ends_now() -> None:
    source = Source(scraping_every(2.0))
    past = await Measure(source).past(now=1000.7, seconds=100.0, points=20)
    assert not isinstance(past, Unavailable)
    assert past.grid == tuple(900.0 + 5.0 * step for step in range(21))
    assert past.window_seconds == 8.0
    assert set(past.answers) == set(QUERIES) | set(DOOR_QUERIES)
    assert past.answers["waiting"] == {KEY: {1000.0: 1.0, 995.0: 1.0}}
    assert all("[8s]" in query for query in source.asked if "rate(" in query)


async def test_no_request_falls_between_two_moments_of_the_past() -> None:
    """Rather than that it is cut short."""
    past = await Measure(Source(scraping_every(5.0))).past(now=10_000.0, seconds=1800.0, points=20)
    assert not isinstance(past, Unavailable)
    assert past.window_seconds == 20.0
    assert past.grid == tuple(9600.0 + 20.0 * step for step in range(21))


async def test_a_past_that_is_not_all_known_is_not_known() -> None:
    source = Source(lambda query: Unavailable("too many samples") if "running" in query else ())
    past = await Measure(source).past(now=1.0, seconds=1.0, points=1)
    assert past == Unavailable("too many samples")
    assert "running" in source.asked[-1], "and nobody asks on"


def counted(result: str, value: float, **labels: str) -> Sample:
    return Sample(LABELS | {"metric": "TTFT", "percentile": "99", "result": result} | labels, value)


async def test_what_the_gateways_counted_stands_before_any_histogram() -> None:
    """A request that was refused or timed out is in no histogram of answers, but it missed the objective."""
    answer = (counted("met", 10), counted("missed", 90), counted("met", 5, metric="E2E"), counted("?", 7))
    judged = await Measure(Source(lambda _: answer)).judged([("TTFT", 60), ("E2E", 60), ("TTFT", 300)])
    assert set(judged) == {60, 300}
    fast = {("TTFT", 60): {KEY: {2.0: 10.0, math.inf: 10.0}}}
    found = attainment(KEY, [TTFT], fast, window_seconds=60, judged=judged)
    assert found is not None
    assert (found[0].fraction, found[0].met) == (0.1, False)
    refused = attainment(KEY, [TTFT], {}, window_seconds=60, judged=judged)
    assert refused is not None
    assert refused[0].fraction == 0.1, "also when nothing was answered"
    other = attainment(("team-a", "direct"), [TTFT], {("TTFT", 60): {}}, window_seconds=60, judged=judged)
    assert other is not None
    assert other[0].fraction is None
    away = attainment(KEY, [TTFT], fast, window_seconds=60, judged={60: Unavailable("away")})
    assert away is not None
    assert away[0].fraction == 1.0
