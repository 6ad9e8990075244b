"""What replicas were seen to carry in time: the load of the last minutes while few enough requests missed.

A model may be wrong; what was seen counts for more, as far as enough requests were judged to tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from penstock_operator.core.scaling.budget import Missed

_HALF_LIFE_SECONDS = 120.0
_LEAST_EXPECTED = 2.0  # misses that the judged requests may have: with fewer requests none says little


@dataclass(frozen=True, slots=True)
class Proof:
    """Requests of the last minutes; sums decay.

    Attributes:
        judged: by the objective that most missed.
        missed: of them.
        load: mean work per second and replica of that time.
        seconds: of that time.
    """

    judged: float = 0.0
    missed: float = 0.0
    load: float = 0.0
    seconds: float = 0.0

    def carried(self, allowed: float, *, unavoidable: float = 0.0) -> float | None:
        """Work per second that a replica carries in time; None while that is not shown.

        Args:
            allowed: share of the requests that may miss.
            unavoidable: share of them that any replica would serve late.
        """
        most = (unavoidable + (1.0 - unavoidable) * allowed) * self.judged
        if self.judged * allowed < _LEAST_EXPECTED or self.missed > most:
            return None
        return self.load


def fold(known: Proof | None, seen: Sequence[Missed], *, load: float, elapsed_seconds: float) -> Proof | None:
    """With some seconds more.

    Args:
        known: before; None at first.
        seen: what was judged in them.
        load: work per second and replica in them.
        elapsed_seconds: how many.
    """
    if not seen or elapsed_seconds <= 0:
        return known
    worst, old = max(seen, key=lambda one: one.share), known or Proof()
    decay = 0.5 ** (elapsed_seconds / _HALF_LIFE_SECONDS)
    seconds = old.seconds * decay + elapsed_seconds
    return Proof(
        old.judged * decay + (worst.met + worst.missed) * elapsed_seconds,
        old.missed * decay + worst.missed * elapsed_seconds,
        old.load + (load - old.load) * elapsed_seconds / seconds,
        seconds,
    )
