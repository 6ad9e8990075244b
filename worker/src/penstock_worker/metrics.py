"""The worker's metrics in Prometheus' text format, declared by the contract's tables.

Nothing is kept here: a scrape copies the engine's totals under their lock and writes them out, so that a step costs
nothing for it. Every series exists from the first scrape on, while loading too.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from penstock_contract.metrics import LATENCY_BUCKETS, VLLM, WORKER, Metric
from penstock_worker.accounting import Histogram, Totals
from penstock_worker.replica import Replica

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily
Samples = Mapping[tuple[str, ...], float | Histogram]


def render(replica: Replica) -> bytes:
    """The exposition of one scrape."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Scrape(replica))
    return generate_latest(registry)


class _Scrape(Collector):
    def __init__(self, replica: Replica) -> None:
        self._replica = replica

    def collect(self) -> Iterable[Family]:
        """All families of the contract, in its order."""
        accounting = self._replica.accounting
        with accounting.lock:
            totals = copy.deepcopy(accounting.totals)
            gauges = _gauges(self._replica)
        samples = _worker(totals, gauges, self._replica) | _vllm(totals, gauges, self._replica.model_name)
        for metric in (*WORKER, *VLLM):
            yield _family(metric, samples[metric.name])


def _gauges(replica: Replica) -> dict[str, float]:
    pool = replica.scheduler.pool if replica.scheduler else None
    return {
        "requests_running": replica.running,
        "requests_waiting": replica.waiting,
        "kv_tokens_used": pool.used * pool.page_size if pool else 0,
        "kv_tokens_capacity": pool.pages * pool.page_size if pool else 0,
        "draining": replica.lifecycle.draining,
        "model_load_seconds": replica.lifecycle.load_seconds,
        "ready_timestamp_seconds": replica.lifecycle.ready_timestamp,
    }


def _worker(totals: Totals, gauges: dict[str, float], replica: Replica) -> dict[str, Samples]:
    plain: dict[str, float | Histogram] = {
        **gauges,
        "engine_steps_total": totals.steps,
        "engine_step_seconds_total": totals.step_seconds,
        "decode_sequence_steps_total": totals.decode_sequence_steps,
        "kv_token_steps_total": totals.kv_token_steps,
        "prefill_tokens_computed_total": totals.prefill_computed,
        "prefill_token_length_total": totals.prefill_token_length,
        "prompt_tokens_total": totals.prompt,
        "prompt_tokens_cached_total": totals.cached,
        "recomputed_tokens_total": totals.recomputed,
        "generated_tokens_total": totals.generated,
        "requests_arrived_total": totals.arrived,
        "preemptions_total": totals.preemptions,
        "emulated_step_overruns_total": totals.overruns,
        "queue_wait_seconds": totals.queue_wait,
        "time_to_first_token_seconds": totals.first_token,
        "time_per_output_token_seconds": totals.per_output_token,
        "inter_token_latency_seconds": totals.inter_token,
        "e2e_seconds": totals.end_to_end,
    }
    profile = replica.profile
    samples: dict[str, Samples] = {f"penstock_worker_{name}": {(): value} for name, value in plain.items()}
    samples["penstock_worker_requests_finished_total"] = {(reason,): count for reason, count in totals.finished.items()}
    samples["penstock_worker_emulated_info"] = {(profile.name if profile else "",): float(profile is not None)}
    return samples


def _vllm(totals: Totals, gauges: dict[str, float], model_name: str) -> dict[str, Samples]:
    capacity = gauges["kv_tokens_capacity"]
    plain: dict[str, float | Histogram] = {
        "num_requests_running": gauges["requests_running"],
        "num_requests_waiting": gauges["requests_waiting"],
        "kv_cache_usage_perc": gauges["kv_tokens_used"] / capacity if capacity else 0.0,
        "num_preemptions_total": totals.preemptions,
        "prompt_tokens_total": totals.prompt,
        "generation_tokens_total": totals.generated,
        "time_to_first_token_seconds": totals.first_token,
        "inter_token_latency_seconds": totals.inter_token,
        "request_time_per_output_token_seconds": totals.per_output_token,
        "request_queue_time_seconds": totals.queue_wait,
        "e2e_request_latency_seconds": totals.end_to_end,
    }
    samples: dict[str, Samples] = {f"vllm:{name}": {(model_name,): value} for name, value in plain.items()}
    samples["vllm:request_success_total"] = {(model_name, reason): count for reason, count in totals.finished.items()}
    return samples


def _family(metric: Metric, samples: Samples) -> Family:
    if metric.kind == "histogram":
        histograms = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
        for labels, value in samples.items():
            assert isinstance(value, Histogram)
            histograms.add_metric(labels, _buckets(value), value.total)
        return histograms
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = kind(metric.name.removesuffix("_total"), metric.help, labels=metric.labels)
    for labels, value in samples.items():
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
