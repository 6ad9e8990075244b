"""A process that has just started gets its memory from the metrics source, once, however odd the world is."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from penstock_contract import names
from penstock_operator.core.naming import child_name
from penstock_operator.core.ports import Sample, Series, Unavailable
from penstock_operator.core.scaling.signals import SCRAPE_INTERVAL_QUERY
from penstock_operator.runtime.cache import Cache
from penstock_operator.runtime.measure import Measure
from penstock_operator.runtime.remembrance import Remembrance
from penstock_operator.runtime.terms import Terms, terms_of

NOW = 1_800_000_000.0
KEY = ("team-a", "chat")
Services = list[tuple[tuple[str, str], Terms]]


class Source:
    """Four quiet replicas for as long as anybody asks about, or nothing at all, or no answer for ever."""

    def __init__(self) -> None:
        self.away = self.hangs = False
        self.interval, self.mute = 1.0, "nothing"
        self.ranges: list[tuple[float, float, float]] = []

    async def instant(self, query: str) -> tuple[Sample, ...] | Unavailable:
        return (Sample({}, self.interval),) if query == SCRAPE_INTERVAL_QUERY else ()

    async def range(self, query: str, *, start: float, end: float, step: float) -> tuple[Series, ...] | Unavailable:
        self.ranges.append((start, end, step))
        if self.hangs:
            await asyncio.Event().wait()
        if self.away or self.mute in query:
            return Unavailable("away")
        value = 4.0 if query.startswith("count") else 1.0
        points = tuple((start + step * index, value) for index in range(int((end - start) / step) + 1))
        return (Series({"namespace": "team-a", "inferenceservice": "chat"}, points),)


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def cache(resource: Callable[..., Any], deployment: Callable[..., Any]) -> Cache:
    made = Cache()
    made.put(resource("chat", uid="u-chat"))
    made.put(deployment("chat", owner="u-chat", replicas=4))
    return made


@pytest.fixture
def remembrance(source: Source, cache: Cache) -> Remembrance:
    return Remembrance(Measure(source), cache)


def services(cache: Cache) -> Services:
    found = cache.service(KEY)
    return [(KEY, terms_of(found))]  # type: ignore[arg-type]


async def test_it_is_given_once(remembrance: Remembrance, cache: Cache, source: Source) -> None:
    found = await remembrance.once(services(cache), gateways=0, now=NOW)
    assert found["u-chat"].arrivals == pytest.approx(1.0)
    assert found["u-chat"].recommendations
    asked = len(source.ranges)
    assert await remembrance.once(services(cache), gateways=0, now=NOW + 5) == {}
    assert len(source.ranges) == asked


async def test_a_source_that_answers_late_still_helps_and_one_that_never_does_is_left_alone(
    remembrance: Remembrance, cache: Cache, source: Source
) -> None:
    source.away = True
    for late in (0.0, 100.0):
        assert await remembrance.once(services(cache), gateways=0, now=NOW + late) == {}
    source.away = False
    assert "u-chat" in await remembrance.once(services(cache), gateways=0, now=NOW + 200)

    source.away, other = True, Remembrance(Measure(source), cache)
    await other.once(services(cache), gateways=0, now=NOW)
    asked = len(source.ranges)
    source.away = False
    assert await other.once(services(cache), gateways=0, now=NOW + 301) == {}
    assert len(source.ranges) == asked


async def test_a_source_that_hangs_holds_up_no_tick_but_the_first(cache: Cache, source: Source) -> None:
    source.hangs = True
    hanging = Remembrance(Measure(source), cache, wait_seconds=0.05)
    async with asyncio.timeout(60):
        for tick in range(3):
            assert await hanging.once(services(cache), gateways=0, now=NOW + 5 * tick) == {}
    assert len(source.ranges) == 1


async def test_an_edit_or_a_rollout_ends_what_is_remembered(
    remembrance: Remembrance, cache: Cache, resource: Callable[..., Any], deployment: Callable[..., Any]
) -> None:
    edited = resource("chat", uid="u-chat", version=2)
    edited["metadata"]["managedFields"] = [
        {"time": "2027-01-15T07:59:30Z"},
        {"time": "2027-01-15T08:59:30Z", "subresource": "status"},
    ]
    cache.put(edited)
    found = await remembrance.once(services(cache), gateways=0, now=NOW)
    first, *_, last = [at for at, _ in found["u-chat"].recommendations]
    assert (first >= NOW - 30, last) == (True, NOW)
    rolled = deployment("chat", owner="u-chat", replicas=4, resourceVersion="9")
    rolled["status"]["conditions"] = [{"type": "Progressing", "lastUpdateTime": "2027-01-15T07:59:50Z"}]
    cache.put(rolled)
    again = await Remembrance(Measure(Source()), cache).once(services(cache), gateways=0, now=NOW)
    assert min(at for at, _ in again["u-chat"].recommendations) >= NOW - 10


async def test_marks_that_pods_bear_are_known_again(remembrance: Remembrance, cache: Cache) -> None:
    """Of five pods one is counted out already; two more are marked."""
    for number, mark in enumerate(("07:59:40", "07:59:50", "07:59:55", None, None)):
        notes = {} if mark is None else {names.DRAINING: f"2027-01-15T{mark}Z"}
        metadata = {
            "name": f"chat-{number}",
            "namespace": "team-a",
            "uid": f"p-{number}",
            "creationTimestamp": "2027-01-15T07:00:00Z",
            "labels": {names.SERVICE: "chat"},
            "ownerReferences": [{"kind": "ReplicaSet", "name": f"{child_name('chat')}-1", "controller": True}],
            "annotations": notes,
        }
        cache.put({"kind": "Pod", "metadata": metadata, "status": {"phase": "Running"}})
    found = await remembrance.once(services(cache), gateways=0, now=NOW)
    assert found["u-chat"].recommendations[0] == (NOW - 5, 2)


async def test_it_reaches_back_half_an_hour_or_as_far_as_120_moments_do(
    remembrance: Remembrance, cache: Cache, source: Source
) -> None:
    await remembrance.once(services(cache), gateways=1, now=NOW)
    start, end, step = source.ranges[0]
    assert (end, step) == (NOW, 4.0), "the rate window of a scrape a second"
    assert end - start == 480
    source.interval = 15.0
    await Remembrance(Measure(source), cache).once(services(cache), gateways=1, now=NOW)
    start, end, step = source.ranges[-1]
    assert (end - start, step) == (1800, 15.0)


async def test_verdicts_that_cannot_be_had_take_nothing_else(
    remembrance: Remembrance, cache: Cache, source: Source
) -> None:
    source.mute = "objective_total"
    found = await remembrance.once(services(cache), gateways=0, now=NOW)
    assert found["u-chat"].arrivals == pytest.approx(1.0)


async def test_one_odd_service_takes_no_memory_from_the_others(
    remembrance: Remembrance, cache: Cache, resource: Callable[..., Any], deployment: Callable[..., Any]
) -> None:
    cache.put(resource("odd", uid="u-odd"))
    cache.put(deployment("odd", owner="u-odd", replicas="no number"))
    odd = cache.service(("team-a", "odd"))
    listed = [(("team-a", "odd"), terms_of(odd)), *services(cache)]  # type: ignore[arg-type]
    assert set(await remembrance.once(listed, gateways=0, now=NOW)) == {"u-chat"}


async def test_without_a_scaled_service_nothing_is_asked(
    remembrance: Remembrance, cache: Cache, source: Source, resource: Callable[..., Any]
) -> None:
    cache.put(resource("chat", uid="u-chat", version=2, generation=2, scaling=None, replicas=3))
    assert await remembrance.once(services(cache), gateways=0, now=NOW) == {}
    assert source.ranges == []
