"""Load at the time when new replicas would be ready, as a straight line through what came of such loads so far.

The load comes as work (what one request costs, times requests per second), in any unit that does not change. Pairs of a
load and the load one start-up time later feed a regression that forgets over some twenty of these times. Its slope and
offset carry a ramp on, fall back to the mean where loads do not last, and stay where they do. The width is by how much
loads differ from what the line said before they came, a fall counting a third of a rise. Its square grows with the
load. So a steady service keeps hardly any reserve, and one with bursts keeps what its own bursts ask for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

from penstock_operator.core.scaling.season import BIN_SECONDS, EARLY_SECONDS, LATE_SECONDS

HALF_LIFE_HORIZONS = 20.0
_START_PAIRS = 8.0
_START_SPREAD = 0.3  # of loads, and
_START_ERROR = 0.06  # of forecasts, both over the first load
_STEEPEST = 1.3
_START_BEYOND = 0.07  # of loads over the peak before them
_MOST_BEYOND = 0.3  # that a pair says
_BEYOND_SHARE = 0.7  # that a sigma prepares for
_UNKNOWN = 20.0  # over the number of pairs
_PENDING = 24
_LATE_SECONDS = 30.0
_WARM_SECONDS = 60.0  # until what is counted over windows is whole
_LEAST_WORK = 1e-9
_NEWEST_CHANGE = 0.5  # weight of the last expected change in what the season is trusted with
_WORTH_CLAIMING = 1.2  # of the load
_CLAIM_SECONDS = EARLY_SECONDS + LATE_SECONDS + BIN_SECONDS  # beyond the horizon, by then it has come or will not
_WORTH_TELLING = 0.05  # of the load
_DOWNWARDS = 0.1  # of a square, where less came than expected


class Expected(NamedTuple):
    """A pair whose second half is to come.

    Attributes:
        at: Unix seconds of the second half.
        first: load of the first half.
        line: what the line expects of the second.
        low: least that the season expects beyond that.
        high: most.
        peak: highest load before the first half, fading.
    """

    at: float
    first: float
    line: float
    low: float = 0.0
    high: float = 0.0
    peak: float = 0.0


class Claim(NamedTuple):
    """A rise that the season expects.

    Attributes:
        until: Unix seconds by which it has come or will not.
        base: load when it was first expected.
        target: load that is expected.
        most: highest load since.
    """

    until: float
    base: float
    target: float
    most: float


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
        beyond: decayed sum of squares of the shares by which loads exceeded the peak before them.
        peak: highest load so far, fading.
        pending: pairs whose second half is to come, oldest first.
        since: Unix seconds of the first load.
        at: Unix seconds of the last update.
        jump: least and most that the season expects beyond the line; zeros where it expects no change.
        trust: share of the rises that the season expected that came, the last ones above all; 0 to 1.
        claim: the rise that it expects now; None while it does not.
    """

    level: float
    pairs: float
    before: float
    after: float
    squares: tuple[float, float]
    peak: float
    since: float
    surprise: float
    beyond: float = 0.0
    pending: tuple[Expected, ...] = ()
    at: float = 0.0
    jump: tuple[float, float] = (0.0, 0.0)
    trust: float = 1.0
    claim: Claim | None = None

    @property
    def slope(self) -> float:
        """Load to come per load of now."""
        return min(_STEEPEST, max(0.0, self.squares[1] / self.squares[0])) if self.squares[0] > 0 else 1.0

    @property
    def sigma(self) -> float:
        """How far loads came out from what was expected, rises above all, as a root mean square, in work per second."""
        return math.sqrt(self.surprise / self.pairs * self.level)

    def line(self) -> float:
        """Work per second one start-up time from now, by what followed on such loads."""
        return max(_LEAST_WORK, self.after + self.slope * (self.level - self.before))

    def ahead(self) -> float:
        """Work per second to expect one start-up time from now, or a little earlier or later."""
        return max(_LEAST_WORK, self.line() + self.trust * self.jump[1])

    @property
    def told(self) -> bool:
        """Whether the days before tell of more than the line, and are believed."""
        return self.trust * self.jump[1] > _WORTH_TELLING * self.level

    def growth(self, *, sigmas: float) -> float:
        """Load to prepare for, over the load of now; at least 1.

        What was never seen is not prepared for: the width reaches as far beyond the peak as loads used to go, and
        further only while little is known at all.
        """
        if self.level <= _LEAST_WORK:
            return 1.0
        beyond = sigmas * _BEYOND_SHARE * math.sqrt(self.beyond / self.pairs) + _UNKNOWN / self.pairs
        ahead, width, peak = self.ahead(), self.sigma, self.peak
        if self.jump != (0.0, 0.0):  # then what comes may be more than now, and was seen on the days before
            width, peak = width * math.sqrt(max(1.0, ahead / self.level)), max(peak, ahead)
        wanted = min(ahead + sigmas * width, peak * (1.0 + beyond))
        return max(1.0, ahead / self.level, wanted / self.level)


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
        beyond=_START_PAIRS * _START_BEYOND**2,
        peak=work,
        since=now if since is None else since,
        at=now,
    )


