"""The tick as a whole when parts of the world are broken. What it does in a sound one is shown end to end."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from penstock_operator.adapters.errors import KubeError
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


class Away:
    """An API server that nobody reaches; `hangs` until the caller gives up, else refuses at once."""

    def __init__(self, *, hangs: bool = False) -> None:
        self.calls = 0
        self._hangs = hangs

    async def _fail(self, *_: Any, **__: Any) -> Any:
        self.calls += 1
        if self._hangs:
            await asyncio.Event().wait()
        raise KubeError(0, "ClientConnectorError", "connection refused")

    list = get = apply = apply_status = scale = create_event = annotate_pod = _fail


class Source:
    """Every worker scraped a second ago, each service with one request a second of a hundred tokens."""

    def __init__(self, services: list[str]) -> None:
        self._services = services
        self.asked: list[str] = []

    async def instant(self, query: str) -> tuple[Sample, ...]:
        if query == SCRAPE_INTERVAL_QUERY:
            return (Sample({}, 1.0),)
        self.asked.append(query)
        value = 100.0 if "generated" in query else 0.0 if "waiting)" in query and "time()" not in query else 1.0
        return tuple(Sample({"namespace": "team-a", "inferenceservice": name}, value) for name in self._services)

    async def range(self, query: str, **_: float) -> tuple[Series, ...]:
        """No past."""
        return ()


class World:
    def __init__(self, kube: Away, services: list[str]) -> None:
        self.now = 1_800_000_000.0
        self.source = Source(services)
        self.cache, self.metrics, self.kube = Cache(), Metrics(), kube
        self.autoscaler = Autoscaler(
            kube,
            self.cache,
            Measure(self.source),
            self.metrics,
            clock=lambda: self.now,
            actuator=Actuator(kube, self.cache, WorkerScraper(), self.metrics, handed_over=lambda _: None),
            gateways=Gateways(),
        )

    async def tick(self) -> None:
        await self.autoscaler.tick()
        self.now += 5.0

    def shown(self, name: str, service: str = "chat") -> float | None:
        labels = {"namespace": "team-a", "inferenceservice": service}
        return self.metrics.registry.get_sample_value(f"penstock_operator_{name}", labels)

    def errors(self, reason: str) -> float:
        return (
            self.metrics.registry.get_sample_value("penstock_operator_reconcile_errors_total", {"reason": reason})
            or 0.0
        )


def failures(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.msg.startswith("tick_failed")]


@pytest.fixture
def world(resource: Callable[..., Manifest], deployment: Callable[..., Manifest]) -> Callable[..., World]:
    def build(*services: str, hangs: bool = False) -> World:
        made = World(Away(hangs=hangs), list(services))
        for name in services:
            made.cache.put(resource(name, uid=f"u-{name}"))
            made.cache.put(deployment(name, owner=f"u-{name}"))
        return made

    return build


async def test_an_api_server_that_is_away_stops_no_decision(world, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    seen = world("chat", "other")
    for _ in range(6):
        await seen.tick()
    assert seen.shown("desired_replicas") == seen.shown("desired_replicas", "other") == 3, "2, and 1 for the backlog"
    assert seen.shown("demand_tokens_per_second") == 100
    assert seen.errors("ClientConnectorError") == 12
    assert len(failures(caplog)) == 2, "one line per service and outage, none per tick"


async def test_writes_that_hang_are_left_to_the_next_tick(world, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LONGEST_WRITES_SECONDS", 0.01)
    seen = world(*(f"s{index}" for index in range(20)), hangs=True)
    for _ in range(2):
        await asyncio.wait_for(seen.tick(), 5.0)
    assert seen.errors("Timeout") == 2
    assert seen.kube.calls == 16, "eight at a time, each tick anew"


async def test_one_service_that_cannot_be_decided_does_not_stop_the_others(
    world, deployment, caplog: pytest.LogCaptureFixture
) -> None:
    seen = world("chat", "other")
    seen.cache.put(deployment("chat", owner="u-chat", replicas="no number"))
    for _ in range(3):
        await seen.tick()
    assert seen.shown("desired_replicas") is None
    assert seen.shown("desired_replicas", "other") == 3
    assert seen.errors("Bug") == 3
    assert len([record for record in failures(caplog) if record.exc_info]) == 1
    seen.cache.put(deployment("chat", owner="u-chat"))
    await seen.tick()
    assert seen.shown("desired_replicas") == 2


async def test_a_deployment_of_somebody_else_is_not_scaled(world, deployment) -> None:
    seen = world("chat")
    seen.cache.put(deployment("chat", owner="u-of-a-namesake"))
    await seen.tick()
    assert seen.kube.calls == 0
    assert seen.shown("desired_replicas") is None


async def test_a_service_on_its_way_out_or_without_a_deployment_is_left_alone(world, resource, deployment) -> None:
    seen = world("chat", "other")
    leaving = resource("chat", uid="u-chat", version=2)
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    seen.cache.put(leaving)
    seen.cache.remove(deployment("other"))
    await seen.tick()
    assert seen.kube.calls == 0


async def test_nothing_is_left_of_services_that_come_and_go(world, resource) -> None:
    seen = world("chat", "other")
    for _ in range(2):
        await seen.tick()
    seen.cache.remove(resource("chat", uid="u-chat", version=9))
    seen.autoscaler.forget(("team-a", "chat"))
    seen.now += 60.0
    await seen.tick()
    kept = seen.autoscaler
    assert set(kept._memory) == {"u-other"}
    assert set(kept._attainment) == {("u-other", 1)}
    assert set(kept._failing) == {("team-a", "other")}
    assert seen.shown("desired_replicas") is None


async def test_a_namesake_starts_with_an_empty_memory(world, resource, deployment) -> None:
    """Deleted and created again before any event of the deletion was seen."""
    seen = world("chat")
    for _ in range(6):
        await seen.tick()
    assert seen.shown("demand_tokens_per_second") == 100
    seen.cache.put(resource("chat", uid="u-2", version=9))
    seen.cache.put(deployment("chat", owner="u-2"))
    await seen.tick()
    assert set(seen.autoscaler._memory) == {"u-2"}
    assert seen.shown("demand_tokens_per_second") is None


async def test_a_count_that_becomes_fixed_shows_no_decision(world, resource) -> None:
    seen = world("chat")
    await seen.tick()
    assert seen.shown("desired_replicas") == 2
    seen.cache.put(resource("chat", uid="u-chat", version=2, generation=2, scaling=None, replicas=3))
    await seen.tick()
    assert seen.shown("desired_replicas") is None
    assert seen.shown("accelerator_seconds_total") is not None


async def test_a_new_promise_is_measured_at_once_and_then_now_and_then(world, resource) -> None:
    """Else its first status would say "not measured" and be written again half a minute later."""

    def sla(window: int) -> Manifest:
        objective = {"metric": "TTFT", "percentile": 99, "thresholdMilliseconds": 100}
        return {"windowSeconds": window, "objectives": [objective]}

    def windows() -> list[str]:
        found = [query.partition("_bucket[")[2].partition("]")[0] for query in seen.source.asked]
        return [window for window in found if window]

    seen = world("chat")
    await seen.tick()
    seen.cache.put(resource("chat", uid="u-chat", version=2, generation=2, sla=sla(60)))
    for _ in range(6):
        await seen.tick()
    assert windows() == ["60s"] * 2, "of the workers and of the gateways"
    seen.cache.put(resource("chat", uid="u-chat", version=3, generation=3, sla=sla(90)))
    for _ in range(8):
        await seen.tick()
    assert windows() == ["60s"] * 2 + ["90s"] * 4


async def test_counts_by_another_threshold_are_not_this_objectives(world, resource) -> None:
    """For a window after an edit the gateways' counts hold requests that were judged by the old threshold."""

    def sla(milliseconds: int) -> Manifest:
        objective = {"metric": "TTFT", "percentile": 99, "thresholdMilliseconds": milliseconds}
        return {"windowSeconds": 60, "objectives": [objective]}

    def counted(service: str = "chat") -> bool:
        terms = seen.autoscaler._terms[("team-a", service)]
        return terms.counted_alike(seen.now)

    seen = world("chat")
    seen.cache.put(resource("chat", uid="u-chat", version=2, generation=2, sla=sla(2000)))
    await seen.tick()
    assert counted()
    seen.cache.put(resource("chat", uid="u-chat", version=3, generation=3, sla=sla(500)))
    await seen.tick()
    assert not counted()
    seen.cache.put(resource("chat", uid="u-chat", version=4, generation=4, sla=sla(500), replicas=2, scaling=None))
    await seen.tick()
    assert not counted(), "an edit of something else changes nothing about it"
    seen.now += 60
    assert counted()


async def test_a_service_that_this_process_saw_come_has_nothing_to_recall(
    world, resource, deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its first count would be held for minutes as one of which nobody knows what it was chosen for."""
    first: dict[int, Any] = {}

    def decide(policy: Any, seen: Any, memory: Any, now: float) -> Any:
        first.setdefault(policy.max_replicas, memory.at)
        return module_decide(policy, seen, memory, now)

    module_decide = module.decide
    monkeypatch.setattr(module, "decide", decide)
    seen = world()
    await seen.tick()  # the past was asked for, once
    for name, most, created in (("young", 7, "2027-01-15T08:00:05Z"), ("old", 6, "2027-01-15T07:59:59Z")):
        service = resource(name, uid=f"u-{name}", scaling={"minReplicas": 1, "maxReplicas": most})
        service["metadata"]["creationTimestamp"] = created
        seen.cache.put(service)
        seen.cache.put(deployment(name, owner=f"u-{name}"))
    await seen.tick()
    assert first == {7: 1_800_000_005.0, 6: None}
