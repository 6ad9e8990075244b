"""What is shown of a service: nothing invented, nothing that is no number."""

import json
import math
from dataclasses import replace
from typing import Any

import pytest

from observations import NOW, observation
from penstock_operator.api import InferenceService
from penstock_operator.core.scaling import Decision, Reason, Signal, SignalState
from penstock_operator.core.scaling.types import Prediction
from penstock_operator.core.sla import Attainment, Objective
from penstock_operator.core.state import Change, Facts, State, history_point, service_state
from penstock_operator.core.state.build import error_budget_left
from penstock_operator.core.state.types import Load, MetricsSourceState

STEADY = Decision(
    3,
    Reason.STEADY,
    "as it was",
    needed=2.5,
    demand_tokens_per_second=500.0,
    capacity_tokens_per_second=200.0,
    requests_per_second=5.0,
    tokens_per_request=100.0,
    predictions=(Prediction(3, 0.99),),
)


def raw(**spec: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "model": {"source": {"containerPath": "/models/m"}},
        "scaling": {"minReplicas": 1, "maxReplicas": 6, "targets": {"tokensPerSecond": 200}},
        "sla": {"objectives": [{"metric": "TTFT", "percentile": "99.9", "thresholdMilliseconds": 2000}]},
        "cost": {"perAcceleratorHour": "2.50"},
    }
    return {
        "metadata": {"name": "chat", "namespace": "demo"},
        "spec": {key: value for key, value in (base | spec).items() if value is not None},
        "status": {"desiredReplicas": 2, "conditions": [{"type": "Ready", "status": "True", "reason": "Ready"}]},
    }


def facts(manifest: dict[str, Any] | None = None, **changes: Any) -> Facts:
    manifest = manifest or raw()
    base: dict[str, Any] = {
        "raw": manifest,
        "service": InferenceService.parse(manifest),
        "deployment": {"spec": {"replicas": 3}},
        "pods": [pod("a"), pod("b", draining=True), pod("c", ready=False), pod("d", scheduled=False)],
        "now": NOW + 4,
        "seen": observation(replicas=3, ready=2, arrivals=5.0, waiting=4.0),
        "decision": STEADY,
        "decided_at": NOW,
    }
    return Facts(**(base | changes))


def pod(name: str, *, ready: bool = True, scheduled: bool = True, draining: bool = False) -> dict[str, Any]:
    notes = {"inference.penstock.dev/draining": "2026-11-21T10:00:00Z"} if draining else {}
    waiting = {"reason": "Unschedulable"} if not scheduled else {}
    conditions = [
        {"type": "PodScheduled", "status": str(scheduled)} | waiting,
        {"type": "Ready", "status": str(ready and scheduled)},
    ]
    return {"metadata": {"name": name, "annotations": notes}, "status": {"phase": "Running", "conditions": conditions}}


def test_counts_come_from_decision_deployment_and_pods() -> None:
    shown = service_state(facts()).replicas
    assert (shown.desired, shown.asked, shown.min, shown.max) == (3, 3, 1, 6)
    assert (shown.ready, shown.starting, shown.draining, shown.unschedulable) == (2, 1, 1, 1)
    assert (shown.serving, shown.failing) == (1, 0)


@pytest.mark.parametrize(
    "state",
    [
        {"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": {"exitCode": 1}}},
        {"state": {"waiting": {"reason": "ImagePullBackOff"}}},
    ],
)
def test_a_pod_that_fails_is_not_told_as_starting(state: dict[str, Any]) -> None:
    failing = pod("a", ready=False)
    failing["status"]["containerStatuses"] = [state]
    shown = service_state(facts(pods=[failing, pod("b", ready=False)])).replicas
    assert (shown.ready, shown.starting, shown.failing) == (0, 1, 1)