def follow(
    known: Forecast | None,
    work: float,
    *,
    now: float,
    horizon_seconds: float,
    season: tuple[float, float] | None = None,
) -> Forecast:
    """Fold in the load of now.

    Args:
        known: before; None at first.
        work: per second, smoothed.
        now: Unix seconds.
        horizon_seconds: how far ahead forecasts are needed.
        season: least and most work per second that the days before make expect then; None = no change.
    """
    work = max(work, _LEAST_WORK)
    if known is None:
        return begin(work, now=now)
    if now - known.since < _WARM_SECONDS:
        return begin(work, now=now, since=known.since)
    elapsed = max(0.0, now - known.at)
    due = [one for one in known.pending if one.at <= now]
    half_life = HALF_LIFE_HORIZONS * horizon_seconds
    peak = max(work, known.peak * 0.5 ** (elapsed / half_life))
    made = replace(known, level=work, peak=peak, pending=known.pending[len(due) :], at=now)
    for one in due:
        if now - one.at <= _LATE_SECONDS:  # else nobody looked at its time
            made = _paired(made, one, work, elapsed=elapsed / len(due), half_life=half_life)
    line = made.line()
    made = replace(made, jump=(0.0, 0.0) if season is None else (season[0] - line, season[1] - line))
    if made.claim is not None or season is not None:
        made = _claimed(made, horizon_seconds=horizon_seconds)
    if not made.pending or now + horizon_seconds - made.pending[-1].at >= horizon_seconds / _PENDING:
        pair = Expected(now + horizon_seconds, work, line, *made.jump, peak=peak)
        made = replace(made, pending=(*made.pending, pair))
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
        pending=tuple(Expected(one.at, *(part * unit for part in one[1:])) for one in known.pending),
        jump=(known.jump[0] * unit, known.jump[1] * unit),
        claim=None if known.claim is None else Claim(known.claim.until, *(part * unit for part in known.claim[1:])),
    )


def _paired(known: Forecast, one: Expected, second: float, *, elapsed: float, half_life: float) -> Forecast:
    """The sums with one pair more."""
    decay = 0.5 ** (elapsed / half_life)
    pairs = known.pairs * decay + 1.0
    low, high = (max(_LEAST_WORK, one.line + known.trust * part) for part in (one.low, one.high))
    expected = min(high, max(low, second))  # what was expected early or late, on purpose, is no error
    dx, dy = one.first - known.before, second - known.after
    before, after = known.before + dx / pairs, known.after + dy / pairs
    xx, xy = known.squares
    squares = (xx * decay + dx * (one.first - before), xy * decay + dx * (second - after))
    error = second - expected
    surprise = known.surprise * decay + error * error / expected * (1.0 if error > 0 else _DOWNWARDS)
    over = min(_MOST_BEYOND, max(0.0, second / max(one.peak, _LEAST_WORK) - 1.0))
    beyond = known.beyond * decay + over * over
    return replace(known, pairs=pairs, before=before, after=after, squares=squares, surprise=surprise, beyond=beyond)


def _claimed(known: Forecast, *, horizon_seconds: float) -> Forecast:
    """With what became of the rise that the season expects, or expected until now."""
    claim, up = known.claim, known.line() + known.jump[1]
    if claim is not None and known.at >= claim.until:
        came = min(1.0, max(0.0, (claim.most - claim.base) / (claim.target - claim.base)))
        known = replace(known, trust=known.trust + _NEWEST_CHANGE * (came - known.trust), claim=None)
    elif claim is not None:
        known = replace(known, claim=claim._replace(most=max(claim.most, known.level), target=max(claim.target, up)))
    elif known.jump != (0.0, 0.0) and up > _WORTH_CLAIMING * known.level:
        until = known.at + horizon_seconds + _CLAIM_SECONDS
        known = replace(known, claim=Claim(until, base=known.level, target=up, most=known.level))
    return known
