"""Attainment: the share of requests that met an objective, from cumulative histogram buckets.

The share is exact when the threshold is a bucket bound and linearly interpolated inside a bucket otherwise, as
`histogram_quantile` does. An objective is met when at least `percentile` % of the requests met its threshold.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Objective:
    """`percentile` % of requests shall take at most `threshold_seconds` of `metric`."""

    metric: str
    percentile: float
    threshold_seconds: float


@dataclass(frozen=True, slots=True)
class Attainment:
    """An objective and what was measured, None without traffic.

    Attributes:
        objective: what was promised.
        fraction: share of requests that met its threshold.
        value_seconds: what its percentile of the requests took at most.
    """

    objective: Objective
    fraction: float | None
    value_seconds: float | None = None

    @property
    def met(self) -> bool:
        """True when the share reaches the percentile; an unmeasured objective is not missed."""
        return self.fraction is None or self.fraction * 100 >= self.objective.percentile - _ROUNDING

    @property
    def label(self) -> str:
        """For people."""
        objective = self.objective
        return f"{objective.metric} p{objective.percentile:g} <= {objective.threshold_seconds * 1000:g} ms"


def fraction_within(buckets: Mapping[float, float], threshold_seconds: float) -> float | None:
    """Share of observations at most `threshold_seconds`.

    Args:
        buckets: cumulative counts (or rates) by upper bound in seconds, +Inf included.
        threshold_seconds: the bound asked for.

    Returns:
        0 to 1, or None without observations or without a +Inf bucket.
    """
    total = buckets.get(math.inf, 0.0)
    if total <= 0:
        return None
    lower, below = 0.0, 0.0
    for bound in sorted(bound for bound in buckets if bound < math.inf):
        count = buckets[bound]
        if threshold_seconds <= bound:
            inside = (threshold_seconds - lower) / (bound - lower)
            return min(1.0, (below + inside * (count - below)) / total)
        lower, below = bound, count
    # What is beyond the last bound may have taken any time, so it does not count as within.
    return min(1.0, below / total)


def quantile(buckets: Mapping[float, float], percentile: float) -> float | None:
    """Seconds that `percentile` % of the observations took at most, interpolated as `fraction_within` is.

    Args:
        buckets: as for `fraction_within`.
        percentile: 0 to 100.

    Returns:
        The last finite bound when it lies beyond; None without observations, a +Inf bucket or a finite one.
    """
    total = buckets.get(math.inf, 0.0)
    bounds = sorted(bound for bound in buckets if bound < math.inf)
    if total <= 0 or not bounds:
        return None
    rank, lower, below = total * percentile / 100, 0.0, 0.0
    for bound in bounds:
        count = buckets[bound]
        if count >= rank and count > below:
            return lower + (bound - lower) * max(0.0, rank - below) / (count - below)
        lower, below = bound, max(below, count)
    return bounds[-1]
