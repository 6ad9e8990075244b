"""Load at the time when new replicas would be ready, as a straight line through what came of such loads so far.

The load comes as work (what one request costs, times requests per second), in any unit that does not change. Pairs of a
load and the load one start-up time later feed a regression that forgets over some twenty of these times. Its slope and
offset carry a ramp on, fall back to the mean where loads do not last, and stay where they do. The width is by how much
loads differ from what the line said before they came, a fall counting half as much as a rise. Its square grows with the
load. So a steady service keeps hardly any reserve, and one with bursts keeps what its own bursts ask for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

HALF_LIFE_HORIZONS = 20.0
_START_PAIRS = 8.0
_START_SPREAD = 0.3  # of loads, and
_START_ERROR = 0.06  # of forecasts, both over the first load
_STEEPEST = 1.3
_BEYOND_PEAK = 0.1  # per sigma
_UNKNOWN = 20.0  # over the number of pairs
_PENDING = 24
_LATE_SECONDS = 30.0
_WARM_SECONDS = 60.0  # until what is counted over windows is whole
_LEAST_WORK = 1e-9
_DOWNWARDS = 0.25  # of a square, where less came than expected


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is known of a load.

    Attributes:
        level: work per second now.
        pairs: number of pairs, decayed, the prior's included.
        before: mean load of the pairs' first halves.
        after: mean load of their second halves.
        squares: decayed sums about the means: squares of the first halves, products of both.
        surprise: decayed sum of squared errors over what was expected, a fall's in part.
        peak: highest load so far, fading.
        pending: (time of the second half, first half, what is expected of the second) to come, oldest first.
        since: Unix seconds of the first load.
        at: Unix seconds of the last update.
    """

    level: float
    pairs: float
    before: float
    after: float
    squares: tuple[float, float]
    peak: float
    since: float
    surprise: float
    pending: tuple[tuple[float, float, float], ...] = ()
    at: float = 0.0

    @property
    def slope(self) -> float:
        """Load to come per load of now."""
        return min(_STEEPEST, max(0.0, self.squares[1] / self.squares[0])) if self.squares[0] > 0 else 1.0

    @property
    def sigma(self) -> float:
        """How far loads came out from what was expected, rises above all, as a root mean square, in work per second."""
        return math.sqrt(self.surprise / self.pairs * self.level)

    def ahead(self) -> float:
        """Work per second to expect one start-up time from now."""
        return max(_LEAST_WORK, self.after + self.slope * (self.level - self.before))

    def growth(self, *, sigmas: float) -> float:
        """Load to prepare for, over the load of now; at least 1.

        What was never seen is not prepared for: the width reaches a little beyond the peak, and further only while
        little is known at all.
        """
        if self.level <= _LEAST_WORK:
            return 1.0
        beyond = _BEYOND_PEAK * sigmas + _UNKNOWN / self.pairs
        wanted = min(self.ahead() + sigmas * self.sigma, self.peak * (1.0 + beyond))
        return max(1.0, self.ahead() / self.level, wanted / self.level)


def begin(work: float, *, now: float, since: float | None = None) -> Forecast:
    """Before anything is known: loads last, more or less."""
    spread = _START_PAIRS * (_START_SPREAD * work) ** 2
    return Forecast(
        work,
        _START_PAIRS,
        work,
        work,
        (spread, spread),
        surprise=_START_PAIRS * _START_ERROR**2 * work,
        peak=work,
        since=now if since is None else since,
        at=now,
    )


def follow(known: Forecast | None, work: float, *, now: float, horizon_seconds: float) -> Forecast:
    """Fold in the load of now.

    Args:
        known: before; None at first.
        work: per second, smoothed.
        now: Unix seconds.
        horizon_seconds: how far ahead forecasts are needed.
    """
    work = max(work, _LEAST_WORK)
    if known is None:
        return begin(work, now=now)
    if now - known.since < _WARM_SECONDS:
        return begin(work, now=now, since=known.since)
    elapsed = max(0.0, now - known.at)
    due = [one for one in known.pending if one[0] <= now]
    half_life = HALF_LIFE_HORIZONS * horizon_seconds
    peak = max(work, known.peak * 0.5 ** (elapsed / half_life))
    made = replace(known, level=work, peak=peak, pending=known.pending[len(due) :], at=now)
    for at, first, expected in due:
        if now - at <= _LATE_SECONDS:  # else nobody looked at its time
            made = _paired(made, first, work, elapsed=elapsed / len(due), half_life=half_life, expected=expected)
    if not made.pending or now + horizon_seconds - made.pending[-1][0] >= horizon_seconds / _PENDING:
        made = replace(made, pending=(*made.pending, (now + horizon_seconds, work, made.ahead())))
    return made


def rescaled(known: Forecast, unit: float) -> Forecast:
    """The same in another unit of work, of which each old one is so many."""
    xx, xy = known.squares
    return replace(
        known,
        level=known.level * unit,
        before=known.before * unit,
        after=known.after * unit,
        squares=(xx * unit**2, xy * unit**2),
        peak=known.peak * unit,
        surprise=known.surprise * unit,
        pending=tuple((at, first * unit, expected * unit) for at, first, expected in known.pending),
    )


def _paired(
    known: Forecast, first: float, second: float, *, elapsed: float, half_life: float, expected: float
) -> Forecast:
    """The sums with one pair more."""
    decay = 0.5 ** (elapsed / half_life)
    pairs = known.pairs * decay + 1.0
    dx, dy = first - known.before, second - known.after
    before, after = known.before + dx / pairs, known.after + dy / pairs
    xx, xy = known.squares
    squares = (xx * decay + dx * (first - before), xy * decay + dx * (second - after))
    error = second - expected
    surprise = known.surprise * decay + error * error / expected * (1.0 if error > 0 else _DOWNWARDS)
    return replace(known, pairs=pairs, before=before, after=after, squares=squares, surprise=surprise)
