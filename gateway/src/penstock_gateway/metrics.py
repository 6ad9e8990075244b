"""The gateway's metrics in Prometheus' text format, declared by the contract's table.

Nothing is kept here: a scrape copies the totals of the services. Every series of a service exists from the moment
the service is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from penstock_contract.metrics import GATEWAY, LATENCY_BUCKETS, Metric
from penstock_gateway.directory import Service
from penstock_gateway.stats import Histogram

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
_PREFIX: Final = "penstock_gateway_"
Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily
Sample = tuple[tuple[str, ...], float | Histogram]


def render(services: Iterable[Service]) -> bytes:
    """The exposition of one scrape."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Scrape(list(services)))
    return generate_latest(registry)


class _Scrape(Collector):
    def __init__(self, services: list[Service]) -> None:
        self._services = services

    def collect(self) -> Iterable[Family]:
        """All families of the contract, in its order."""
        for metric in GATEWAY:
            name = metric.name.removeprefix(_PREFIX)
            yield _family(metric, (sample for service in self._services for sample in _samples(service, name)))


def _samples(service: Service, name: str) -> Iterator[Sample]:
    """Samples of one family of one service; labels after namespace and service are appended."""
    stats, pool = service.stats, service.pool
    if name == "requests_failed_total":
        yield from (((*service.key, reason), count) for reason, count in stats.failed.items())
    elif name == "objective_total":
        for key, (met, missed) in stats.objectives.items():
            yield (*service.key, *key, "met"), met
            yield (*service.key, *key, "missed"), missed
    else:
        values: dict[str, float | Histogram] = {
            "requests_arrived_total": stats.arrived,
            "prompt_tokens_total": stats.prompt_tokens,
            "requests_held": pool.held,
            "oldest_held_seconds": pool.oldest_held_seconds,
            "requests_in_flight": stats.in_flight,
            "time_to_first_token_seconds": stats.ttft,
            "time_per_output_token_seconds": stats.tpot,
            "queue_wait_seconds": stats.queue_wait,
            "e2e_seconds": stats.e2e,
        }
        yield service.key, values[name]


def _family(metric: Metric, samples: Iterable[Sample]) -> Family:
    if metric.kind == "histogram":
        histograms = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
        for labels, value in samples:
            assert isinstance(value, Histogram)
            histograms.add_metric(labels, _buckets(value), value.total)
        return histograms
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = kind(metric.name.removesuffix("_total"), metric.help, labels=metric.labels)
    for labels, value in samples:
        assert not isinstance(value, Histogram)
        family.add_metric(labels, float(value))
    return family


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    """Cumulative counts by upper bound."""
    cumulative = 0.0
    buckets = []
    for bound, count in zip((*LATENCY_BUCKETS, float("inf")), histogram.counts, strict=True):
        cumulative += count
        buckets.append(("+Inf" if bound == float("inf") else str(bound), cumulative))
    return buckets
