"""Bootstrap intervals of means over seeds. What is compared is paired: both figures of a seed share its traffic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_LEAST = 3
_DRAWS = 5000


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its 95 % interval; `low` and `high` are None when there are fewer than three values."""

    mean: float
    low: float | None = None
    high: float | None = None

    def text(self, form: str) -> str:
        """The mean, and the interval where there is one; `form` as of `format`."""
        if self.low is None or self.high is None:
            return format(self.mean, form)
        return f"{self.mean:{form}} [{self.low:{form}}, {self.high:{form}}]"


def of_mean(values: Sequence[float]) -> Interval | None:
    """Of the mean of one value per seed; None without any."""
    if not values:
        return None
    each = np.asarray(values, dtype=np.float64)
    if len(each) < _LEAST:
        return Interval(float(each.mean()))
    picks = np.random.default_rng(0).integers(0, len(each), (_DRAWS, len(each)))
    low, high = np.percentile(each[picks].mean(axis=1), (2.5, 97.5))
    return Interval(float(each.mean()), float(low), float(high))
