"""Percentiles, and how sure a share is."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from penstock_lab.load.histogram import Histogram

PERCENTILES: Final = (50.0, 90.0, 95.0, 99.0, 99.9)
_Z: Final = 1.959964  # 95 % of a normal distribution lie within so many standard deviations


def name(percentile: float) -> str:
    """As in `p50` and `p99.9`."""
    return f"p{percentile:g}"


def of_values(values: Any) -> dict[str, float | int | None]:
    """Count, mean, extremes and percentiles (nearest rank) of an array; NaN is left out, None means without a value."""
    ordered = np.sort(values[~np.isnan(values)].astype(np.float64))
    if not len(ordered):
        return _row(0, None, None, None, dict.fromkeys(PERCENTILES))
    ranks = {each: max(1, math.ceil(each / 100 * len(ordered))) - 1 for each in PERCENTILES}
    found: dict[float, float | None] = {each: float(ordered[rank]) for each, rank in ranks.items()}
    return _row(len(ordered), float(ordered.mean()), float(ordered[0]), float(ordered[-1]), found)


def of_histogram(histogram: Histogram) -> dict[str, float | int | None]:
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
) -> dict[str, float | int | None]:
    figures = {"mean": mean, "min": least, **{name(each): value for each, value in found.items()}, "max": most}
    return {"count": count, **{key: None if value is None else round(value, 6) for key, value in figures.items()}}


def wilson(met: int, of: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson's score interval; 0 to 1 when nothing was seen)."""
    if not of:
        return 0.0, 1.0
    share, spread = met / of, _Z**2 / of
    middle = (share + spread / 2) / (1 + spread)
    half = _Z * math.sqrt(share * (1 - share) / of + spread / (4 * of)) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)
