"""What becomes of drains that a former process has begun."""

from collections.abc import Callable
from typing import Any

import pytest

from observations import observation
from penstock_contract import names
from penstock_operator.adapters.workers import WorkerScraper
from penstock_operator.api import InferenceService
from penstock_operator.core.scaling import Decision, Reason
from penstock_operator.runtime.actuator import Actuator
from penstock_operator.runtime.cache import Cache
from penstock_operator.runtime.metrics import Metrics

Manifest = dict[str, Any]
NOW = 1_800_000_000.0


class World:
    """Three workers of which one drains, and what was written about them."""

    def __init__(self, resource: Manifest, deployment: Manifest) -> None:
        self.cache, self.unmarked = Cache(), list[str]()
        self.resource, self.service = resource, InferenceService.model_validate(resource)
        self.cache.put(deployment)
        for number, notes in enumerate(({names.DRAINING: "2027-01-15T07:59:55Z"}, {}, {})):
            metadata = {
                "name": f"chat-{number}",
                "namespace": "team-a",
                "uid": f"p-{number}",
                "labels": {names.SERVICE: "chat"},
                "ownerReferences": [{"kind": "ReplicaSet", "name": "chat-5d4c", "controller": True}],
                "annotations": notes,
            }
            self.cache.put({"kind": "Pod", "metadata": metadata, "status": {"phase": "Running"}})
        self.actuator = Actuator(
            self,  # type: ignore[arg-type]  # it has of the Protocol what is called here
            self.cache,
            WorkerScraper(),
            Metrics(),
            handed_over=lambda _: None,
        )

    async def held(self, needed: float | None, *, after: float, act: bool = True) -> list[str]:
        """Who serves again after a decision for the count that is there."""
        self.unmarked.clear()
        decision = Decision(3, Reason.SIGNALS_UNKNOWN, "held", needed=needed, act=act)
        seen = observation(replicas=3)
        await self.actuator.carry_out(self.resource, self.service, decision, seen, NOW + after)
        return list(self.unmarked)

    async def annotate_pod(self, *, name: str, annotations: dict[str, Any], **_: Any) -> None:
        assert annotations[names.DRAINING] is None
        self.unmarked.append(name)

    async def create_event(self, _: Manifest) -> None:
        pass


@pytest.fixture
def world(resource: Callable[..., Manifest], deployment: Callable[..., Manifest]) -> World:
    owned = {"manager": names.AUTOSCALER_MANAGER, "fieldsV1": {"f:spec": {"f:replicas": {}}}}
    return World(resource(), deployment(replicas=3, managedFields=[owned]))


async def test_a_process_that_has_just_begun_leaves_drains_as_they_are(world: World) -> None:
    assert await world.held(None, after=0.0) == [], "nothing is known yet"
    assert await world.held(1.6, after=25.0) == [], "two serve, and two are needed"
    assert await world.held(1.6, after=30.0) == ["chat-0"], "held for a reason of its own by now"


async def test_not_where_their_replicas_are_needed_or_nothing_is_carried_out(world: World) -> None:
    assert await world.held(2.1, after=0.0) == ["chat-0"]
    assert await world.held(None, after=0.0, act=False) == ["chat-0"]
