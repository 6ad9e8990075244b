"""Which series of each engine say what: one row per engine, one column per kind of question.

A service runs one engine, so `core.enginequeries` asks a kind of all engines in one query: `A or B or C`, each summed
by service, of which the one answers that has the service's series. A kind that an engine does not export has no entry
here: its service is then missing from the answer, which is not zero. Nothing is ever filled in.

Names are those of vLLM 0.32, SGLang 0.5.23, TGI 3.3 and TensorRT-LLM 1.3's trtllm-serve; `docs/engines.md` says what
each engine counts when, and what follows from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Read(StrEnum):
    """How a series becomes a number; all are summed over the pods of a service."""

    RATE = "rate"
    """Increase per second of a counter."""
    CHANGE = "change"
    """Change per second of a gauge, either way."""
    VALUE = "value"
    """A gauge as it is."""
    MEAN = "mean"
    """Mean of a gauge over the pods."""
    COUNT = "count"
    """Number of series."""


@dataclass(frozen=True, slots=True)
class Term:
    """One series in a sum.

    Attributes:
        series: its name in the exposition.
        read: how it is read.
        where: label matchers in PromQL; empty = all.
        minus: it is taken off.
    """

    series: str
    read: Read = Read.RATE
    where: str = ""
    minus: bool = False


@dataclass(frozen=True, slots=True)
class Formula:
    """A number of a service: the sum of its terms, at least 0, times the mean of a histogram if there is one.

    Attributes:
        terms: all must be there.
        mean_of: base name of that histogram.
        over: the sum is divided by this one.
    """

    terms: tuple[Term, ...]
    mean_of: str | None = None
    over: Term | None = None

    def series(self) -> Iterator[str]:
        """Names that it needs."""
        yield from (term.series for term in self.terms)
        if self.over is not None:
            yield self.over.series
        if self.mean_of is not None:
            yield from (f"{self.mean_of}_sum", f"{self.mean_of}_count")


@dataclass(frozen=True, slots=True)
class EngineMetrics:
    """What one engine exports.

    Attributes:
        engine: value of `runtime.engine`.
        mark: a gauge that is on every page of it: its age is the age of the scrape, its pods are those that report.
        kinds: kind of question to formulas, current spelling first; the first that has an answer counts.
        histograms: objective metric to the base name of a histogram of it in seconds, current spelling first.
        where: label matchers that all its series meet.
    """

    engine: str
    mark: str
    kinds: Mapping[str, tuple[Formula, ...]]
    histograms: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    where: str = ""

    @property
    def work(self) -> tuple[str, ...]:
        """Gauges whose sum is the number of requests that a worker still has."""
        return tuple(self.kinds[kind][0].terms[0].series for kind in ("running", "waiting"))


def _rate(name: str, *more: str, less: str | None = None, where: str = "") -> Formula:
    taken = () if less is None else (Term(less, minus=True),)
    return Formula((Term(name, where=where), *(Term(other) for other in more), *taken))


def _gauge(name: str, read: Read = Read.VALUE) -> Formula:
    return Formula((Term(name, read),))


def _arrived(finished: str, *inside: str) -> Formula:
    """Arrivals of an engine that counts none: what has finished, and by how much what is inside has grown."""
    return Formula((Term(finished), *(Term(name, Read.CHANGE) for name in inside)))


def _steps_times(count: str, gap: str) -> Formula:
    """Busy time of an engine that counts its steps and measures gaps: a running sequence gets a token in each step."""
    return Formula((Term(count),), mean_of=gap)


_W = "penstock_worker_"
PENSTOCK = EngineMetrics(
    "Penstock",
    mark=f"{_W}requests_waiting",
    kinds={
        "arrivals": (_rate(f"{_W}requests_arrived_total"),),
        "prompt_tokens": (_rate(f"{_W}prompt_tokens_total"),),
        "generated_tokens": (_rate(f"{_W}generated_tokens_total"),),
        "steps": (_rate(f"{_W}engine_steps_total"),),
        "step_seconds": (_rate(f"{_W}engine_step_seconds_total"),),
        "decode_sequences": (_rate(f"{_W}decode_sequence_steps_total"),),
        "prefill_tokens": (_rate(f"{_W}prefill_tokens_computed_total"),),
        "finished": (_rate(f"{_W}requests_finished_total"),),
        "waiting": (_gauge(f"{_W}requests_waiting"),),
        "running": (_gauge(f"{_W}requests_running"),),
        "kv_use": (
            Formula((Term(f"{_W}kv_tokens_used", Read.VALUE),), over=Term(f"{_W}kv_tokens_capacity", Read.VALUE)),
        ),
    },
    histograms={
        "TTFT": (f"{_W}time_to_first_token_seconds",),
        "TPOT": (f"{_W}time_per_output_token_seconds",),
        "ITL": (f"{_W}inter_token_latency_seconds",),
        "QueueWait": (f"{_W}queue_wait_seconds",),
        "E2E": (f"{_W}e2e_seconds",),
    },
)

# Every series of vLLM tells its engine core; our own worker's copies of its names do not, and must not count twice.
# One observation of `iteration_tokens_total` is a step that gave an answer. The older spelling of gaps is the second.
_V = "vllm:"
VLLM = EngineMetrics(
    "VLLM",
    mark=f"{_V}num_requests_waiting",
    where='engine!=""',
    kinds={
        "arrivals": (_arrived(f"{_V}request_success_total", f"{_V}num_requests_running", f"{_V}num_requests_waiting"),),
        "prompt_tokens": (_rate(f"{_V}prompt_tokens_total"),),
        "generated_tokens": (_rate(f"{_V}generation_tokens_total"),),
        "steps": (_rate(f"{_V}iteration_tokens_total_count"),),
        "step_seconds": (
            _steps_times(f"{_V}iteration_tokens_total_count", f"{_V}inter_token_latency_seconds"),
            _steps_times(f"{_V}iteration_tokens_total_count", f"{_V}time_per_output_token_seconds"),
        ),
        "decode_sequences": (
            _rate(f"{_V}inter_token_latency_seconds_count"),
            _rate(f"{_V}time_per_output_token_seconds_count"),
        ),
        "prefill_tokens": (
            _rate(f"{_V}prompt_tokens_by_source_total", where='source="local_compute"'),
            _rate(f"{_V}prompt_tokens_total", less=f"{_V}prefix_cache_hits_total"),
        ),
        "finished": (_rate(f"{_V}request_success_total"),),
        "waiting": (_gauge(f"{_V}num_requests_waiting"),),
        "running": (_gauge(f"{_V}num_requests_running"),),
        "kv_use": (_gauge(f"{_V}kv_cache_usage_perc", Read.MEAN), _gauge(f"{_V}gpu_cache_usage_perc", Read.MEAN)),
    },
    histograms={
        "TTFT": (f"{_V}time_to_first_token_seconds",),
        "TPOT": (f"{_V}request_time_per_output_token_seconds",),
        "ITL": (f"{_V}inter_token_latency_seconds", f"{_V}time_per_output_token_seconds"),
        "QueueWait": (f"{_V}request_queue_time_seconds",),
        "E2E": (f"{_V}e2e_request_latency_seconds",),
    },
)

# Tokens of `realtime_tokens_total` are counted as they come, those of `generation_tokens_total` when a request ends.
# The first token of a request comes from its prefill, which the former does not count as decoded.
_S = "sglang:"
SGLANG = EngineMetrics(
    "SGLang",
    mark=f"{_S}num_queue_reqs",
    kinds={
        "arrivals": (_arrived(f"{_S}num_requests_total", f"{_S}num_running_reqs", f"{_S}num_queue_reqs"),),
        "prompt_tokens": (_rate(f"{_S}prompt_tokens_total"),),
        "generated_tokens": (
            _rate(f"{_S}realtime_tokens_total", f"{_S}num_requests_total", where='mode="decode"'),
            _rate(f"{_S}generation_tokens_total"),
        ),
        "steps": (_rate(f"{_S}cuda_graph_passes_total"),),
        "step_seconds": (
            Formula(
                (
                    Term(f"{_S}scheduler_idle_seconds_total", Read.COUNT),
                    Term(f"{_S}scheduler_idle_seconds_total", minus=True),
                )
            ),
            _steps_times(f"{_S}cuda_graph_passes_total", f"{_S}inter_token_latency_seconds"),
        ),
        "decode_sequences": (_rate(f"{_S}realtime_tokens_total", where='mode="decode"'),),
        "prefill_tokens": (_rate(f"{_S}realtime_tokens_total", where='mode="prefill_compute"'),),
        "finished": (_rate(f"{_S}num_requests_total"),),
        "waiting": (_gauge(f"{_S}num_queue_reqs"),),
        "running": (_gauge(f"{_S}num_running_reqs"),),
        "kv_use": (_gauge(f"{_S}token_usage", Read.MEAN),),
    },
    histograms={
        "TTFT": (f"{_S}time_to_first_token_seconds",),
        "TPOT": (f"{_S}request_time_per_output_token_seconds",),
        "ITL": (f"{_S}inter_token_latency_seconds", f"{_S}time_per_output_token_seconds"),
        "QueueWait": (f"{_S}queue_time_seconds",),
        "E2E": (f"{_S}e2e_request_latency_seconds",),
    },
)

# Prefill and decode are passes of their own, so both count as steps. Tokens are counted when a request ends, and the
# first one of each comes from its prefill.
_T = "tgi_"
TGI = EngineMetrics(
    "TGI",
    mark=f"{_T}queue_size",
    kinds={
        "arrivals": (_rate(f"{_T}request_count"),),
        "prompt_tokens": (_rate(f"{_T}request_input_length_sum"),),
        "generated_tokens": (_rate(f"{_T}request_generated_tokens_sum"),),
        "steps": (_rate(f"{_T}batch_inference_duration_count"),),
        "step_seconds": (_rate(f"{_T}batch_inference_duration_sum"),),
        "decode_sequences": (_rate(f"{_T}request_generated_tokens_sum", less=f"{_T}request_generated_tokens_count"),),
        "prefill_tokens": (_rate(f"{_T}request_input_length_sum"),),
        "finished": (_rate(f"{_T}request_success"),),
        "waiting": (_gauge(f"{_T}queue_size"),),
        "running": (_gauge(f"{_T}batch_current_size"),),
    },
    histograms={
        "TPOT": (f"{_T}request_mean_time_per_token_duration",),
        "QueueWait": (f"{_T}request_queue_duration",),
        "E2E": (f"{_T}request_duration",),
    },
)

# It counts no iterations and sums no time of them, so there is nothing to fit a step model to.
_R = "trtllm_"
TENSORRT_LLM = EngineMetrics(
    "TensorRTLLM",
    mark=f"{_R}num_requests_waiting",
    kinds={
        "arrivals": (_arrived(f"{_R}request_success_total", f"{_R}num_requests_running", f"{_R}num_requests_waiting"),),
        "prompt_tokens": (_rate(f"{_R}prompt_tokens_total"),),
        "generated_tokens": (_rate(f"{_R}generation_tokens_total"),),
        "finished": (_rate(f"{_R}request_success_total"),),
        "waiting": (_gauge(f"{_R}num_requests_waiting"),),
        "running": (_gauge(f"{_R}num_requests_running"),),
        "kv_use": (_gauge(f"{_R}kv_cache_utilization", Read.MEAN),),
    },
    histograms={
        "TTFT": (f"{_R}time_to_first_token_seconds",),
        "TPOT": (f"{_R}time_per_output_token_seconds",),
        "QueueWait": (f"{_R}request_queue_time_seconds",),
        "E2E": (f"{_R}e2e_request_latency_seconds",),
    },
)

METRICS: Mapping[str, EngineMetrics] = {one.engine: one for one in (PENSTOCK, VLLM, SGLANG, TGI, TENSORRT_LLM)}
KINDS: tuple[str, ...] = tuple(PENSTOCK.kinds)
