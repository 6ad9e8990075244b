"""The autoscaler's part of the status."""

from dataclasses import replace
from typing import Any

import pytest

from observations import NOW, fresh, observation
from penstock_operator.api import REASONS, InferenceServiceStatus
from penstock_operator.core.scaling import Decision, LimitedBy, Observation, Policy, Reason, Signal, SignalState
from penstock_operator.core.scaling.types import Mode, Prediction
from penstock_operator.core.scalingstatus import decision_status, manual_verdicts, rfc3339, verdicts
from penstock_operator.core.sla import Attainment, Objective

POLICY = Policy(min_replicas=1, max_replicas=9)
DECISION = Decision(replicas=2, reason=Reason.STEADY, message="2 are enough")
OBJECTIVE = Objective("TTFT", 99.0, 2.0)
KNOWN = {str(kind): {str(reason) for reason in reasons} for kind, reasons in REASONS.items()}


def test_times_are_those_of_the_api_server() -> None:
    assert rfc3339(0.999) == "1970-01-01T00:00:00Z"
    assert rfc3339(1_800_000_000) == "2027-01-15T08:00:00Z"


def test_a_decision_is_what_the_resource_admits() -> None:
    seen = replace(observation(), arrivals=Signal(SignalState.ABSENT))
    decision = replace(DECISION, predictions=(Prediction(2, 0.98765), Prediction(3, 1.0)))
    status = decision_status(decision, seen, None, now=NOW)
    parsed = InferenceServiceStatus.model_validate({"decision": status}).decision
    assert parsed is not None
    assert [item.attainment for item in parsed.predictions] == ["0.988", "1.000"]
    assert {item.name: item.state for item in parsed.signals}["Arrivals"] == "Absent"
    assert "observedAt" not in status["signals"][0]
    assert status["signals"][1]["observedAt"] == rfc3339(NOW)


LATER = 3600.0
QUIET = {
    "nothing": (DECISION, observation()),
    "load": (DECISION, observation(arrivals=50, running=9)),
    "message": (replace(DECISION, message="2.2 are enough"), observation()),
    "reason": (replace(DECISION, reason=Reason.STABILIZING), observation()),
    "age": (DECISION, replace(observation(), arrivals=Signal(SignalState.FRESH, 1.0, NOW + LATER))),
    "prediction": (replace(DECISION, predictions=(Prediction(2, 0.9),)), observation()),
}
LOUD = {
    "limit": (replace(DECISION, limited_by=LimitedBy.MAX), observation()),
    "signal": (DECISION, replace(observation(), waiting=Signal(SignalState.STALE, 1.0, NOW))),
}


@pytest.mark.parametrize("change", QUIET | LOUD)
def test_only_a_change_of_limit_or_signal_is_a_new_decision(change: str) -> None:
    first = decision_status(DECISION, observation(), None, now=NOW)
    decision, seen = (QUIET | LOUD)[change]
    second = decision_status(decision, seen, first, now=NOW + LATER)
    if change in QUIET:
        assert second is first
    else:
        assert second["decidedAt"] == rfc3339(NOW + LATER)


def test_another_count_is_a_new_decision() -> None:
    """The caller passes no previous decision when the count differs."""
    assert decision_status(DECISION, observation(), None, now=NOW)["decidedAt"] == rfc3339(NOW)
    assert decision_status(DECISION, observation(), {}, now=NOW)["decidedAt"] == rfc3339(NOW)


def test_a_decision_of_an_older_operator_is_replaced() -> None:
    assert decision_status(DECISION, observation(), {"decidedAt": "2020-01-01T00:00:00Z"}, now=NOW)["signals"]


def signal(name: str, state: SignalState) -> Observation:
    return replace(observation(), **{name: Signal(state)})


