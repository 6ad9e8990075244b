"""What became of a request, and the figures over many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from penstock_contract.names import TPOT_MIN_TOKENS
from penstock_lab.load.rank import nearest_rank


@dataclass(frozen=True, slots=True)
class Outcome:
    """One request as the client saw it; times in seconds from when it was due.

    Attributes:
        at: when it was due, seconds from the start of the load.
        phase: name of its phase.
        error: None when it was answered in full.
        ttft_seconds: to the first token; None without one.
        last_seconds: to the last token received; None without one.
        e2e_seconds: to the end.
        tokens: output tokens received.
        attempts: how often it was sent; more than once after a refusal before the first byte, if that was allowed.
    """

    at: float
    phase: str
    error: str | None
    ttft_seconds: float | None
    last_seconds: float | None
    e2e_seconds: float
    tokens: int
    attempts: int

    @property
    def tpot_seconds(self) -> float | None:
        """(last - first token)/(n - 1), from 16 tokens on."""
        if self.ttft_seconds is None or self.last_seconds is None or self.tokens < TPOT_MIN_TOKENS:
            return None
        return (self.last_seconds - self.ttft_seconds) / (self.tokens - 1)


def percentile(values: Sequence[float], share: float) -> float | None:
    """Smallest value that `share` (0 to 1) of the values do not exceed (nearest rank); None without values."""
    return sorted(values)[nearest_rank(share, len(values)) - 1] if values else None


def figures(outcomes: Sequence[Outcome], *, ttft_seconds: float | None, tpot_seconds: float | None) -> dict[str, Any]:
    """Counts, percentiles and attainment of a set of outcomes; a failed request misses every objective.

    Args:
        outcomes: of one phase or of all.
        ttft_seconds: threshold; None when there is none, and so no attainment.
        tpot_seconds: threshold, the same.
    """
    answered = [outcome for outcome in outcomes if outcome.error is None]
    ttft = [outcome.ttft_seconds for outcome in answered if outcome.ttft_seconds is not None]
    tpot = [value for outcome in answered if (value := outcome.tpot_seconds) is not None]
    failed = len(outcomes) - len(answered)
    return {
        "sent": len(outcomes),
        "failed": failed,
        "retried": sum(outcome.attempts > 1 for outcome in outcomes),
        "tokens": sum(outcome.tokens for outcome in outcomes),
        "ttft_p50_seconds": _rounded(percentile(ttft, 0.5)),
        "ttft_p99_seconds": _rounded(percentile(ttft, 0.99)),
        "tpot_p50_seconds": _rounded(percentile(tpot, 0.5)),
        "tpot_p99_seconds": _rounded(percentile(tpot, 0.99)),
        "ttft_attainment": _attainment(ttft, ttft_seconds, failed),
        "tpot_attainment": _attainment(tpot, tpot_seconds, failed),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _attainment(values: Sequence[float], threshold: float | None, failed: int) -> float | None:
    counted = len(values) + failed
    if threshold is None or not counted:
        return None
    return round(sum(value <= threshold for value in values) / counted, 4)
