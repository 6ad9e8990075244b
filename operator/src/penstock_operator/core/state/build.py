"""From what the operator holds of a service to what is shown of it. Pure, and called on request only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from penstock_contract import names
from penstock_operator.api import InferenceService
from penstock_operator.core import pods as worker_pods
from penstock_operator.core.policy import cost_per_replica_hour, objectives, scaling_policy
from penstock_operator.core.scaling import Decision, Observation, Policy
from penstock_operator.core.scaling.types import Signal
from penstock_operator.core.sla import Attainment
from penstock_operator.core.state.ring import Point
from penstock_operator.core.state.types import (
    Capacity,
    Change,
    ConditionReport,
    Costs,
    DecisionReport,
    Load,
    Number,
    ObjectiveState,
    Prospect,
    Replicas,
    ServiceState,
    SignalReport,
)

Manifest = dict[str, Any]
_EMULATE_FLAG = "--emulate-device"
_FAILING = ("WorkerCrashed", "ImagePullFailed")
# What a worker printed last may be anybody's text, such as a prompt; the page is open to all.
_UNSAID = {"WorkerCrashed": "a worker ended; what it printed last stands in the resource's own conditions"}


@dataclass(frozen=True, slots=True)
class Facts:
    """What the operator holds of one service.

    Attributes:
        raw: the resource as the API server has it.
        service: the same parsed; None when its spec cannot be read.
        deployment: its Deployment; None when there is none.
        pods: its pods.
        seen: what the last tick observed; None when the count is fixed or before the first.
        decision: what it decided.
        decided_at: Unix seconds of that tick.
        attainment: of the objectives, in their order; None when it could not be had.
        profile: device profile that the workers say they emulate.
        changes: newest first.
        history: oldest first.
        now: Unix seconds.
        source_error: why the metrics source gave nothing to the last tick; None when it answered.
    """

    raw: Manifest
    service: InferenceService | None
    deployment: Manifest | None
    pods: Sequence[Manifest]
    now: float
    seen: Observation | None = None
    decision: Decision | None = None
    decided_at: float | None = None
    attainment: Sequence[Attainment] | None = None
    profile: str | None = None
    changes: tuple[Change, ...] = ()
    history: tuple[Point, ...] = ()
    source_error: str | None = None


def service_state(facts: Facts) -> ServiceState:
    """What is shown of one service."""
    service, decision, seen = facts.service, facts.decision, facts.seen
    metadata, status = facts.raw["metadata"], facts.raw.get("status") or {}
    policy = None if service is None else scaling_policy(service.spec)
    return ServiceState(
        namespace=metadata["namespace"],
        name=metadata["name"],
        model=metadata["name"] if service is None else service.served_name,
        engine="" if service is None else str(service.spec.runtime.engine),
        mode=_mode(service, policy),
        emulated=_emulated(facts),
        replicas=_replicas(facts, policy),
        load=_load(seen, decision),
        capacity=_capacity(decision),
        needed_replicas=None if decision is None else decision.needed,
        predictions=_prospects(decision),
        objectives=() if service is None else _objectives(service, facts),
        signals=_signals(seen, facts.now),
        cost=None if service is None else _costs(service, facts.pods, seen),
        decision=_decision(decision, facts.decided_at),
        decisions=facts.changes,
        history=facts.history,
        conditions=tuple(
            ConditionReport(
                str(item.get("type", "")),
                str(item.get("status", "Unknown")),
                str(item.get("reason", "")),
                _UNSAID.get(str(item.get("reason", "")), str(item.get("message", ""))),
            )
            for item in status.get("conditions") or []
        ),
    )


def history_point(
    seen: Observation | None,
    decision: Decision | None,
    pods: Sequence[Manifest],
    latencies: tuple[Number, Number],
) -> tuple[Number, ...]:
    """What is remembered of a moment, without its time; see `ServiceState.history`."""
    draining = sum(_leaves(pod) for pod in pods)
    if seen is None or decision is None:
        ready = sum(worker_pods.is_ready(pod) for pod in worker_pods.live(pods))
        return (None, None, None, ready, draining, *latencies, None, None)
    per_replica = decision.capacity_tokens_per_second
    waiting = [_value(seen.waiting), _value(seen.held)]
    queue = sum(number for number in waiting if number is not None) if any(n is not None for n in waiting) else None
    serving = max(0, seen.ready - sum(_drains(pod) for pod in worker_pods.live(pods) if worker_pods.is_ready(pod)))
    capacity = None if per_replica is None else per_replica * serving
    load = (_offered_tokens(decision), capacity)
    return (*load, decision.replicas, seen.ready, draining, *latencies, queue, _value(seen.generated_tokens))


def error_budget_left(attainment: Number, percentile: float) -> Number:
    """Share of the error budget that is left over the window: 1 is all, 0 is none, below 0 the objective is missed."""
    allowed = 1.0 - percentile / 100
    if attainment is None or allowed <= 0:
        return None
    return 1.0 - (1.0 - attainment) / allowed


def _emulated(facts: Facts) -> str | None:
    """The profile that workers report; before they run, what their arguments ask for."""
    if facts.profile or facts.service is None:
        return facts.profile
    args = list(facts.service.spec.runtime.args)
    for number, arg in enumerate(args):
        flag, _, value = str(arg).partition("=")
        if flag == _EMULATE_FLAG:
            value = value or (str(args[number + 1]) if number + 1 < len(args) else "")
            return value.rsplit("/", 1)[-1].removesuffix(".json") or "unnamed"
    return None


def _mode(service: InferenceService | None, policy: Policy | None) -> str:
    if service is None:
        return ""
    return "Manual" if policy is None else str(policy.mode)


def _replicas(facts: Facts, policy: Policy | None) -> Replicas:
    live = worker_pods.live(facts.pods)
    ready = [pod for pod in live if worker_pods.is_ready(pod)]
    unschedulable = len(worker_pods.unschedulable(live))
    failing = sum(_fails(pod) for pod in live if not worker_pods.is_ready(pod))
    fixed = None if facts.service is None else facts.service.spec.replicas
    asked = None if facts.deployment is None else facts.deployment.get("spec", {}).get("replicas")
    status = facts.raw.get("status") or {}
    return Replicas(
        desired=facts.decision.replicas if facts.decision is not None else status.get("desiredReplicas", fixed),
        asked=asked,
        ready=len(ready),
        starting=len(live) - len(ready) - unschedulable - failing,
        draining=sum(_leaves(pod) for pod in facts.pods),
        unschedulable=unschedulable,
        min=fixed if policy is None else policy.min_replicas,
        max=fixed if policy is None else policy.max_replicas,
        serving=sum(not _drains(pod) for pod in ready),
        failing=failing,
    )


def _fails(pod: Manifest) -> bool:
    """Whether a pod that is not ready crashed, or waits for an image that cannot be pulled."""
    trouble = worker_pods.worst_trouble([pod])
    return trouble is not None and trouble.reason in _FAILING


def _drains(pod: Manifest) -> bool:
    return names.DRAINING in (pod["metadata"].get("annotations") or {})


def _leaves(pod: Manifest) -> bool:
    """Whether a pod is marked as draining or on its way out, and still there."""
    metadata = pod["metadata"]
    if pod.get("status", {}).get("phase") in ("Succeeded", "Failed"):
        return False
    return bool(metadata.get("deletionTimestamp")) or _drains(pod)


def _value(signal: Signal | None) -> Number:
    return signal.value if signal is not None and signal.fresh and math.isfinite(signal.value) else None


def _offered_tokens(decision: Decision) -> Number:
    """Demand; also where a decision did not need it, as while the capacity is not known."""
    if decision.demand_tokens_per_second is not None:
        return decision.demand_tokens_per_second
    if decision.requests_per_second == 0:
        return 0.0
    if decision.requests_per_second is None or decision.tokens_per_request is None:
        return None
    return decision.requests_per_second * decision.tokens_per_request


def _load(seen: Observation | None, decision: Decision | None) -> Load:
    if seen is None or decision is None:
        return Load()
    smoothed = decision.requests_per_second
    return Load(
        offered_requests_per_second=_value(seen.arrivals) if smoothed is None else smoothed,
        offered_tokens_per_second=_offered_tokens(decision),
        served_tokens_per_second=_value(seen.generated_tokens),
        tokens_per_request=decision.tokens_per_request,
        running=_value(seen.running),
        waiting=_value(seen.waiting),
        held=_value(seen.held),
        in_flight=_value(seen.in_flight),
        kv_use=_value(seen.kv_use),
    )


def _capacity(decision: Decision | None) -> Capacity:
    known = None if decision is None else decision.capacity_tokens_per_second
    if decision is None or known is None:
        return Capacity()
    return Capacity(known, decision.capacity_from)


def _prospects(decision: Decision | None) -> tuple[Prospect, ...]:
    if decision is None:
        return ()
    attainment = {item.replicas: item.attainment for item in decision.predictions}
    counts = [count for count in range(decision.replicas - 1, decision.replicas + 2) if count >= 0]
    return tuple(
        Prospect(
            count,
            None if decision.needed is None or not count else decision.needed / count,
            attainment.get(count),
        )
        for count in counts
    )


def _objectives(service: InferenceService, facts: Facts) -> tuple[ObjectiveState, ...]:
    sla = service.spec.sla
    if sla is None:
        return ()
    measured = {item.objective: item for item in facts.attainment or ()}
    shown = []
    for objective in objectives(service.spec):
        item = measured.get(objective)
        fraction = None if item is None else item.fraction
        shown.append(
            ObjectiveState(
                metric=objective.metric,
                percentile=f"{objective.percentile:g}",
                threshold_seconds=objective.threshold_seconds,
                window_seconds=sla.window_seconds,
                value_seconds=None if item is None else item.value_seconds,
                attainment=fraction,
                error_budget_left=error_budget_left(fraction, objective.percentile),
                why_unknown="" if fraction is not None else _why_unmeasured(facts, item),
            )
        )
    return tuple(shown)


def _why_unmeasured(facts: Facts, item: Attainment | None) -> str:
    if facts.source_error is not None:
        return f"not known: {facts.source_error}"
    return "not known: latencies are not measured yet" if item is None else "no request in the window"


def _signals(seen: Observation | None, now: float) -> tuple[SignalReport, ...]:
    if seen is None:
        return ()
    return tuple(
        SignalReport(
            name,
            str(signal.state),
            None if signal.observed_at is None else signal.value,
            None if signal.observed_at is None else max(0.0, now - signal.observed_at),
            signal.detail,
        )
        for name, signal in seen.signals().items()
    )


def _costs(service: InferenceService, pods: Sequence[Manifest], seen: Observation | None) -> Costs | None:
    price, cost = cost_per_replica_hour(service.spec), service.spec.cost
    if price is None or cost is None:
        return None
    per_hour = price * worker_pods.scheduled(pods)
    served = None if seen is None else _value(seen.generated_tokens)
    return Costs(per_hour, per_hour / (served * 3600) * 1e6 if served else None, cost.currency)


def _decision(decision: Decision | None, at: float | None) -> DecisionReport | None:
    if decision is None or at is None:
        return None
    return DecisionReport(
        at, decision.replicas, decision.act, str(decision.reason), str(decision.limited_by), decision.message
    )
