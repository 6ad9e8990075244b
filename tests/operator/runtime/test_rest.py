"""A service at rest costs no work, and whatever moves ends the rest: nothing is skipped that had to be written."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from penstock_contract import names
from penstock_operator.adapters.workers import WorkerScraper
from penstock_operator.core.ports import Sample, Series
from penstock_operator.core.scaling.signals import SCRAPE_INTERVAL_QUERY
from penstock_operator.runtime import autoscaler as module
from penstock_operator.runtime.actuator import Actuator
from penstock_operator.runtime.autoscaler import Autoscaler
from penstock_operator.runtime.cache import Cache
from penstock_operator.runtime.gateways import Gateways
from penstock_operator.runtime.measure import Measure
from penstock_operator.runtime.metrics import Metrics

Manifest = dict[str, Any]
KEY = ("team-a", "chat")
OWNED = {"ownerReferences": [{"kind": "ReplicaSet", "name": "chat-5d4c", "controller": True}]}


class Idle:
    """One worker, scraped a second ago, with nothing to do; `values` by what a query asks for."""

    def __init__(self) -> None:
        self.values = {"time()": 1.0}

    async def instant(self, query: str) -> tuple[Sample, ...]:
        if query == SCRAPE_INTERVAL_QUERY:
            return (Sample({}, 1.0),)
        value = next((value for part, value in self.values.items() if part in query), 0.0)
        return (Sample({"namespace": KEY[0], "inferenceservice": KEY[1]}, value),)

    async def range(self, query: str, **_: float) -> tuple[Series, ...]:
        """No past."""
        return ()


class World:
    """A cache and an API server that takes every write, remembers its kind, and answers with what is then true."""

    def __init__(self, resource: Manifest, deployment: Manifest) -> None:
        self.now, self.version, self.source = 1_800_000_000.0, 10, Idle()
        self.cache, self.writes = Cache(), list[str]()
        metrics = Metrics()
        self.autoscaler = Autoscaler(
            self,  # type: ignore[arg-type]  # it has of the Protocol what a tick calls
            self.cache,
            Measure(self.source),
            metrics,
            clock=lambda: self.now,
            actuator=Actuator(
                self,  # type: ignore[arg-type]  # the same
                self.cache,
                WorkerScraper(),
                metrics,
                handed_over=lambda _: None,
            ),
            gateways=Gateways(),
        )
        self.resource, self.deployment = resource, deployment
        self.put(resource)
        self.put(deployment)

    def put(self, obj: Manifest) -> None:
        self.version += 1
        metadata = obj["metadata"] | {"resourceVersion": str(self.version)}
        assert self.cache.put(obj | {"metadata": metadata})

    async def ticks(self, count: int) -> list[str]:
        self.writes.clear()
        for _ in range(count):
            await self.autoscaler.tick()
            self.now += 5.0
        return list(self.writes)

    async def apply_status(self, manifest: Manifest, **_: Any) -> Manifest:
        self.writes.append("status")
        live = self.cache.get(names.KIND, KEY)
        assert live is not None
        self.version += 1
        return live | {"status": manifest["status"], "metadata": live["metadata"] | {"resourceVersion": self.version}}

    async def scale(self, *, replicas: int, **_: Any) -> None:
        self.writes.append(f"scale {replicas}")

    async def create_event(self, event: Manifest) -> None:
        pass

    async def annotate_pod(self, **_: Any) -> None:
        self.writes.append("annotate")


@pytest.fixture
async def world(resource: Callable[..., Manifest], deployment: Callable[..., Manifest]) -> World:
    owned = {"manager": names.AUTOSCALER_MANAGER, "fieldsV1": {"f:spec": {"f:replicas": {}}}}
    made = World(resource(), deployment(replicas=1, managedFields=[owned]))
    assert "status" in await made.ticks(60)
    return made


async def test_at_rest_nothing_is_worked_out(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any, **__: Any) -> bool:
        raise AssertionError("a status was worked out although nothing moved")

    monkeypatch.setattr(module, "covers", never)
    assert await world.ticks(12) == []
    assert world.autoscaler._failing == {}


async def test_a_status_that_somebody_wipes_is_written_again(world: World) -> None:
    world.put(world.resource)
    assert await world.ticks(2) == ["status"]


async def test_a_count_that_somebody_changes_is_decided_anew(world: World) -> None:
    world.put(world.deployment | {"spec": {"replicas": 0}})
    assert "scale 1" in await world.ticks(1)


async def test_an_edited_spec_is_answered(world: World) -> None:
    edited = {**world.resource["spec"], "scaling": {"minReplicas": 3, "maxReplicas": 6}}
    world.put(world.resource | {"spec": edited, "metadata": world.resource["metadata"] | {"generation": 2}})
    assert set(await world.ticks(1)) == {"scale 3", "status"}


async def test_a_signal_that_is_lost_is_told(world: World) -> None:
    world.source.values["time()"] = 1000.0
    assert await world.ticks(2) == ["status"]


async def test_a_pod_that_was_left_draining_serves_again(world: World) -> None:
    labels = {names.SERVICE: KEY[1]}
    marks = {names.DRAINING: "2027-01-15T08:00:00Z"}
    metadata = {"name": "p", "namespace": KEY[0], "uid": "p-1", "labels": labels, "annotations": marks} | OWNED
    world.put({"kind": "Pod", "metadata": metadata | {"creationTimestamp": "2027-01-15T07:00:00Z"}, "status": {}})
    assert "annotate" in await world.ticks(1)


async def test_a_field_of_nobody_is_taken_over_again(world: World) -> None:
    world.put(world.deployment | {"metadata": world.deployment["metadata"] | {"managedFields": []}})
    assert await world.ticks(2) == ["scale 1", "scale 1"], "until the API server says that it is ours"


def started(name: str, *, seconds: int) -> Manifest:
    """A worker that took so long to become ready."""
    at = datetime(2027, 1, 15, 7, tzinfo=UTC)
    times = {"PodScheduled": at, "Ready": at + timedelta(seconds=seconds)}
    conditions = [
        {"type": kind, "status": "True", "lastTransitionTime": time.isoformat()} for kind, time in times.items()
    ]
    metadata = {"name": name, "namespace": KEY[0], "uid": name, "labels": {names.SERVICE: KEY[1]}} | OWNED
    return {
        "kind": "Pod",
        "metadata": metadata | {"creationTimestamp": at.isoformat()},
        "status": {"conditions": conditions},
    }


async def test_what_is_learned_is_written_at_most_every_ten_minutes_and_not_lost(world: World) -> None:
    def learned() -> int | None:
        live = world.cache.get(names.KIND, KEY)
        assert live is not None
        found: int | None = live["status"].get("learned", {}).get("startupSecondsP90")
        return found

    world.put(started("a", seconds=20))
    await world.ticks(1)
    assert learned() == 20
    begun = world.now
    for seconds in (40, 41, 80):
        world.put(started("b", seconds=seconds))
        await world.ticks(3)
        assert learned() == 20
    while learned() == 20:
        assert world.now < begun + 700
        await world.ticks(1)
    assert learned() == 80
    assert world.now >= begun + 590
    assert await world.ticks(12) == [], "and then it rests"