PAUSED, ADVISE = (replace(POLICY, mode=mode) for mode in (Mode.PAUSED, Mode.ADVISE))
FOREIGN = Decision(2, Reason.FOREIGN_SCALER, "hpa scales this Deployment; remove it")
ACTIVE: dict[str, tuple[Policy, Decision, Observation, tuple[str, str, str]]] = {
    "fresh": (POLICY, DECISION, observation(), ("True", "SignalsFresh", "fresh")),
    "paused": (PAUSED, DECISION, observation(), ("False", "Paused", "spec.scaling.mode is Paused")),
    "advise": (ADVISE, DECISION, observation(), ("False", "Advise", "spec.scaling.mode is Advise")),
    "foreign": (POLICY, FOREIGN, observation(), ("False", "ForeignScaler", "remove it")),
    "no source": (
        POLICY,
        DECISION,
        replace(observation(), source_error="down"),
        ("False", "MetricsUnavailable", "no fewer replicas, and more only as far as the load is known: down"),
    ),
    "the pods stand in": (
        POLICY,
        DECISION,
        replace(observation(), stand_in="down"),
        ("True", "SignalsFromPods", "the workers are asked for their metrics themselves: down"),
    ),
    "advise while the pods stand in": (
        ADVISE,
        DECISION,
        replace(observation(), stand_in="down"),
        ("False", "Advise", "computed, not carried out"),
    ),
    "the pods stand in and one is silent": (
        POLICY,
        DECISION,
        replace(signal("waiting", SignalState.ABSENT), stand_in="down"),
        ("False", "SignalsAbsent", "Waiting absent"),
    ),
    "absent": (
        POLICY,
        DECISION,
        signal("arrivals", SignalState.ABSENT),
        ("False", "SignalsAbsent", "Arrivals absent"),
    ),
    "stale": (POLICY, DECISION, signal("running", SignalState.STALE), ("False", "SignalsStale", "Running stale")),
    "contradictory": (
        POLICY,
        DECISION,
        signal("waiting", SignalState.CONTRADICTORY),
        ("False", "SignalsStale", "Waiting contradictory"),
    ),
    "advise and stale": (
        ADVISE,
        DECISION,
        signal("waiting", SignalState.STALE),
        ("False", "SignalsStale", "Waiting stale"),
    ),
}


@pytest.mark.parametrize("case", ACTIVE)
def test_scaling_active(case: str) -> None:
    policy, decision, seen, (status, reason, text) = ACTIVE[case]
    found = {item.type: item for item in verdicts(policy, decision, seen, [])}["ScalingActive"]
    assert (found.status, found.reason) == (status, reason)
    assert text in found.message
    assert found.reason in KNOWN["ScalingActive"]


LIMITS = {
    LimitedBy.NONE: ("False", "WithinBounds"),
    LimitedBy.UNKNOWN: ("Unknown", "SignalsUnknown"),
    LimitedBy.MAX: ("True", "AtMaxReplicas"),
    LimitedBy.BUDGET: ("True", "BudgetCap"),
    LimitedBy.RATE: ("True", "RateLimited"),
    LimitedBy.QUOTA: ("True", "Quota"),
}


@pytest.mark.parametrize("limit", LimitedBy)
def test_scaling_limited(limit: LimitedBy) -> None:
    found = verdicts(POLICY, replace(DECISION, limited_by=limit), observation(), [])[-1]
    assert (found.type, found.status, found.reason) == ("ScalingLimited", *LIMITS[limit])
    assert found.reason in KNOWN["ScalingLimited"]


@pytest.mark.parametrize(
    ("attainment", "status", "reason", "text"),
    [
        (None, "Unknown", "NotMeasured", ""),
        ([], "Unknown", "NoObjectives", ""),
        ([Attainment(OBJECTIVE, None)], "Unknown", "NoTraffic", ""),
        ([Attainment(OBJECTIVE, 0.99)], "True", "ObjectivesMet", ""),
        ([Attainment(OBJECTIVE, 0.98)], "False", "ObjectivesMissed", "TTFT p99 <= 2000 ms"),
        ([Attainment(OBJECTIVE, 0.99), Attainment(OBJECTIVE, None)], "True", "ObjectivesMet", ""),
        ([Attainment(OBJECTIVE, None), Attainment(OBJECTIVE, 0.5)], "False", "ObjectivesMissed", "TTFT"),
    ],
    ids=["unavailable", "no objectives", "no traffic", "met", "missed", "one measured", "one missed"],
)
def test_sla_met(attainment: Any, status: str, reason: str, text: str) -> None:
    for found in (verdicts(POLICY, DECISION, observation(), attainment)[0], manual_verdicts(attainment)[0]):
        assert (found.type, found.status, found.reason) == ("SLAMet", status, reason)
        assert text in found.message
        assert found.reason in KNOWN["SLAMet"]


def test_a_fixed_count_says_so() -> None:
    found = {item.type: (item.status, item.reason) for item in manual_verdicts(None)}
    assert found["ScalingActive"] == ("False", "ManualReplicas")
    assert found["ScalingLimited"] == ("False", "WithinBounds")
    assert len(verdicts(POLICY, DECISION, observation(), None)) == len(found) == 3


def test_the_signals_of_the_status_are_those_of_the_decision() -> None:
    seen = replace(observation(), reporting=fresh(1))
    assert {item["name"] for item in decision_status(DECISION, seen, None, now=NOW)["signals"]} == set(seen.signals())
