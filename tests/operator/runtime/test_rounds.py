"""Decisions while the metrics source is away, on what real servers in the workers' place say themselves."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from penstock_contract import names
from penstock_operator.core.ports import Unavailable
from rounds_world import JUNK, KEY, Worker, World, pod

GONE = Unavailable("Prometheus cannot be reached", gone=True, silent=True)
WRONG = Unavailable("Prometheus answered with a page")


@pytest.fixture
async def worker() -> AsyncIterator[Callable[[int], Awaitable[Worker]]]:
    runners: list[web.AppRunner] = []

    async def begin(number: int) -> Worker:
        made = Worker(f"127.77.0.{number}")
        app = web.Application()
        app.router.add_get("/{path:.*}", made.answer)
        runner = web.AppRunner(app)
        await runner.setup()
        runners.append(runner)
        await web.TCPSite(runner, made.address, names.HTTP_PORT).start()
        return made

    yield begin
    for runner in runners:
        await runner.cleanup()


@pytest.fixture
async def world(worker, resource, deployment) -> AsyncIterator[World]:
    """Three workers, all busy, seen through a metrics source for a minute."""
    scaling = {
        "minReplicas": 1,
        "maxReplicas": 20,
        "targets": {"tokensPerSecond": 100},
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 20}},
    }
    workers = [await worker(number) for number in (1, 2, 3)]
    made = World(
        resource("chat", uid="u-chat", scaling=scaling), deployment("chat", owner="u-chat", replicas=3), workers
    )
    for one in workers:
        one.rate = 5.0
    assert (await made.ticks(80))[-1] == 3
    assert [one.asked for one in workers] == [0, 0, 0], "only while the source is away"
    yield made
    await made.scraper.close()


def give(world: World, *rates: float) -> None:
    for one, rate in zip(world.workers, rates, strict=True):
        one.rate = rate


async def test_decisions_go_on_up_and_down(world: World) -> None:
    world.failure = GONE
    assert set(await world.ticks(6)) == {3}, "the same load, seen otherwise"
    assert world.shown("metrics_source_up") == 0.0
    assert world.shown("signal_state", signal="Arrivals", state="Fresh") == 1.0
    assert world.shown("demand_tokens_per_second") == pytest.approx(300, rel=0.05)
    give(world, 15.0, 15.0, 15.0)
    assert (await world.ticks(8))[-1] >= 9, "three times the load"
    give(world, 2.0, 2.0, 0.5)
    later = await world.ticks(16)
    assert later[1] >= 3, "not before the window has passed"
    assert later[-1] < 3, "no more than the load asks for"
    assert world.shown("pod_scrapes_total", result="answered") == sum(one.asked for one in world.workers)
    assert world.shown("pod_scrapes_total", result="failed") == 0


async def test_a_source_that_answers_wrongly_adds_and_never_removes(world: World) -> None:
    """It may be another one's: who asks the wrong address has to hear of it, and loses nothing."""
    world.failure = WRONG
    give(world, 0.0, 0.0, 0.0)
    assert set(await world.ticks(16)) == {3}
    assert "Reporting not fresh" in world.message()
    give(world, 15.0, 15.0, 15.0)
    assert (await world.ticks(8))[-1] >= 9


async def test_what_is_said_of_a_failure_changes_seldom(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """It is written into every service."""
    for number in range(13):
        world.failure = Unavailable(f"failure {number}")
        await world.ticks(1)
    world.failure = None
    await world.ticks(1)
    said = [(record.msg, record.args) for record in caplog.records if record.name == "penstock.source"]
    down = "metrics_source_down detail=%r"
    assert said[:3] == [(down, ("failure 0",)), (down, ("failure 6",)), (down, ("failure 12",))]


async def test_a_source_that_never_answered_is_not_stood_in_for(world: World) -> None:
    world.autoscaler._lookout._answered = False  # as after a restart
    world.failure = GONE
    give(world, 0.0, 0.0, 0.0)
    assert set(await world.ticks(16)) == {3}


@pytest.mark.parametrize("manner", ["silent", "elsewhere", *JUNK])
async def test_a_pod_that_gives_no_page_is_not_idle(world: World, manner: str) -> None:
    world.workers[1].manner = manner
    world.failure = GONE
    give(world, 0.5, 0.0, 0.0)
    assert set(await world.ticks(16)) == {3}
    assert "2 of 3 ready pods report" in world.message()
    give(world, 30.0, 0.0, 0.0)
    assert (await world.ticks(8))[-1] >= 6, "what is known to be there counts"
    give(world, 0.5, 0.0, 0.0)
    world.workers[1].manner = ""
    assert (await world.ticks(20))[-1] == 1


async def test_pods_that_are_not_ready_are_neither_asked_nor_waited_for(world: World) -> None:
    world.cache.put(
        pod("127.77.0.3", ready=False) | {"metadata": pod("127.77.0.3")["metadata"] | {"resourceVersion": "2"}}
    )
    world.failure = GONE
    give(world, 0.5, 0.5, 0.0)
    await world.ticks(16)
    assert world.workers[2].asked == 0
    assert "ready pods report" not in world.message()


async def test_the_source_that_is_back_is_believed_at_once(world: World) -> None:
    world.failure = GONE
    give(world, 15.0, 15.0, 15.0)
    assert (await world.ticks(8))[-1] >= 9
    world.failure = None
    await world.ticks(2)
    asked = [one.asked for one in world.workers]
    await world.ticks(20)
    assert [one.asked for one in world.workers] == asked
    assert world.shown("desired_replicas") < 6, "the load that the source tells of"
    assert world.shown("metrics_source_up") == 1.0
    world.failure = GONE
    assert set(await world.ticks(3)) == {3}, "old pages say nothing about the time between"
    assert "holds 3: Prometheus cannot be reached" in world.message()


async def test_services_take_turns_when_there_are_too_many_pods(worker, resource, deployment) -> None:
    """Whole ones; each is known all the same, over a longer window."""
    one = await worker(9)
    made = World(resource("chat", uid="u-chat"), deployment("chat", owner="u-chat", replicas=1), [one])
    made.rounds._most = 1
    for name in ("b", "c"):
        made.cache.put(resource(name, uid=f"u-{name}"))
        made.cache.put(deployment(name, owner=f"u-{name}", replicas=1))
        other = pod(one.address)
        other["metadata"] |= {"name": f"{name}-5d4c-9", "uid": f"p-{name}", "labels": {names.SERVICE: name}}
        other["metadata"]["ownerReferences"] = [{"kind": "ReplicaSet", "name": f"{name}-5d4c", "controller": True}]
        made.cache.put(other)
    services = made.autoscaler._services()
    one.rate = 3.0
    views: Any = {}
    for _ in range(9):
        asked = one.asked
        views = await made.rounds.ask(services, window_seconds=10.0, now=made.now)
        assert one.asked == asked + 1
        made.now += 5.0
        one.requests += 15.0
    assert set(views) == {KEY, ("team-a", "b"), ("team-a", "c")}
    for key, view in views.items():
        assert view.answers["arrivals"] == {key: pytest.approx(3.0)}
        assert view.answers["age"][key] <= view.window_seconds
    await made.scraper.close()