def test_what_a_crashed_worker_printed_stays_in_the_resource() -> None:
    manifest = raw()
    manifest["status"]["conditions"] = [
        {"type": "Ready", "status": "False", "reason": "WorkerCrashed", "message": "exited with code 1: secret"},
        {"type": "Accepted", "status": "True", "reason": "Valid", "message": "the spec is valid"},
    ]
    shown = service_state(facts(manifest)).conditions
    assert [one.reason for one in shown] == ["WorkerCrashed", "Valid"]
    assert "secret" not in shown[0].message
    assert shown[1].message == "the spec is valid"


def test_pods_on_their_way_out_drain_and_ended_ones_are_gone() -> None:
    leaving, ended = pod("x"), pod("y")
    leaving["metadata"]["deletionTimestamp"] = "2026-11-21T10:00:00Z"
    ended["metadata"]["deletionTimestamp"] = "2026-11-21T10:00:00Z"
    ended["status"]["phase"] = "Succeeded"
    assert service_state(facts(pods=[leaving, ended])).replicas.draining == 1


def test_prospects_are_one_less_as_decided_and_one_more() -> None:
    shown = service_state(facts()).predictions
    assert [(one.replicas, one.utilisation, one.attainment) for one in shown] == [
        (2, 1.25, None),
        (3, pytest.approx(2.5 / 3), 0.99),
        (4, 0.625, None),
    ]
    zero = Decision(0, Reason.IDLE, "", needed=0.0)
    assert [(one.replicas, one.utilisation) for one in service_state(facts(decision=zero)).predictions] == [
        (0, None),
        (1, 0.0),
    ]


@pytest.mark.parametrize(
    ("attainment", "percentile", "left"),
    [(1.0, 99.0, 1.0), (0.99, 99.0, 0.0), (0.98, 99.0, -1.0), (None, 99.0, None), (1.0, 100.0, None)],
)
def test_error_budget(attainment: float | None, percentile: float, left: float | None) -> None:
    assert error_budget_left(attainment, percentile) == (None if left is None else pytest.approx(left))


def test_objectives_are_shown_measured_or_not() -> None:
    objective = Objective("TTFT", 99.9, 2.0)
    measured = service_state(facts(attainment=[Attainment(objective, 0.9995, 1.5)])).objectives[0]
    assert (measured.percentile, measured.value_seconds, measured.window_seconds) == ("99.9", 1.5, 3600)
    assert measured.error_budget_left == pytest.approx(0.5)
    assert measured.why_unknown == ""
    assert service_state(facts()).objectives[0].attainment is None
    assert "not measured yet" in service_state(facts()).objectives[0].why_unknown
    quiet = service_state(facts(attainment=[Attainment(objective, None)])).objectives[0]
    assert quiet.why_unknown == "no request in the window"
    away = service_state(facts(source_error="Prometheus cannot be reached")).objectives[0]
    assert away.why_unknown == "not known: Prometheus cannot be reached"
    assert service_state(facts(raw(sla=None))).objectives == ()


def test_load_shows_fresh_signals_only() -> None:
    stale = Signal(SignalState.STALE, 7.0, NOW - 60, detail="old")
    shown = service_state(facts(seen=observation(replicas=3, running=2.0, waiting=0.0, generated_tokens=stale)))
    assert shown.load.served_tokens_per_second is None
    assert (shown.load.offered_tokens_per_second, shown.load.held, shown.load.running) == (500.0, None, 2.0)
    report = next(one for one in shown.signals if one.name == "GeneratedTokens")
    assert (report.state, report.value, report.age_seconds, report.detail) == ("Stale", 7.0, 64.0, "old")


@pytest.mark.parametrize(
    ("rate", "length", "offered"), [(2.0, 50.0, 100.0), (0.0, None, 0.0), (2.0, None, None), (None, 50.0, None)]
)
def test_offered_tokens_are_known_before_the_capacity_is(
    rate: float | None, length: float | None, offered: float | None
) -> None:
    decision = Decision(1, Reason.STEADY, "", requests_per_second=rate, tokens_per_request=length)
    shown = service_state(facts(decision=decision))
    assert shown.load.offered_tokens_per_second == offered
    assert (shown.capacity.tokens_per_second_per_replica, shown.capacity.source) == (None, "Unknown")


