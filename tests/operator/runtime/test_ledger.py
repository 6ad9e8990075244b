"""What is kept of a service, for how long, and what a tick pays for it."""

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from penstock_operator.core.state import Facts, service_state
from penstock_operator.core.state.ring import MOST_POINTS
from penstock_operator.runtime.statepage import Question
from scene import TICK_SECONDS, Scene

KEY = ("demo", "chat")


def manifest(**scaling: Any) -> dict[str, Any]:
    return {
        "apiVersion": "inference.penstock.dev/v1alpha1",
        "metadata": {"name": KEY[1], "namespace": KEY[0]},
        "spec": {
            "model": {"source": {"containerPath": "/models/m"}},
            "runtime": {"image": "penstock/worker:dev"},
            "scaling": {"minReplicas": 1, "maxReplicas": 8, "targets": {"tokensPerSecond": 250}} | scaling,
            "drain": {"timeoutSeconds": 0},
        },
    }


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    made = Scene()
    yield made
    await made.close()


async def test_changes_are_kept_newest_first_and_at_most_twenty(scene: Scene) -> None:
    scaling = {"behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}}}
    scene.add(manifest(**scaling), lambda at: 16.0 if at % 300 < 150 else 2.0)
    await scene.run(4500)
    changes = scene.page.state(Question(KEY)).services[0].decisions
    assert len(changes) == 20
    assert [one.at for one in changes] == sorted((one.at for one in changes), reverse=True)
    assert all(earlier.after == later.before for later, earlier in itertools.pairwise(changes))
    assert {one.reason for one in changes} >= {"LessLoad"}


async def test_a_first_decision_that_differs_from_what_is_there_is_a_change(scene: Scene) -> None:
    scene.add(manifest(minReplicas=3), lambda _: 0.0, replicas=1)
    await scene.run(TICK_SECONDS)
    changes = scene.page.state().services[0].decisions
    assert [(one.before, one.after) for one in changes] == [(1, 3)]


async def test_advice_is_marked_as_such(scene: Scene) -> None:
    scene.add(manifest(mode="Advise", minReplicas=3), lambda _: 0.0, replicas=1)
    await scene.run(TICK_SECONDS)
    assert [(one.after, one.act) for one in scene.page.state().services[0].decisions] == [(3, False)]


async def test_history_is_bounded(scene: Scene) -> None:
    scene.add(manifest(), lambda at: 3.0 + (at % 70) / 70)
    await scene.run(2400)
    history = scene.page.state().services[0].history
    assert 100 < len(history) <= MOST_POINTS
    assert history[-1][0] - history[0][0] <= 1800
    assert history[-1][1] is not None


async def test_nothing_is_left_of_a_service_that_is_gone(scene: Scene) -> None:
    scene.add(manifest(), lambda _: 3.0)
    await scene.run(60)
    raw = scene.cache.get("InferenceService", KEY)
    assert raw is not None
    scene.cache.remove(raw)
    scene.autoscaler.forget(KEY)
    assert scene.ledger.get(KEY) is None
    assert scene.page.state().services == ()


async def test_a_namesake_begins_anew(scene: Scene) -> None:
    scene.add(manifest(minReplicas=2), lambda _: 3.0, replicas=1)
    await scene.run(60)
    assert scene.page.state().services[0].decisions
    raw = scene.cache.get("InferenceService", KEY)
    assert raw is not None
    scene.cache.remove(raw)
    scene._put(raw | {"metadata": raw["metadata"] | {"uid": "u-2"}})
    shown = scene.page.state().services[0]
    assert (shown.decisions, shown.history, shown.decision) == ((), (), None)


async def test_a_service_that_is_not_decided_any_more_shows_no_old_decision(scene: Scene) -> None:
    scene.add(manifest(), lambda _: 3.0)
    await scene.run(60)
    assert scene.page.state().services[0].decision is not None
    scene.cache.remove(scene._deployment(KEY))
    await scene.autoscaler.tick()
    shown = scene.page.state().services[0]
    assert shown.decision is None
    assert shown.replicas.asked is None


async def test_nobody_who_looks_costs_a_tick_nothing(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("the state was made although nobody asked")

    monkeypatch.setattr("penstock_operator.runtime.statepage.service_state", never)
    scene.add(manifest(), lambda _: 3.0)
    await scene.run(60)
    with pytest.raises(AssertionError):
        scene.page.state()


async def test_those_who_ask_the_same_within_a_second_get_the_same_answer(scene: Scene) -> None:
    scene.add(manifest(), lambda _: 3.0)
    await scene.run(60)
    first = await scene.page.body(Question())
    assert await scene.page.body(Question()) is first
    scene.now += 1.0
    assert await scene.page.body(Question()) is not first


async def test_an_answer_that_takes_long_is_waited_for_and_not_made_twice(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.add(manifest(), lambda _: 3.0)
    await scene.run(60)
    made, begun, gate = [], threading.Event(), threading.Event()

    def slow(facts: Facts) -> Any:
        made.append(facts)
        begun.set()
        gate.wait(timeout=30)
        return service_state(facts)

    monkeypatch.setattr("penstock_operator.runtime.statepage.service_state", slow)
    first = asyncio.ensure_future(scene.page.body(Question()))
    assert await asyncio.to_thread(begun.wait, 30)
    scene.now += 60.0
    second = asyncio.ensure_future(scene.page.body(Question()))
    await asyncio.sleep(0)
    gate.set()
    assert await first is await second
    assert len(made) == 1
    assert await scene.page.body(Question()) is not await first, "what is done is only given again while it is young"


async def test_the_page_says_when_the_last_tick_began(scene: Scene) -> None:
    assert scene.page.state().ticked_at is None
    await scene.run(TICK_SECONDS)
    assert scene.page.state().ticked_at == scene.now - TICK_SECONDS
