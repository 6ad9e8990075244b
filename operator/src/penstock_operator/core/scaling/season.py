"""What the days before say about the load soon: how much more or less of it than now there was at the same times.

A day is kept as mean loads of short bins, over several days a mean that forgets. Only changes are taken from it,
relative to the load of now: a day with twice the load of yesterday has the same season. An expected load is a range,
from what is sure to what may come a little earlier or later than it did. What was not seen is not expected, changes as
small as the noise are none, and no more is expected than there was then, by how today compares with the days before.
Once the time of an expected change is over, nothing is expected of it any more, whether it came or not.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, replace

DAY_SECONDS = 86_400.0
BIN_SECONDS = 60.0
BINS = int(DAY_SECONDS / BIN_SECONDS)
EARLY_SECONDS = BIN_SECONDS  # that a change may come before the time at which it came
LATE_SECONDS = BIN_SECONDS  # … and after it
_LEAST_CHANGE = 0.25  # of a load: smaller ones are left to the line
_NOISES = 3.0  # mean differences between one bin and the next that a change must have
_MOST_NOISE = 0.5  # of a difference: more is a change
_NEW_DAY = 1.0 / 3.0  # weight of a day in the mean: a step of working days outlasts a weekend, at half its height
_WHOLE = 0.5  # of a bin that was seen, for it to count
_LATELY_BINS = 3600.0 / BIN_SECONDS  # half-life of how today compares with the days before, and of the noise
_LONGEST_TICK_SECONDS = 60.0
_LEAST_LOAD, _MOST_LOAD = 1e-9, 1e38
_NUMBER = struct.Struct("<f")
_UNKNOWN = struct.pack("<f", math.nan) * BINS


@dataclass(frozen=True, slots=True)
class Season:
    """Mean loads over a day, in a unit of its own.

    Attributes:
        number: of the bin under way, counted from 1970.
        at: Unix seconds of the last update.
        bins: 32-bit floats, one for each bin of a day; NaN where nothing was seen.
        unit: work per second of now for each of its own; 0 while it is requests per second, and their cost not known.
        total: load of the bin under way, times seconds.
        seconds: of that bin that were seen.
        last: load of the bin before, today; None when it was not seen.
        former: … on the days before; None when it was not.
        noise: by how much of its load a bin differs from the one before, a mean.
        today: load of late, decayed sum over bins that the days before have too.
        before: the same of the days before.
    """

    number: int
    at: float
    bins: bytes = _UNKNOWN
    unit: float = 1.0
    total: float = 0.0
    seconds: float = 0.0
    last: float | None = None
    former: float | None = None
    noise: float = 0.1
    today: float = 0.0
    before: float = 0.0

    def of(self, number: int) -> float:
        """Load of a bin on the days before, in own units; NaN where none was seen."""
        return float(_NUMBER.unpack_from(self.bins, _NUMBER.size * (number % BINS))[0])

    def between(self, begin: float, end: float) -> tuple[float, float]:
        """Least and most of the bins that a time touches; NaN when any is unknown."""
        found = [self.of(number) for number in range(int(begin // BIN_SECONDS), int(end // BIN_SECONDS) + 1)]
        return (math.nan, math.nan) if any(map(math.isnan, found)) else (min(found), max(found))

    def expect(self, level: float, *, at: float) -> tuple[float, float] | None:
        """Least and most work per second to expect at a time.

        Args:
            level: work per second now.
            at: Unix seconds, later than now.

        Returns:
            The range; None where the days before tell of no change, or nothing.
        """
        low, high = self.between(max(self.at, at - LATE_SECONDS), at + EARLY_SECONDS)
        here = self.of(self.number)
        if level <= 0.0 or self.former is None or math.isnan(low + here):
            return None
        least, most = min(self.former, here), max(self.former, here)
        change = 1.0 + max(_LEAST_CHANGE, _NOISES * self.noise)
        if high <= change * least and most <= change * low:
            return None
        now = (self.today / self.before if self.before > 0 else 1.0) * self.unit  # work per second for each of then
        up = min(level * high / max(least, _LEAST_LOAD), max(level, high * now))
        down = max(level * low / max(most, _LEAST_LOAD), min(level, low * now))
        return min(down, up), up


def follow(known: Season | None, work: float, *, now: float) -> Season:
    """Fold in the load of the time since the last one; at the end of a bin, the bin.

    Args:
        known: before; None at first.
        work: per second.
        now: Unix seconds.
    """
    number = int(now // BIN_SECONDS)
    if known is None:
        return Season(number, now)
    elapsed = now - known.at
    seen = elapsed if 0.0 < elapsed <= _LONGEST_TICK_SECONDS else 0.0
    total, seconds = known.total + work / known.unit * seen, known.seconds + seen
    if number == known.number:
        return replace(known, at=now, total=total, seconds=seconds)
    former = known.of(number - 1)  # without today
    ended = _ended(known, total / seconds) if seconds >= _WHOLE * BIN_SECONDS else replace(known, last=None)
    return replace(ended, number=number, at=now, total=0.0, seconds=0.0, former=None if math.isnan(former) else former)


def rescaled(known: Season, unit: float) -> Season:
    """The same in another unit of work, of which each old one is so many."""
    return replace(known, unit=known.unit * unit)


def priced(known: Season, cost: float) -> Season:
    """One that was recalled in requests, in work: of what a request costs now."""
    return known if known.unit > 0 else replace(known, unit=cost)


class Recollection:
    """A season that is put together from mean loads that somebody else has kept, in requests per second."""

    def __init__(self) -> None:
        self._bins = bytearray(_UNKNOWN)

    def note(self, load: float, *, end: float, seconds: float) -> None:
        """One mean load.

        Args:
            load: requests per second.
            end: Unix seconds of its end.
            seconds: that it is the mean of.
        """
        for number in range(round((end - seconds) / BIN_SECONDS), round(end / BIN_SECONDS)):
            _put(self._bins, number, load)

    def season(self, *, now: float) -> Season:
        """What there is, for `priced`."""
        return Season(int(now // BIN_SECONDS), now, bins=bytes(self._bins), unit=0.0)


def _ended(known: Season, load: float) -> Season:
    """With the bin under way in the mean."""
    before, fade = known.of(known.number), 0.5 ** (1.0 / _LATELY_BINS)
    bins = bytearray(known.bins)
    _put(bins, known.number, load if math.isnan(before) else before + _NEW_DAY * (load - before))
    ended = replace(known, bins=bytes(bins), last=load)
    if known.last is not None and known.last + load > 0:
        apart = min(_MOST_NOISE, 2.0 * abs(load - known.last) / (load + known.last))
        ended = replace(ended, noise=known.noise + (1.0 - fade) * (apart - known.noise))
    if not math.isnan(before):
        ended = replace(ended, today=known.today * fade + load, before=known.before * fade + before)
    return ended


def _put(bins: bytearray, number: int, load: float) -> None:
    _NUMBER.pack_into(bins, _NUMBER.size * (number % BINS), min(_MOST_LOAD, max(0.0, load)))
