"""Metric names, kinds, labels and buckets of every part.

Exporters declare from these tables and the conformance test compares what they serve with them. Names are given
as Prometheus shows them (`_total` included). The labels `namespace`, `inferenceservice` and `pod` are added by
target relabelling and never appear here, except on the gateway, which speaks for several services.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["counter", "gauge", "histogram"]

# Seconds. They hold the common thresholds, so that attainment of those is exact.
LATENCY_BUCKETS: Final = (
    0.005, 0.010, 0.025, 0.050, 0.075, 0.100, 0.150, 0.200, 0.300, 0.500, 0.750,
    1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric family.

    Attributes:
        name: full name in the exposition, `_total` included for counters; the base name for histograms.
        kind: counter, gauge or histogram.
        help: one sentence with the unit.
        labels: label names beside those of target relabelling.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()


def _c(name: str, text: str, *labels: str) -> Metric:
    return Metric(f"{name}_total", "counter", text, labels)


def _g(name: str, text: str, *labels: str) -> Metric:
    return Metric(name, "gauge", text, labels)


def _h(name: str, text: str, *labels: str) -> Metric:
    return Metric(name, "histogram", text, labels)


_W = "penstock_worker_"
WORKER: Final = (
    _c(f"{_W}engine_steps", "Engine iterations run."),
    _c(f"{_W}engine_step_seconds", "Seconds spent in engine iterations."),
    _c(f"{_W}decode_sequence_steps", "Sequences decoded, summed over steps (sum of B)."),
    _c(f"{_W}kv_token_steps", "Context tokens of decoded sequences, summed over steps (sum of S)."),
    _c(f"{_W}prefill_tokens_computed", "Prompt tokens computed, recomputation included (sum of p)."),
    _c(f"{_W}prefill_token_length", "Computed prompt tokens times the length of their prompt (sum of p*len)."),
    _c(f"{_W}prompt_tokens", "Prompt tokens of admitted requests, counted at admission."),
    _c(f"{_W}prompt_tokens_cached", "Prompt tokens taken from the prefix cache."),
    _c(f"{_W}recomputed_tokens", "Tokens computed again after a preemption."),
    _c(f"{_W}generated_tokens", "Output tokens generated."),
    _c(f"{_W}requests_arrived", "Requests admitted to the queue."),
    _c(f"{_W}requests_finished", "Requests finished, by reason.", "reason"),
    _c(f"{_W}preemptions", "Requests put back to the queue because the KV cache was full."),
    _g(f"{_W}requests_running", "Requests in the running batch."),
    _g(f"{_W}requests_waiting", "Requests waiting for a slot."),
    _g(f"{_W}kv_tokens_used", "KV cache tokens in use."),
    _g(f"{_W}kv_tokens_capacity", "KV cache capacity in tokens."),
    _g(f"{_W}draining", "1 while the worker drains."),
    _g(f"{_W}model_load_seconds", "Seconds the model took to load."),
    _g(f"{_W}ready_timestamp_seconds", "Unix time at which the worker became ready; 0 before."),
    _c(f"{_W}emulated_step_overruns", "Steps that took longer than the emulated device's profile says."),
    _g(f"{_W}emulated_info", "1 when a device is emulated, 0 otherwise.", "profile"),
    _h(f"{_W}queue_wait_seconds", "Seconds from arrival to the first scheduled step."),
    _h(f"{_W}time_to_first_token_seconds", "Seconds from arrival to the first output token."),
    _h(f"{_W}time_per_output_token_seconds", "(last - first token)/(n - 1) of requests with n >= 16, in seconds."),
    _h(f"{_W}inter_token_latency_seconds", "Seconds between successive output tokens of a request."),
    _h(f"{_W}e2e_seconds", "Seconds from arrival to the last output token."),
)

# vLLM's names, for dashboards, llm-d and the Gateway API inference extension. All carry `model_name`.
_V = "vllm:"
VLLM: Final = (
    _g(f"{_V}num_requests_running", "Requests in the running batch.", "model_name"),
    _g(f"{_V}num_requests_waiting", "Requests waiting for a slot.", "model_name"),
    _g(f"{_V}kv_cache_usage_perc", "Fraction of the KV cache in use, 0 to 1.", "model_name"),
    _c(f"{_V}num_preemptions", "Preemptions.", "model_name"),
    _c(f"{_V}prompt_tokens", "Prompt tokens processed.", "model_name"),
    _c(f"{_V}generation_tokens", "Tokens generated.", "model_name"),
    _c(f"{_V}request_success", "Requests finished.", "model_name", "finished_reason"),
    _h(f"{_V}time_to_first_token_seconds", "Time to first token.", "model_name"),
    _h(f"{_V}inter_token_latency_seconds", "Inter-token latency.", "model_name"),
    _h(f"{_V}request_time_per_output_token_seconds", "Time per output token of a request.", "model_name"),
    _h(f"{_V}request_queue_time_seconds", "Time in the queue.", "model_name"),
    _h(f"{_V}e2e_request_latency_seconds", "End-to-end latency.", "model_name"),
)

_S = ("namespace", "inferenceservice")
_G = "penstock_gateway_"
GATEWAY: Final = (
    _c(f"{_G}requests_arrived", "Requests that arrived for a service.", *_S),
    _c(f"{_G}prompt_tokens", "Prompt tokens of arrived requests, estimated where the prompt is text.", *_S),
    _g(f"{_G}requests_held", "Requests held because no worker is ready.", *_S),
    _g(f"{_G}oldest_held_seconds", "Age of the oldest held request in seconds.", *_S),
    _g(f"{_G}requests_in_flight", "Requests sent to a worker and not finished.", *_S),
    _c(f"{_G}requests_failed", "Requests that failed, by reason.", *_S, "reason"),
    _c(f"{_G}objective", "Requests that met or missed an objective.", *_S, "metric", "percentile", "result"),
    _h(f"{_G}time_to_first_token_seconds", "TTFT as the client sees it, in seconds.", *_S),
    _h(f"{_G}time_per_output_token_seconds", "TPOT as the client sees it, in seconds.", *_S),
    _h(f"{_G}queue_wait_seconds", "Held plus engine queue, in seconds.", *_S),
    _h(f"{_G}e2e_seconds", "End to end, in seconds.", *_S),
)

_O = "penstock_operator_"
OPERATOR: Final = (
    _g(f"{_O}desired_replicas", "Replicas the autoscaler wants; for a KEDA or HPA that acts on it.", *_S),
    _g(f"{_O}ready_replicas", "Ready replicas.", *_S),
    _g(f"{_O}capacity_tokens_per_second", "Generated tokens/s the ready replicas are trusted to carry.", *_S),
    _g(f"{_O}demand_tokens_per_second", "Offered generated tokens/s: arrivals times mean output.", *_S),
    _g(f"{_O}predicted_attainment", "Predicted attainment at a replica count.", *_S, "replicas"),
    _g(f"{_O}cost_per_hour", "Cost per hour of the replicas that hold accelerators.", *_S),
    _g(f"{_O}cost_per_million_tokens", "Cost per million generated tokens.", *_S),
    _c(f"{_O}accelerator_seconds", "Accelerator-seconds held, from scheduled to deleted.", *_S),
    _c(f"{_O}decisions", "Scaling decisions that changed replicas or reason.", *_S, "reason"),
    _g(f"{_O}signal_state", "1 for the state a signal is in, 0 for the others.", *_S, "signal", "state"),
    _g(f"{_O}metrics_source_up", "1 while Prometheus gives usable answers to the operator, 0 while it does not."),
    _c(f"{_O}pod_scrapes", "Workers asked for their metrics directly, Prometheus being away, by result.", "result"),
    _h(f"{_O}reconcile_seconds", "Seconds of one reconcile."),
    _c(f"{_O}reconcile_errors", "Reconciles that failed, by reason.", "reason"),
    _h(f"{_O}drain_seconds", "Seconds from the mark of a replica to its removal."),
    _h(f"{_O}tick_seconds", "Seconds of one autoscale tick."),
    _c(f"{_O}tick_overruns", "Ticks skipped because the one before had not ended."),
)
