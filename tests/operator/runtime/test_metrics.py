from dataclasses import replace

import pytest
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from observations import observation
from penstock_contract.metrics import OPERATOR
from penstock_operator.core.scaling import Decision, Reason, Signal, SignalState
from penstock_operator.core.scaling.types import Prediction
from penstock_operator.runtime.metrics import Metrics

CHAT, OTHER = ("team-a", "chat"), ("team-a", "other")
DECISION = Decision(
    replicas=3,
    reason=Reason.STEADY,
    message="",
    demand_tokens_per_second=250.0,
    capacity_tokens_per_second=100.0,
    predictions=(Prediction(2, 0.9), Prediction(3, 0.99)),
)


def value(metrics: Metrics, name: str, key: tuple[str, str] = CHAT, **labels: str) -> float | None:
    labels |= {"namespace": key[0], "inferenceservice": key[1]}
    return metrics.registry.get_sample_value(f"penstock_operator_{name}", labels)


def series_of(metrics: Metrics, key: tuple[str, str]) -> list[str]:
    families = text_string_to_metric_families(generate_latest(metrics.registry).decode())
    return [
        item.name for family in families for item in family.samples if item.labels.get("inferenceservice") == key[1]
    ]


def test_every_family_of_the_contract_is_served() -> None:
    served = {
        (family.name, family.type, family.documentation)
        for family in text_string_to_metric_families(generate_latest(Metrics().registry).decode())
    }
    assert {(metric.name.removesuffix("_total"), metric.kind, metric.help) for metric in OPERATOR} <= served


def test_a_decision_and_its_inputs() -> None:
    metrics = Metrics()
    seen = replace(observation(replicas=3, ready=2), waiting=Signal(SignalState.STALE))
    metrics.decision(CHAT, DECISION, seen)
    assert value(metrics, "desired_replicas") == 3
    assert value(metrics, "ready_replicas") == 2
    assert value(metrics, "demand_tokens_per_second") == 250
    assert value(metrics, "capacity_tokens_per_second") == 200
    assert value(metrics, "predicted_attainment", replicas="3") == 0.99
    states = {state: value(metrics, "signal_state", signal="Waiting", state=state.value) for state in SignalState}
    assert [state for state, shown in states.items() if shown] == [SignalState.STALE]
    assert None not in states.values()


def test_a_signal_that_is_not_asked_for_at_zero_is_not_shown() -> None:
    """Or what was absent when the last worker went would be an alert for as long as the service is idle."""
    metrics = Metrics()
    metrics.decision(CHAT, DECISION, observation())
    assert value(metrics, "signal_state", signal="Waiting", state="Absent") is not None
    metrics.decision(CHAT, DECISION, observation(replicas=0, ready=0, held=Signal(SignalState.FRESH, 0.0)))
    for state in SignalState:
        assert value(metrics, "signal_state", signal="Waiting", state=state.value) is None
        assert value(metrics, "signal_state", signal="Arrivals", state=state.value) is not None


def test_what_is_not_known_any_more_is_not_shown() -> None:
    metrics = Metrics()
    metrics.decision(CHAT, DECISION, observation())
    unknown = replace(DECISION, demand_tokens_per_second=None, capacity_tokens_per_second=None)
    metrics.decision(CHAT, replace(unknown, predictions=(Prediction(4, 1.0),)), observation())
    assert value(metrics, "demand_tokens_per_second") is None
    assert value(metrics, "capacity_tokens_per_second") is None
    assert value(metrics, "predicted_attainment", replicas="2") is None
    assert value(metrics, "predicted_attainment", replicas="4") == 1.0
    metrics.show("cost_per_hour", 5.0, *CHAT)
    metrics.show("cost_per_hour", None, *CHAT)
    metrics.show("cost_per_hour", None, *CHAT)
    assert value(metrics, "cost_per_hour") is None


def test_a_service_with_a_fixed_count_shows_no_decision() -> None:
    metrics = Metrics()
    metrics.decision(CHAT, DECISION, observation())
    metrics.decision(OTHER, DECISION, observation())
    metrics.add("accelerator_seconds", 7, *CHAT)
    metrics.show("cost_per_million_tokens", 1.0, *CHAT)
    metrics.undecided(CHAT)
    metrics.undecided(CHAT)
    assert set(series_of(metrics, CHAT)) == {"penstock_operator_accelerator_seconds_total"} | {
        name for name in series_of(metrics, CHAT) if name.endswith("_created")
    }
    assert value(metrics, "desired_replicas", OTHER) == 3
    metrics.decision(CHAT, DECISION, observation())
    assert value(metrics, "desired_replicas") == 3


def test_nothing_is_left_of_a_service_that_is_gone() -> None:
    metrics = Metrics()
    for key in (CHAT, OTHER):
        metrics.decision(key, DECISION, observation())
        metrics.add("decisions", 1, *key, "Backlog")
        metrics.add("accelerator_seconds", 1, *key)
        metrics.set("cost_per_hour", 1, *key)
    before = series_of(metrics, OTHER)
    metrics.forget(CHAT)
    assert series_of(metrics, CHAT) == []
    assert series_of(metrics, OTHER) == before
    assert CHAT not in metrics._predicted


def test_counters_and_histograms_without_labels() -> None:
    metrics = Metrics()
    metrics.add("tick_overruns", 2)
    metrics.observe("tick_seconds", 0.5)
    assert metrics.registry.get_sample_value("penstock_operator_tick_overruns_total") == 2
    assert metrics.registry.get_sample_value("penstock_operator_tick_seconds_sum") == 0.5


@pytest.mark.parametrize("wrong", ["tick_overruns", "no_such"])
def test_a_misspelt_name_fails(wrong: str) -> None:
    with pytest.raises(KeyError):
        Metrics().set(wrong, 1.0)
