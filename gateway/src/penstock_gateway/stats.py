"""Totals of one service since it was first seen; a scrape reads them, nothing here knows Prometheus.

Counting is additions and one bisection per histogram: it happens for every request.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Final

from penstock_contract.metrics import LATENCY_BUCKETS
from penstock_contract.names import PROMPT_LENGTH_BITS
from penstock_gateway.errors import REASONS
from penstock_gateway.sla import JUDGED, End, Objective, Timings, verdicts

_FIRST_GUESS: Final = 128.0
_MEAN_OVER: Final = 20.0


class Histogram:
    """Counts by bucket, and the sum in seconds.

    Attributes:
        counts: one per bucket of the contract, and one for what is over the last.
        total: sum of all observations.
    """

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(LATENCY_BUCKETS) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        """Count one duration."""
        self.counts[bisect_left(LATENCY_BUCKETS, seconds)] += 1
        self.total += seconds


class Stats:
    """Totals of one service.

    Attributes:
        arrived: requests, those that failed later included.
        prompt_tokens: of all of them.
        prompt_lengths: arrivals by the bits of their prompt's length in tokens.
        in_flight: requests that a worker has.
        failed: by reason.
        objectives: (met, missed) by metric and percentile.
        ttft, tpot, queue_wait, e2e: durations of requests that were answered.
        mean_output: output tokens of an answer, mean over the last few.
    """

    __slots__ = (
        "arrived", "e2e", "failed", "in_flight", "mean_output", "objectives", "prompt_lengths", "prompt_tokens",
        "queue_wait", "tpot", "ttft",
    )  # fmt: skip

    def __init__(self) -> None:
        self.arrived = 0
        self.prompt_tokens = 0
        self.prompt_lengths = [0] * PROMPT_LENGTH_BITS
        self.in_flight = 0
        self.failed = dict.fromkeys(REASONS, 0)
        self.objectives: dict[tuple[str, str], list[int]] = {}
        self.ttft = Histogram()
        self.tpot = Histogram()
        self.queue_wait = Histogram()
        self.e2e = Histogram()
        self.mean_output = _FIRST_GUESS

    def arrive(self, prompt_tokens: int) -> None:
        """Count a request that is let in."""
        self.arrived += 1
        self.prompt_tokens += prompt_tokens
        self.prompt_lengths[min(prompt_tokens.bit_length(), PROMPT_LENGTH_BITS - 1)] += 1

    def aim(self, objectives: Iterable[Objective]) -> None:
        """Count for these objectives from now on; those that stay keep their counts."""
        kept = self.objectives
        keys = [(aim.metric, aim.percentile) for aim in objectives if aim.metric in JUDGED]
        self.objectives = {key: kept.get(key, [0, 0]) for key in keys}

    def output(self, tokens: float) -> None:
        """Learn from the length of one answer of one choice."""
        self.mean_output += (tokens - self.mean_output) / _MEAN_OVER

    def refuse(self, objectives: Sequence[Objective], reason: str) -> None:
        """Count a request that was refused before it was read."""
        self.arrived += 1
        self.finish(objectives, Timings(None, None, None, 0.0), End.FAILED, reason)

    def finish(self, objectives: Sequence[Objective], timings: Timings, end: End, reason: str | None) -> None:
        """Count the end of one request.

        Args:
            objectives: of the service.
            timings: of the request.
            end: how it ended.
            reason: one of `REASONS` if it failed or was abandoned.
        """
        if reason is not None:
            self.failed[reason] += 1
        if end is End.ANSWERED:
            for histogram, seconds in (
                (self.ttft, timings.ttft),
                (self.tpot, timings.tpot),
                (self.queue_wait, timings.queue_wait),
                (self.e2e, timings.e2e),
            ):
                if seconds is not None:
                    histogram.observe(seconds)
        for aim, met in verdicts(objectives, timings, end):
            counts = self.objectives.get((aim.metric, aim.percentile))
            if counts is not None:
                counts[0 if met else 1] += 1
