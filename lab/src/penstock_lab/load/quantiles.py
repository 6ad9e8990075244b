"""Percentiles, and how sure a share is."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from penstock_lab.load.histogram import Histogram
from penstock_lab.load.rank import nearest_rank

PERCENTILES: Final = (50.0, 90.0, 95.0, 99.0, 99.9)
_Z: Final = 1.959964  # 95 % of a normal distribution lie within so many standard deviations


def name(percentile: float) -> str:
    """As in `p50` and `p99.9`."""
    return f"p{percentile:g}"


def of_values(values: Any, *, unfinished: Any = ()) -> dict[str, Any]:
    """Count, mean, extremes and percentiles (nearest rank) of an array; NaN is left out, None means without a value.

    Args:
        values: that are known.
        unfinished: of what nobody saw the end, how long it had lasted: a lower bound of each. A figure that could be
            larger, had the end been awaited, is named in `at_least`.
    """
    known = np.sort(values[~np.isnan(values)].astype(np.float64))
    bounds = np.asarray(unfinished, np.float64)
    ordered = np.sort(np.concatenate([known, bounds]))
    count = len(ordered)
    if not count:
        return _row(0, None, None, None, dict.fromkeys(PERCENTILES))
    ranks = {"min": 1, **{name(each): nearest_rank(each / 100, count) for each in PERCENTILES}, "max": count}
    # A figure is exact if enough known values lie at or below it, whatever became of the rest.
    open_ended = [key for key, rank in ranks.items() if np.searchsorted(known, ordered[rank - 1], side="right") < rank]
    found: dict[float, float | None] = {each: float(ordered[ranks[name(each)] - 1]) for each in PERCENTILES}
    row = _row(count, float(ordered.mean()), float(ordered[0]), float(ordered[-1]), found)
    return row | {"unfinished": len(bounds), "at_least": ["mean", *open_ended] if len(bounds) else []}


def of_histogram(histogram: Histogram) -> dict[str, Any]:
    """The same of a histogram; percentiles are right to 0.5 %."""
    found = {each: histogram.quantile(each / 100) for each in PERCENTILES}
    some = histogram.count > 0
    return _row(
        histogram.count,
        histogram.mean,
        histogram.smallest if some else None,
        histogram.largest if some else None,
        found,
    )


def _row(
    count: int, mean: float | None, least: float | None, most: float | None, found: dict[float, float | None]
) -> dict[str, Any]:
    figures = {"mean": mean, "min": least, **{name(each): value for each, value in found.items()}, "max": most}
    rounded = {key: None if value is None else round(value, 6) for key, value in figures.items()}
    return {"count": count, **rounded, "unfinished": 0, "at_least": []}


def wilson(met: int, of: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson's score interval; 0 to 1 when nothing was seen)."""
    if not of:
        return 0.0, 1.0
    share, spread = met / of, _Z**2 / of
    middle = (share + spread / 2) / (1 + spread)
    half = _Z * math.sqrt(share * (1 - share) / of + spread / (4 * of)) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)
