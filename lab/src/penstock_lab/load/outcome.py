"""What became of a request, and the figures over many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from penstock_contract.names import TPOT_MIN_TOKENS


@dataclass(frozen=True, slots=True)
class Outcome:
    """One request as the client saw it; times in seconds from when it was due.

    Attributes:
        at: when it was due, seconds from the start of the load.
        phase: name of its phase.
        error: None when it was answered in full.
        ttft_seconds: to the first token; None without one.
        e2e_seconds: to the end.
        tokens: output tokens received.
        attempts: workers asked; more than one after a refusal before the first byte.
    """

    at: float
    phase: str
    error: str | None
    ttft_seconds: float | None
    e2e_seconds: float
    tokens: int
    attempts: int

    @property
    def tpot_seconds(self) -> float | None:
        """(last - first token)/(n - 1), from 16 tokens on."""
        if self.ttft_seconds is None or self.tokens < TPOT_MIN_TOKENS:
            return None
        return (self.e2e_seconds - self.ttft_seconds) / (self.tokens - 1)


def percentile(values: Sequence[float], share: float) -> float | None:
    """Value below which `share` (0 to 1) of the values lie, by nearest rank; None without values."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None


def figures(outcomes: Sequence[Outcome], *, ttft_seconds: float, tpot_seconds: float) -> dict[str, Any]:
    """Counts, percentiles and attainment of a set of outcomes; a failed request misses every objective.

    Args:
        outcomes: of one phase or of all.
        ttft_seconds: threshold.
        tpot_seconds: threshold.
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
        "ttft_attainment": _share(sum(value <= ttft_seconds for value in ttft), len(ttft) + failed),
        "tpot_attainment": _share(sum(value <= tpot_seconds for value in tpot), len(tpot) + failed),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None
