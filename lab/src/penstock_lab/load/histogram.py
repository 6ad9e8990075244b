"""Durations in buckets of equal ratio: any number of values in 40 KB, each quantile right to 0.5 %."""

from __future__ import annotations

import math
from typing import Final

from penstock_lab.load.rank import nearest_rank

_LEAST: Final = 1e-6
_PER_E: Final = 200  # buckets per factor e: neighbours are 0.5 % apart
_COUNT: Final = math.ceil(math.log(1e5 / _LEAST) * _PER_E)


class Histogram:
    """Counts of durations from a microsecond to a day; what lies outside counts as the nearest bound."""

    __slots__ = ("_buckets", "count", "largest", "smallest", "total")

    def __init__(self) -> None:
        self._buckets = [0] * (_COUNT + 1)
        self.count = 0
        self.total = 0.0
        self.smallest = math.inf
        self.largest = 0.0

    def add(self, seconds: float) -> None:
        """Count one duration."""
        index = int(math.log(seconds / _LEAST) * _PER_E) if seconds > _LEAST else 0
        self._buckets[min(_COUNT, index)] += 1
        self.count += 1
        self.total += seconds
        self.largest = max(self.largest, seconds)
        self.smallest = min(self.smallest, seconds)

    @property
    def mean(self) -> float | None:
        """Of all; None without any."""
        return self.total / self.count if self.count else None

    def quantile(self, share: float) -> float | None:
        """Value below which `share` (0 to 1) of them lie, by nearest rank; None without any."""
        if not self.count:
            return None
        rank, seen = nearest_rank(share, self.count), 0
        for index, number in enumerate(self._buckets):
            seen += number
            if seen >= rank:
                middle = _LEAST * math.exp((index + 0.5) / _PER_E)
                return min(self.largest, max(self.smallest, middle))
        return self.largest
