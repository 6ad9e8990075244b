"""Which of ordered values a percentile is: the nearest rank, in one place, so that all figures mean the same."""

from __future__ import annotations

import math
from typing import Final

_DIGITS: Final = 9  # 0.999 * 1000 is a little more than 999 in binary, and would round up to 1000


def nearest_rank(share: float, count: int) -> int:
    """Rank (1 to `count`) of the smallest value that `share` (0 to 1) of `count` values do not exceed."""
    return min(count, max(1, math.ceil(round(share * count, _DIGITS))))
