"""Who waits for a worker, and who is next.

First come, first served, among those whose first token can still be in time. Who cannot keep that objective any more
has nothing to lose by waiting and lets the others go first; but from half of the longest time that a request is held it
gets every fourth place, so that it is answered late rather than sent away. Without an objective nobody is ever late.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

from penstock_contract.pace import LATE_TURN, OVERDUE_SHARE


class Arrived(Protocol):
    """What waits.

    Attributes:
        arrived: when it came.
    """

    arrived: float


Claim = TypeVar("Claim", bound=Arrived)


class Waiting(Generic[Claim]):
    """Claims in the order in which they are served.

    Attributes:
        late_seconds: age from which a claim is late.
        hold_seconds: longest age.
    """

    def __init__(self) -> None:
        self.late_seconds = math.inf
        self.hold_seconds = 120.0
        self._first: OrderedDict[Claim, None] = OrderedDict()  # back from a worker that did not take them
        self._in_time: OrderedDict[Claim, None] = OrderedDict()
        self._late: OrderedDict[Claim, None] = OrderedDict()
        self._places = 0  # that were given while one was overdue, since the last that it got

    def __len__(self) -> int:
        return len(self._first) + len(self._in_time) + len(self._late)

    def __iter__(self) -> Iterator[Claim]:
        for line in (self._first, self._in_time, self._late):
            yield from line

    @property
    def oldest(self) -> float | None:
        """When the one came that waits for longest; None if nobody waits."""
        return min((claim.arrived for claim in self), default=None)  # a body may have taken long to come

    def append(self, claim: Claim, *, first: bool) -> None:
        """Somebody waits from now on, before all others if `first`."""
        line = self._first if first else self._in_time
        line[claim] = None
        if first:
            line.move_to_end(claim, last=False)

    def discard(self, claim: Claim) -> None:
        """Somebody does not wait any more, if ever."""
        for line in (self._first, self._in_time, self._late):
            line.pop(claim, None)

    def served(self, claim: Claim, now: float) -> None:
        """Somebody got a worker."""
        if self._late and self._overdue(now):
            self._places = (self._places + 1) % LATE_TURN
        self.discard(claim)

    def next(self, now: float) -> Claim:
        """Who is to get the next worker; somebody must wait."""
        in_time, late = self._in_time, self._late
        while in_time and now - (head := next(iter(in_time))).arrived > self.late_seconds:
            del in_time[head]
            late[head] = None
        if self._first:
            return next(iter(self._first))
        turn = bool(late) and (not in_time or (self._places == LATE_TURN - 1 and self._overdue(now)))
        return next(iter(late if turn else in_time))

    def _overdue(self, now: float) -> bool:
        """Whether the oldest late one has waited for too long to give way to everybody."""
        return now - next(iter(self._late)).arrived > OVERDUE_SHARE * self.hold_seconds
