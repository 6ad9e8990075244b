"""The operator's own metrics, declared from the contract's table."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

from penstock_contract.metrics import OPERATOR, Metric
from penstock_operator.core.scaling.types import Decision, Observation, SignalState

_PREFIX = "penstock_operator_"


class Metrics:
    """All metric families of the operator, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._families = {metric.name: _family(metric, self.registry) for metric in OPERATOR}

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

    def decision(self, key: tuple[str, str], decision: Decision, seen: Observation) -> None:
        """Show one decision and its inputs."""
        self.set("desired_replicas", decision.replicas, *key)
        self.set("ready_replicas", seen.ready, *key)
        if decision.demand_tokens_per_second is not None:
            self.set("demand_tokens_per_second", decision.demand_tokens_per_second, *key)
        if decision.capacity_tokens_per_second is not None:
            self.set("capacity_tokens_per_second", decision.capacity_tokens_per_second * seen.ready, *key)
        for prediction in decision.predictions:
            self.set("predicted_attainment", prediction.attainment, *key, str(prediction.replicas))
        for name, signal in seen.signals().items():
            for state in SignalState:
                self.set("signal_state", float(signal.state is state), *key, name, state.value)

    def forget(self, key: tuple[str, str]) -> None:
        """Drop all series of a service that is gone."""
        for family in self._families.values():
            if family._labelnames[:2] == ("namespace", "inferenceservice"):  # noqa: SLF001 - no public accessor
                family.remove_by_labels({"namespace": key[0], "inferenceservice": key[1]})


def _family(metric: Metric, registry: CollectorRegistry) -> MetricWrapperBase:
    if metric.kind == "counter":
        return Counter(metric.name.removesuffix("_total"), metric.help, metric.labels, registry=registry)
    if metric.kind == "gauge":
        return Gauge(metric.name, metric.help, metric.labels, registry=registry)
    return Histogram(metric.name, metric.help, metric.labels, registry=registry)
