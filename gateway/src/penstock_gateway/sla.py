"""What a request says about the objectives of its service: pure arithmetic over durations.

An answered request meets or misses every objective whose duration is known. A failed one misses all that are judged
here. One that its client abandoned is judged by what was decided until then: too slow already is missed, the rest is
nobody's. ITL is never judged here: it comes from the worker's histogram.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from penstock_contract.names import TPOT_MIN_TOKENS

JUDGED: Final = ("TTFT", "TPOT", "QueueWait", "E2E")


class End(enum.Enum):
    """How a request ended."""

    ANSWERED = "answered"
    FAILED = "failed"
    ABANDONED = "abandoned"  # by the client
    EXCUSED = "excused"  # refused for what the client sent


@dataclass(frozen=True, slots=True)
class Objective:
    """`percentile` % of requests meet the threshold.

    Attributes:
        metric: one of the contract's objective metrics.
        percentile: as in the resource, such as "99" or "99.9".
        threshold_seconds: longest duration that meets it.
    """

    metric: str
    percentile: str
    threshold_seconds: float


@dataclass(frozen=True, slots=True)
class Timings:
    """Durations of one request in seconds, as its client sees them; None = unknown.

    Attributes:
        ttft: arrival to first token.
        tpot: (last - first token)/(n - 1), from 16 tokens on.
        queue_wait: held plus the engine's queue.
        e2e: arrival to the end; of an unfinished request, until now.
    """

    ttft: float | None
    tpot: float | None
    queue_wait: float | None
    e2e: float

    def of(self, metric: str) -> float | None:
        """The duration that an objective's metric is about."""
        return {"TTFT": self.ttft, "TPOT": self.tpot, "QueueWait": self.queue_wait, "E2E": self.e2e}.get(metric)


def objectives(spec: Mapping[str, Any]) -> tuple[Objective, ...]:
    """Objectives of a resource's `spec`."""
    found = (spec.get("sla") or {}).get("objectives") or ()
    return tuple(
        Objective(str(one["metric"]), str(one["percentile"]), one["thresholdMilliseconds"] / 1000) for one in found
    )


def tightest(aims: Sequence[Objective], *metrics: str) -> float | None:
    """Least threshold in seconds of the objectives on some metrics; None without one."""
    return min((aim.threshold_seconds for aim in aims if aim.metric in metrics), default=None)


def longest_wait(aims: Sequence[Objective]) -> float | None:
    """Seconds after which who still waits misses every objective on first token and wait; None = never."""
    return max((aim.threshold_seconds for aim in aims if aim.metric in ("TTFT", "QueueWait")), default=None)


def verdicts(aims: Sequence[Objective], timings: Timings, end: End) -> Iterator[tuple[Objective, bool]]:
    """Yield each objective that the request says something about, and whether it met it."""
    if end is End.EXCUSED:
        return
    for aim in aims:
        if aim.metric not in JUDGED:
            continue
        if end is End.FAILED:
            yield aim, False
            continue
        seconds = timings.of(aim.metric)
        if end is End.ABANDONED and aim.metric == "E2E":
            seconds = None  # it never ended
        if seconds is not None:
            yield aim, seconds <= aim.threshold_seconds
        elif end is End.ABANDONED and _was_pending(aim.metric, timings) and timings.e2e > aim.threshold_seconds:
            yield aim, False


def _was_pending(metric: str, timings: Timings) -> bool:
    """Whether an unknown duration still ran when the client left; a wait that is not told ended by the first token."""
    return metric != "TPOT" and (metric != "QueueWait" or timings.ttft is None)


def seconds_per_token(first: float, last: float, tokens: float) -> float | None:
    """TPOT of an answer of `tokens` tokens; None below 16."""
    return (last - first) / (tokens - 1) if tokens >= TPOT_MIN_TOKENS else None
