"""The operator's own metrics, declared from the contract's table.

What is shown of a service is remembered, because finding a series by its labels costs far more than comparing: at
thousands of services that are at rest it would be most of a tick.
"""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

from penstock_contract.metrics import OPERATOR, Metric
from penstock_operator.core.scaling.types import Decision, Observation, SignalState

Key = tuple[str, str]
_PREFIX = "penstock_operator_"
_OF_DECISIONS = (
    "desired_replicas",
    "ready_replicas",
    "capacity_tokens_per_second",
    "demand_tokens_per_second",
    "predicted_attainment",
    "cost_per_million_tokens",
    "signal_state",
)


class Metrics:
    """All metric families of the operator, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._families = {metric.name: _family(metric, self.registry) for metric in OPERATOR}
        self._predicted: dict[Key, frozenset[str]] = {}  # counts shown, by service that was ever decided
        self._decided: dict[Key, tuple[object, Mapping[str, SignalState]]] = {}
        self._costs: dict[Key, tuple[float | None, float | None]] = {}

    def set(self, name: str, value: float, *labels: str) -> None:
        """Set a gauge."""
        family = self._families[_PREFIX + name]
        assert isinstance(family, Gauge)
        (family.labels(*labels) if labels else family).set(value)

    def add(self, name: str, value: float, *labels: str) -> None:
        """Add to a counter."""
        family = self._families[f"{_PREFIX}{name}_total"]
        assert isinstance(family, Counter)
        (family.labels(*labels) if labels else family).inc(value)

    def observe(self, name: str, seconds: float) -> None:
        """Observe a duration in a histogram."""
        family = self._families[_PREFIX + name]
        assert isinstance(family, Histogram)
        family.observe(seconds)

    def show(self, name: str, value: float | None, *labels: str) -> None:
        """Set a gauge, or drop its series when the value is not known: an old one would pass for the present."""
        if value is None:
            self._families[_PREFIX + name].remove(*labels)
        else:
            self.set(name, value, *labels)

    def decision(self, key: Key, decision: Decision, seen: Observation) -> None:
        """Show one decision and its inputs."""
        capacity = decision.capacity_tokens_per_second
        numbers = (decision.replicas, seen.ready, decision.demand_tokens_per_second, capacity, decision.predictions)
        states = {name: signal.state for name, signal in seen.signals().items()}
        shown, self._decided[key] = self._decided.get(key, (None, {})), (numbers, states)
        if numbers != shown[0]:
            self._numbers(key, decision, seen)
        if states != shown[1]:
            self._unasked(key, shown[1], states)
            for name, current in states.items():
                for state in SignalState:
                    self.set("signal_state", float(current is state), *key, name, state.value)

    def account(
        self,
        key: Key,
        *,
        accelerator_seconds: float,
        cost_per_hour: float | None,
        cost_per_million_tokens: float | None,
    ) -> None:
        """Add accelerator-seconds held since the last call, and show what they cost; None is not known."""
        costs = (cost_per_hour, cost_per_million_tokens)
        if accelerator_seconds or key not in self._costs:
            self.add("accelerator_seconds", accelerator_seconds, *key)
        if costs != self._costs.get(key):
            self._costs[key] = costs
            self.show("cost_per_hour", cost_per_hour, *key)
            self.show("cost_per_million_tokens", cost_per_million_tokens, *key)

    def undecided(self, key: Key) -> None:
        """Drop what is known of autoscaled services only, when a service is not autoscaled any more."""
        if self._predicted.pop(key, None) is not None:
            self._decided.pop(key, None)
            self._costs.pop(key, None)
            for name in _OF_DECISIONS:
                self._drop(self._families[_PREFIX + name], key)

    def forget(self, key: Key) -> None:
        """Drop all series of a service that is gone."""
        for known in (self._predicted, self._decided, self._costs):
            known.pop(key, None)
        for family in self._families.values():
            if family._labelnames[:2] == ("namespace", "inferenceservice"):  # noqa: SLF001 - no public accessor
                self._drop(family, key)

    def _unasked(self, key: Key, before: Mapping[str, SignalState], now: Mapping[str, SignalState]) -> None:
        """Drop signals that count no more: at zero replicas a worker's last state would stand, and alert, for ever."""
        for name in before.keys() - now.keys():
            for state in SignalState:
                self.show("signal_state", None, *key, name, state.value)

    def _numbers(self, key: Key, decision: Decision, seen: Observation) -> None:
        capacity = decision.capacity_tokens_per_second
        self.set("desired_replicas", decision.replicas, *key)
        self.set("ready_replicas", seen.ready, *key)
        self.show("demand_tokens_per_second", decision.demand_tokens_per_second, *key)
        self.show("capacity_tokens_per_second", None if capacity is None else capacity * seen.ready, *key)
        predicted = {str(prediction.replicas): prediction.attainment for prediction in decision.predictions}
        for replicas in self._predicted.get(key, frozenset()) - predicted.keys():
            self.show("predicted_attainment", None, *key, replicas)
        for replicas, attainment in predicted.items():
            self.set("predicted_attainment", attainment, *key, replicas)
        self._predicted[key] = frozenset(predicted)

    @staticmethod
    def _drop(family: MetricWrapperBase, key: Key) -> None:
        family.remove_by_labels({"namespace": key[0], "inferenceservice": key[1]})


def _family(metric: Metric, registry: CollectorRegistry) -> MetricWrapperBase:
    if metric.kind == "counter":
        return Counter(metric.name.removesuffix("_total"), metric.help, metric.labels, registry=registry)
    if metric.kind == "gauge":
        return Gauge(metric.name, metric.help, metric.labels, registry=registry)
    return Histogram(metric.name, metric.help, metric.labels, registry=registry)
