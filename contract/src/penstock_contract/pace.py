"""How many sequences a worker may have so that tokens still come as fast as an objective asks.

Every answer that ends says how long its tokens took and how many sequences its worker had. Two lines are drawn through
these points: one through those of the last minutes, which says what a token takes beside nobody, and from there one
through the mean of the last half minute, which says what each sequence adds with the prompts and answers of now. Where
the second line comes near the objective there are as many sequences as a worker should have. Near is counted from what
a token takes beside nobody, since that is the same for all of them; only what comes on top differs.

The gateway holds requests by this number, and the simulated gateway by the same code.
"""

from __future__ import annotations

import math
from typing import Final

FOLD_SECONDS: Final = 5.0
LATE_SHARE: Final = 0.85  # of the bound on the wait for a first token: what is older can hardly keep it
OVERDUE_SHARE: Final = 0.5  # of the longest time that a request is held: from then on it gets its turn
LATE_TURN: Final = 4  # of so many places one goes to the oldest request, while that is overdue
_MEANT: Final = 0.85  # of what an objective leaves beside a token alone: neighbours' prompts slow some down
_NOW_SECONDS, _LINE_SECONDS = 30.0, 300.0  # half-lives
_LEAST_ANSWERS = 5.0
_LEAST_SEQUENCES: Final = 16.0  # fewer are slowed by prompts more than by each other, which holding does not help
_ALONE_SHARE: Final = 0.5  # of a mean token's time is what it takes beside nobody, until more is known
_PRIOR: Final = 0.01  # weight of that, in squares of the mean number of sequences
_MOST_ALONE: Final = 0.9
_SURE: Final = 4.0  # times the prior's weight is what was seen of the line, when it may say that nothing helps
_STALE_SECONDS: Final = 600.0  # without news

Sums = tuple[float, float, float, float, float]


class Pace:
    """What the answers of one service say of its workers' speed.

    Attributes:
        sums: of the answers since the last fold: their number, sequences, seconds, sequences squared, and sequences
            times seconds.
    """

    __slots__ = ("_kept", "_line", "_now", "_silent", "sums")

    def __init__(self) -> None:
        self.sums: Sums = (0.0, 0.0, 0.0, 0.0, 0.0)
        self._now: Sums = self.sums
        self._line: Sums = self.sums
        self._kept = math.inf
        self._silent = 0.0

    def observe(self, sequences: float, seconds: float) -> None:
        """An answer has ended; one whose time cannot be says nothing.

        Args:
            sequences: that its worker had meanwhile on average, its own among them.
            seconds: mean time of each of its tokens after the first.
        """
        if not 0.0 <= seconds < math.inf:
            return
        count, total, time, squares, products = self.sums
        self.sums = (
            count + 1,
            total + sequences,
            time + seconds,
            squares + sequences * sequences,
            products + sequences * seconds,
        )

    def fold(self, elapsed: float) -> None:
        """Take in what was observed; what is older counts less.

        Args:
            elapsed: seconds since the last time.
        """
        self._now = _folded(self._now, self.sums, 0.5 ** (elapsed / _NOW_SECONDS))
        self._line = _folded(self._line, self.sums, 0.5 ** (elapsed / _LINE_SECONDS))
        self.sums = (0.0, 0.0, 0.0, 0.0, 0.0)
        self._silent += elapsed

    def most(self, objective: float) -> float:
        """Sequences that a worker may have.

        Args:
            objective: seconds per token.

        Returns:
            At least 16; what was last known while too few answers end, for ten minutes; infinity before, after, and
            where tokens take longer than that beside nobody.
        """
        count, total, time, _, _ = self._now
        if count >= _LEAST_ANSWERS:
            self._kept, self._silent = self._reckoned(objective, total / count, time / count), 0.0
        elif self._silent > _STALE_SECONDS:
            self._kept = math.inf
        return self._kept

    def _reckoned(self, objective: float, sequences: float, seconds: float) -> float:
        """Sequences beside which tokens keep to the objective, if they take `seconds` beside `sequences`."""
        alone, sure = self._alone()
        if sure and alone >= objective:
            return math.inf
        alone = min(alone, _MOST_ALONE * seconds)
        room, each = _MEANT * (objective - alone), (seconds - alone) / sequences
        return math.inf if each <= 0.0 else max(room / each, _LEAST_SEQUENCES)

    def _alone(self) -> tuple[float, bool]:
        """Seconds that a token takes beside nobody, and whether enough was seen to be sure of it."""
        count, total, time, squares, products = self._line
        sequences, seconds = total / count, time / count
        prior = _PRIOR * sequences * sequences
        spread = max(0.0, squares / count - sequences * sequences)
        together = products / count - sequences * seconds + prior * (1.0 - _ALONE_SHARE) * seconds / sequences
        return max(0.0, seconds - together / (spread + prior) * sequences), spread >= _SURE * prior


def _folded(known: Sums, new: Sums, weight: float) -> Sums:
    return (
        weight * known[0] + new[0],
        weight * known[1] + new[1],
        weight * known[2] + new[2],
        weight * known[3] + new[3],
        weight * known[4] + new[4],
    )
