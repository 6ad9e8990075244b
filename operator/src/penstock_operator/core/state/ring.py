"""The recent past of one service in a bounded number of points, kept as plain doubles.

Values keep four digits. A point that says the same as the two before it moves the newer one on instead of being added,
so that a service at rest keeps two points, and a straight line between two neighbours is always what was seen.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence

HISTORY_SECONDS = 1800.0
MOST_POINTS = 360
WIDTH = 10  # numbers of a point, its time first
_BUDGET_POINTS = 400_000  # of all services together, 32 MB
_FEWEST_POINTS = 30
_EARLY = 0.9  # of the spacing: ticks are not to the millisecond

Number = float | None
Point = tuple[float, *tuple[Number, ...]]


def spacing(services: int) -> float:
    """Seconds between two points of a service, so that all services together keep a bounded number of points."""
    points = max(_FEWEST_POINTS, min(MOST_POINTS, _BUDGET_POINTS // max(1, services)))
    return HISTORY_SECONDS / points


class Ring:
    """Points of one service, oldest first, of the last HISTORY_SECONDS."""

    __slots__ = ("_numbers",)

    def __init__(self) -> None:
        self._numbers = array("d")

    def due(self, at: float, *, spacing_seconds: float) -> bool:
        """Whether the newest point is old enough for another one at `at` (Unix seconds)."""
        return not self._numbers or at - self._numbers[-WIDTH] >= _EARLY * spacing_seconds

    def add(self, at: float, values: Sequence[Number]) -> None:
        """Add the values seen at `at`, `WIDTH - 1` of them; None is not known."""
        numbers = self._numbers
        point = array("d", [at, *(_four_digits(value) for value in values)])
        said = point[1:].tobytes()
        known = len(numbers) >= 2 * WIDTH
        if known and said == numbers[1 - WIDTH :].tobytes() == numbers[1 - 2 * WIDTH : -WIDTH].tobytes():
            numbers[-WIDTH] = at
        else:
            numbers.extend(point)
        while len(numbers) > MOST_POINTS * WIDTH or (
            len(numbers) >= 2 * WIDTH and numbers[WIDTH] <= at - HISTORY_SECONDS
        ):
            del numbers[:WIDTH]

    def points(self, now: float) -> tuple[Point, ...]:
        """The points of the last HISTORY_SECONDS; safe in another thread than `add`."""
        numbers, oldest = self._numbers[:], now - HISTORY_SECONDS
        found: list[Point] = []
        for start in range(0, len(numbers), WIDTH):
            later = numbers[start + WIDTH] if start + WIDTH < len(numbers) else numbers[start]
            if later >= oldest:
                values = (_known(number) for number in numbers[start + 1 : start + WIDTH])
                found.append((max(oldest, numbers[start]), *values))
        return tuple(found)


def _four_digits(value: Number) -> float:
    return math.nan if value is None else float(f"{value:.4g}")


def _known(number: float) -> Number:
    return number if math.isfinite(number) else None