def test_capacity_says_how_it_is_known() -> None:
    decision = Decision(1, Reason.STEADY, "", capacity_tokens_per_second=80.0, capacity_from="StepModel")
    assert service_state(facts(decision=decision)).capacity.source == "StepModel"


def test_a_fixed_count_has_no_decision() -> None:
    shown = service_state(facts(raw(scaling=None, replicas=3), seen=None, decision=None, decided_at=None))
    assert (shown.mode, shown.replicas.min, shown.replicas.max, shown.replicas.desired) == ("Manual", 3, 3, 2)
    assert (shown.decision, shown.load, shown.signals, shown.predictions) == (None, Load(), (), ())


def test_a_resource_that_cannot_be_read_is_shown_all_the_same() -> None:
    shown = service_state(Facts(raw={"metadata": raw()["metadata"]}, service=None, deployment=None, pods=(), now=NOW))
    assert (shown.name, shown.model, shown.engine, shown.cost, shown.objectives) == ("chat", "chat", "", None, ())
    assert (shown.replicas.desired, shown.replicas.asked, shown.replicas.ready) == (None, None, 0)
    assert shown.mode == "", "not known, so not Manual"


@pytest.mark.parametrize(
    ("args", "name"),
    [
        ([], None),
        (["--max-num-seqs=4"], None),
        (["--emulate-device=/models/h200.json"], "h200"),
        (["--emulate-device", "h100"], "h100"),
        (["--emulate-device"], "unnamed"),
    ],
)
def test_emulation_is_told_before_any_worker_runs(args: list[str], name: str | None) -> None:
    manifest = raw(runtime={"args": args} if args else {})
    assert service_state(facts(manifest)).emulated == name
    assert service_state(facts(manifest, profile="as the worker says")).emulated == "as the worker says"


def test_costs() -> None:
    shown = service_state(facts(seen=observation(replicas=3, served=1.0))).cost
    assert shown is not None
    assert (shown.per_hour, shown.currency) == (7.5, "USD")
    assert shown.per_million_tokens == pytest.approx(7.5 / (100 * 3600) * 1e6)
    assert service_state(facts(raw(cost=None))).cost is None


def test_history_of_a_decided_and_of_a_fixed_count() -> None:
    seen = observation(replicas=3, ready=2, waiting=4.0, served=3.0, held=Signal(SignalState.FRESH, 2.0, NOW))
    point = history_point(seen, STEADY, [pod("a", draining=True)], (0.2, None))
    assert point == (500.0, 200.0, 3, 2, 1, 0.2, None, 6.0, 300.0), "what drains is no capacity"
    assert history_point(None, None, [pod("a")], (None, None)) == (*[None] * 3, 1, 0, *[None] * 4)
    lost = Signal(SignalState.ABSENT)
    blind = observation(replicas=1, generated_tokens=lost)
    unknown = history_point(replace(blind, waiting=lost), Decision(1, Reason.STEADY, ""), [], (None, None))
    assert unknown == (None, None, 1, 1, 0, None, None, None, None)


def test_json_holds_no_nan_and_its_own_names() -> None:
    change = Change(NOW, 1, 3, "OfferedLoad", "more")
    history = ((NOW, math.nan, math.inf, 1.23456789, *[None] * 6),)
    service = service_state(facts(changes=(change,), history=history))
    state = State("0.1.0", NOW + 0.12345, 5.0, MetricsSourceState(True, ""), (service,)).to_json()
    text = json.dumps(state, allow_nan=False)
    shown = json.loads(text)["services"][0]
    assert shown["decisions"] == [
        {"at": NOW, "from": 1, "to": 3, "reason": "OfferedLoad", "message": "more", "act": True}
    ]
    assert shown["history"] == [[NOW, None, None, 1.23457, *[None] * 6]]
    assert json.loads(text)["at"] == NOW + 0.123
