from typing import Any

import pytest

from penstock_operator.core.observe import observe
from penstock_operator.core.ports import Unavailable
from penstock_operator.core.scaling import SignalState
from penstock_operator.core.scaling.signals import View, queries

KEY = ("team-a", "chat")
NAMES = ("arrivals", "prompt_tokens", "generated_tokens", "finished", "waiting", "running")


def view(**changes: Any) -> View:
    answers: dict[str, Any] = {kind: {KEY: float(index)} for index, kind in enumerate(queries(20.0), start=1)}
    return View(answers=answers | {"age": {KEY: 2.0}} | changes, now=1000.0, window_seconds=20.0)


def pod(*, ready: bool, node: bool = True, leaving: bool = False) -> dict[str, Any]:
    bound = {"type": "PodScheduled", "status": str(node), "reason": "" if node else "Unschedulable"}
    return {
        "metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"} if leaving else {},
        "status": {"conditions": [{"type": "Ready", "status": str(ready)}, bound]},
    }


def deployment(**changes: Any) -> dict[str, Any]:
    return {"metadata": {}, "spec": {"replicas": 4}, "status": {"replicas": 4, "updatedReplicas": 4}} | changes


def test_every_query_lands_in_its_field() -> None:
    seen = observe(KEY, deployment=deployment(), pods=[], view=view())
    kinds = list(queries(20.0))
    for name in NAMES:
        signal = getattr(seen, name)
        assert (signal.state, signal.value) == (SignalState.FRESH, kinds.index(name) + 1.0)
        assert signal.observed_at == 998.0
    assert seen.reporting.value == kinds.index("reporting") + 1.0
    assert seen.rate_window_seconds == 20.0
    assert seen.source_error is None


def test_pods_are_counted_once_they_matter() -> None:
    pods = [pod(ready=True), pod(ready=True, leaving=True), pod(ready=False), pod(ready=False, node=False)]
    seen = observe(KEY, deployment=deployment(), pods=pods, view=view())
    assert (seen.replicas, seen.ready, seen.unschedulable) == (4, 1, 1)


def test_the_deployment_says_what_was_asked_and_who_asked() -> None:
    scaled = {
        "manager": "keda",
        "subresource": "scale",
        "fieldsV1": {"f:spec": {"f:replicas": {}}},
    }
    live = deployment(metadata={"managedFields": [scaled]}, status={"replicas": 4, "updatedReplicas": 1})
    seen = observe(KEY, deployment=live, pods=[], view=view())
    assert (seen.foreign_scaler, seen.rolling_out) == ("keda", True)
    assert observe(KEY, deployment={"metadata": {}}, pods=[], view=view()).replicas == 1


def test_another_service_is_not_this_one() -> None:
    seen = observe(("team-b", "chat"), deployment=deployment(), pods=[], view=view())
    assert all(getattr(seen, name).state is SignalState.ABSENT for name in NAMES)


def test_a_source_that_is_away_is_named() -> None:
    away = view(**dict.fromkeys(queries(20.0), Unavailable("Prometheus cannot be reached")))
    seen = observe(KEY, deployment=deployment(), pods=[], view=away)
    assert seen.source_error == "Prometheus cannot be reached"
    assert {signal.state for signal in seen.signals().values()} == {SignalState.ABSENT}


@pytest.mark.parametrize("steps", [0.0, 5.0])
def test_requests_that_run_while_no_engine_steps_contradict(steps: float) -> None:
    seen = observe(KEY, deployment=deployment(), pods=[], view=view(steps={KEY: steps}))
    assert (seen.generated_tokens.state is SignalState.CONTRADICTORY) == (steps == 0)
