"""The autoscaler's part of `status`: desired replicas, the last decision, and the scaling conditions.

Live numbers are metrics; here stands only what changed last. A decision is written when the count, the limit or the
state of a signal changes, so constant load costs no write.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from penstock_operator.core.scaling.types import (
    Decision,
    LimitedBy,
    Mode,
    Observation,
    Policy,
    Reason,
    SignalState,
)
from penstock_operator.core.sla import Attainment
from penstock_operator.core.status import Verdict

Manifest = dict[str, Any]
_LIMIT_REASONS = {
    LimitedBy.MAX: "AtMaxReplicas",
    LimitedBy.BUDGET: "BudgetCap",
    LimitedBy.RATE: "RateLimited",
    LimitedBy.QUOTA: "Quota",
}


def rfc3339(seconds: float) -> str:
    """Unix seconds as the API server writes times."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def decision_status(decision: Decision, seen: Observation, previous: Manifest | None, *, now: float) -> Manifest:
    """`status.decision`: the previous one while count, limit and signal states stand, else a new one."""
    fresh: Manifest = {
        "decidedAt": rfc3339(now),
        "reason": str(decision.reason),
        "limitedBy": str(decision.limited_by),
        "predictions": [
            {"replicas": item.replicas, "attainment": f"{item.attainment:.3f}"} for item in decision.predictions
        ],
        "signals": [_signal(name, seen) for name in seen.signals()],
    }
    return previous if previous and _same(previous, fresh) else fresh


def _signal(name: str, seen: Observation) -> Manifest:
    signal = seen.signals()[name]
    entry: Manifest = {"name": name, "state": str(signal.state)}
    if signal.observed_at is not None:
        entry["observedAt"] = rfc3339(signal.observed_at)
    return entry


def _same(previous: Manifest, fresh: Manifest) -> bool:
    def states(decision: Manifest) -> dict[str, str]:
        return {item["name"]: item["state"] for item in decision.get("signals") or []}

    return previous.get("limitedBy") == fresh["limitedBy"] and states(previous) == states(fresh)


def verdicts(
    policy: Policy, decision: Decision, seen: Observation, attainment: Sequence[Attainment] | None
) -> list[Verdict]:
    """The three scaling conditions."""
    return [_sla_met(attainment), _scaling_active(policy, decision, seen), _scaling_limited(decision)]


def _scaling_active(policy: Policy, decision: Decision, seen: Observation) -> Verdict:
    kind = "ScalingActive"
    if policy.mode is Mode.PAUSED:
        return Verdict(kind, "False", "Paused", "spec.scaling.mode is Paused: replicas are held")
    if decision.reason is Reason.FOREIGN_SCALER:
        return Verdict(kind, "False", "ForeignScaler", decision.message)
    # A message stands as long as its reason, so it says what is true of the reason, whatever else is known.
    allowed = "no fewer replicas, and more only as far as the load is known"
    if seen.source_error is not None:
        return Verdict(kind, "False", "MetricsUnavailable", f"{allowed}: {seen.source_error}", follows=True)
    states = {signal.state for signal in seen.signals().values()}
    bad = {name: signal for name, signal in seen.signals().items() if not signal.fresh}
    text = ", ".join(f"{name} {signal.state.lower()}" for name, signal in bad.items())
    if SignalState.ABSENT in states:
        return Verdict(kind, "False", "SignalsAbsent", f"{allowed}: {text}")
    if states != {SignalState.FRESH}:
        return Verdict(kind, "False", "SignalsStale", f"{allowed}: {text}")
    if policy.mode is Mode.ADVISE:
        return Verdict(kind, "False", "Advise", "spec.scaling.mode is Advise: decisions are computed, not carried out")
    if seen.stand_in is not None:
        text = f"the workers are asked for their metrics themselves: {seen.stand_in}"
        return Verdict(kind, "True", "SignalsFromPods", text, follows=True)
    return Verdict(kind, "True", "SignalsFresh", "all signals are fresh")


def _scaling_limited(decision: Decision) -> Verdict:
    if decision.limited_by is LimitedBy.UNKNOWN:
        return Verdict("ScalingLimited", "Unknown", "SignalsUnknown", "what the load asks for is not known")
    reason = _LIMIT_REASONS.get(decision.limited_by)
    if reason is None:
        return Verdict(
            "ScalingLimited", "False", "WithinBounds", "no bound keeps the count from what the load asks for"
        )
    return Verdict("ScalingLimited", "True", reason, decision.message)


def _sla_met(attainment: Sequence[Attainment] | None) -> Verdict:
    kind = "SLAMet"
    if attainment is None:
        return Verdict(kind, "Unknown", "NotMeasured", "no latency series in Prometheus")
    if not attainment:
        return Verdict(kind, "Unknown", "NoObjectives", "spec.sla.objectives is empty")
    measured = [item for item in attainment if item.fraction is not None]
    if not measured:
        return Verdict(kind, "Unknown", "NoTraffic", "no request in the window")
    missed = [item for item in measured if not item.met]
    if missed:
        return Verdict(kind, "False", "ObjectivesMissed", "missed: " + ", ".join(item.label for item in missed))
    return Verdict(kind, "True", "ObjectivesMet", "all objectives are met over the window")


def manual_verdicts(attainment: Sequence[Attainment] | None) -> list[Verdict]:
    """The scaling conditions of a service with a fixed `spec.replicas`."""
    return [
        _sla_met(attainment),
        Verdict("ScalingActive", "False", "ManualReplicas", "spec.replicas is set: the count is not scaled"),
        Verdict("ScalingLimited", "False", "WithinBounds", "the count is fixed"),
    ]
