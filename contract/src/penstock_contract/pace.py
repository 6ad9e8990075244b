"""How many sequences a worker may have so that tokens still come as fast as an objective asks.

Every answer that ends says how long its tokens took and how many sequences its worker had. Two lines are drawn through
these points: one through those of the last minutes, which says what a token takes beside nobody, and from there one
through the mean of the last half minute, which says what each sequence adds with the prompts and answers of now. Where
the second line reaches the objective there are as many sequences as a worker should have.

The gateway holds requests by this number, and the simulated gateway by the same code.
"""

from __future__ import annotations

import math
from typing import Final

FOLD_SECONDS: Final = 5.0
LATE_SHARE: Final = 0.85  # of the bound on the wait for a first token: what is older can hardly keep it
OVERDUE_SHARE: Final = 0.5  # of the longest time that a request is held: from then on it gets its turn
LATE_TURN: Final = 4  # of so many places one goes to the oldest request, while that is overdue
_MEANT: Final = 0.85  # of the objective is what the mean may take: its neighbours' prompts slow some down
_NOW_SECONDS, _LINE_SECONDS = 30.0, 300.0  # half-lives
_LEAST_ANSWERS = 5.0
_LEAST_SEQUENCES: Final = 16.0  # fewer are slowed by prompts more than by each other, which holding does not help
_ALONE_SHARE: Final = 0.1  # of a mean token's time is what it takes beside nobody, until more is known
_PRIOR: Final = 0.01  # weight of that, in squares of the mean number of sequences
_MOST_ALONE: Final = 0.9
_SLOWEST_ALONE: Final = 1.25  # times what a token takes beside nobody is asked for at least

Sums = tuple[float, float, float, float, float]


class Pace:
    """What the answers of one service say of its workers' speed.

    Attributes:
        sums: of the answers since the last fold: their number, sequences, seconds, sequences squared, and sequences
            times seconds.
    """

    __slots__ = ("_line", "_now", "sums")

    def __init__(self) -> None:
        self.sums: Sums = (0.0, 0.0, 0.0, 0.0, 0.0)
        self._now: Sums = self.sums
        self._line: Sums = self.sums

    def observe(self, sequences: float, seconds: float) -> None:
        """An answer has ended.

        Args:
            sequences: that its worker had then, its own among them.
            seconds: mean time of each of its tokens after the first.
        """
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

    def most(self, objective: float) -> float | None:
        """Sequences that a worker may have.

        Args:
            objective: seconds per token.

        Returns:
            None while too few answers ended lately to say anything new.
        """
        count, total, time, _, _ = self._now
        if count < _LEAST_ANSWERS:
            return None
        sequences, seconds = total / count, time / count
        alone = min(self._alone(), _MOST_ALONE * seconds)
        each = (seconds - alone) / sequences
        if each <= 0:
            return math.inf
        most = (max(_MEANT * objective, _SLOWEST_ALONE * alone) - alone) / each
        return max(most, _LEAST_SEQUENCES)

    def _alone(self) -> float:
        """Seconds that a token takes beside nobody."""
        count, total, time, squares, products = self._line
        sequences, seconds = total / count, time / count
        prior = _PRIOR * sequences * sequences
        spread = squares / count - sequences * sequences + prior
        together = products / count - sequences * seconds + prior * (1.0 - _ALONE_SHARE) * seconds / sequences
        return max(0.0, seconds - together / spread * sequences)


def _folded(known: Sums, new: Sums, weight: float) -> Sums:
    return (
        weight * known[0] + new[0],
        weight * known[1] + new[1],
        weight * known[2] + new[2],
        weight * known[3] + new[3],
        weight * known[4] + new[4],
    )
