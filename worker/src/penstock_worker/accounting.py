"""What the engine did, as plain numbers: the source of every worker metric.

The engine thread adds once a step, the HTTP thread adds at arrival and reads when scraped; one lock makes a scrape
see whole steps. Conservation, at any moment, over all requests that ever arrived:

    prefill_computed = prompt - cached + recomputed - abandoned - pending

`pending` are prompt tokens of requests still in the engine that were not reached yet, `abandoned` those of requests
that were aborted before they were. With nothing in flight and no abort, computed = prompt - cached + recomputed.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

from penstock_contract.metrics import LATENCY_BUCKETS
from penstock_contract.names import TPOT_MIN_TOKENS
from penstock_contract.step import StepWork
from penstock_worker.request import FINISH_REASONS, FinishReason, Request
from penstock_worker.scheduler import Emission, StepPlan


@dataclass(slots=True)
class Histogram:
    """Counts by bucket of `LATENCY_BUCKETS`, the last one beyond all bounds; values are seconds."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(LATENCY_BUCKETS) + 1))
    total: float = 0.0

    def observe(self, seconds: float) -> None:
        """Count one value; a bound belongs to its bucket (`le`)."""
        self.counts[bisect_left(LATENCY_BUCKETS, seconds)] += 1
        self.total += seconds


@dataclass(slots=True)
class Totals:
    """Cumulative since start; token and request counts, seconds."""

    steps: int = 0
    step_seconds: float = 0.0
    decode_sequence_steps: int = 0
    kv_token_steps: int = 0
    prefill_computed: int = 0
    prefill_token_length: int = 0
    prompt: int = 0
    cached: int = 0
    recomputed: int = 0
    abandoned: int = 0
    generated: int = 0
    arrived: int = 0
    preemptions: int = 0
    overruns: int = 0
    finished: dict[FinishReason, int] = field(default_factory=lambda: dict.fromkeys(FINISH_REASONS, 0))
    queue_wait: Histogram = field(default_factory=Histogram)
    first_token: Histogram = field(default_factory=Histogram)
    per_output_token: Histogram = field(default_factory=Histogram)
    inter_token: Histogram = field(default_factory=Histogram)
    end_to_end: Histogram = field(default_factory=Histogram)


class Accounting:
    """Totals with a lock around them."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.totals = Totals()

    @property
    def in_flight(self) -> int:
        """Requests that arrived and did not finish."""
        return self.totals.arrived - sum(self.totals.finished.values())

    def arrive(self, request: Request) -> None:
        """A request was admitted to the queue."""
        with self.lock:
            self.totals.arrived += 1
            self.totals.prompt += request.prompt_length

    def step(self, plan: StepPlan, emissions: Sequence[Emission], *, seconds: float, overrun: bool, now: float) -> None:
        """A step ended at `now`."""
        totals = self.totals
        with self.lock:
            self._work(plan.work)
            totals.step_seconds += seconds
            totals.overruns += overrun
            totals.cached += plan.cached
            totals.recomputed += plan.recomputed
            totals.preemptions += len(plan.preempted)
            totals.generated += len(emissions)
            for chunk in plan.chunks:
                request = chunk.request
                if request.scheduled_at is None:
                    # An emulated step may begin, on its own time, just before a request that it takes in.
                    request.scheduled_at = max(request.arrived_at, now - seconds)
                    totals.queue_wait.observe(request.scheduled_at - request.arrived_at)
            for emission in emissions:
                self._token(emission.request, now)
                if emission.finish_reason is not None:
                    self._finish(emission.request)

    def leave(self, request: Request) -> None:
        """A request was ended from outside, in whatever state it was."""
        with self.lock:
            self._finish(request)

    def _work(self, work: StepWork) -> None:
        totals = self.totals
        totals.steps += int(work.steps)
        totals.decode_sequence_steps += int(work.decode_sequences)
        totals.kv_token_steps += int(work.kv_tokens)
        totals.prefill_computed += int(work.prefill_tokens)
        totals.prefill_token_length += int(work.prefill_token_length)

    def _token(self, request: Request, now: float) -> None:
        if request.last_token_at is None:
            request.first_token_at = now
            self.totals.first_token.observe(now - request.arrived_at)
        else:
            self.totals.inter_token.observe(now - request.last_token_at)
        request.last_token_at = now

    def _finish(self, request: Request) -> None:
        totals = self.totals
        totals.finished[request.finish_reason or "error"] += 1
        totals.abandoned += request.uncomputed_prompt
        if request.finish_reason not in {"stop", "length"}:
            return  # latencies of what the client gave up on would say nothing about the engine
        if request.last_token_at is not None:
            totals.end_to_end.observe(request.last_token_at - request.arrived_at)
        per_token = seconds_per_output_token(request)
        if per_token is not None and request.output_length >= TPOT_MIN_TOKENS:
            totals.per_output_token.observe(per_token)


def seconds_per_output_token(request: Request) -> float | None:
    """(last - first token)/(n - 1) in seconds; None below two tokens."""
    if request.first_token_at is None or request.last_token_at is None or request.output_length < 2:
        return None
    return (request.last_token_at - request.first_token_at) / (request.output_length - 1)
