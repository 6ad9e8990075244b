"""How long replicas that nobody needs are kept: ski rental, with the prices of this service and what its load did.

To keep a replica costs its time. To let it go costs a start-up in which requests miss, if the load comes back. Nobody
knows when it will, but how it came back before is known: beside the user's stabilisation window some longer ones are
followed as if they were in force, each with the replica-seconds that it would have kept and those that it would have
lacked. The cheapest so far is the one that counts. What a lacking replica-second is worth follows from the reserve that
the error budget asks for: who prepares for z standard deviations pays for each one that is used with those that are not
(the newsvendor's critical ratio).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

WINDOWS = (1.0, 2.0, 4.0, 8.0, 16.0)  # of the user's
_LONGEST_SECONDS = 3600.0  # unless the user's is longer
_HALF_LIFE_WINDOWS = 120.0  # four hours at two minutes
_ROUNDING = 1e-9
_LONGEST_GAP_SECONDS = 60.0  # between two ticks; of a longer one nothing is known

History = tuple[tuple[float, int], ...]


@dataclass(frozen=True, slots=True)
class Rental:
    """What each window would have cost.

    Attributes:
        history: (Unix seconds, replicas that the load needed) of the longest window, without those that a later and
            larger one outdates; oldest first.
        kept: replica-seconds, decayed, by the windows of `WINDOWS`.
        lacked: replica-seconds that a start-up took while the load was back, likewise.
        at: Unix seconds of the last update.
    """

    history: History = ()
    kept: tuple[float, ...] = (0.0,) * len(WINDOWS)
    lacked: tuple[float, ...] = (0.0,) * len(WINDOWS)
    at: float | None = None


def price(sigmas: float) -> float:
    """Replica-seconds that are worth one which is lacking, for a reserve of so many standard deviations."""
    share = NormalDist().cdf(sigmas)
    return share / (1.0 - share)


def _windows(shortest: float) -> list[float]:
    return [min(shortest * factor, max(shortest, _LONGEST_SECONDS)) for factor in WINDOWS]


def window_seconds(known: Rental, *, shortest: float, sigmas: float) -> float:
    """The window that would have been cheapest, not below the user's."""
    worth = price(sigmas)
    costs = [kept + worth * lacked for kept, lacked in zip(known.kept, known.lacked, strict=True)]
    return _windows(shortest)[costs.index(min(costs))]


def held(known: Rental, *, now: float, seconds: float) -> int:
    """Most replicas that the load needed over the last seconds."""
    return max((count for at, count in known.history if at > now - seconds), default=0)


def follow(known: Rental, busy: float, *, now: float, shortest: float, horizon_seconds: float, anyway: int) -> Rental:
    """What each window would have cost, with one tick more.

    Args:
        known: before.
        busy: replicas that the load of now needs.
        now: Unix seconds.
        shortest: the user's window.
        horizon_seconds: from the decision for a replica until it serves.
        anyway: replicas that the shortest window would have with the reserve of the forecast, which no window lacks.
    """
    elapsed = 0.0 if known.at is None else max(0.0, min(_LONGEST_GAP_SECONDS, now - known.at))
    decay = 0.5 ** (elapsed / (_HALF_LIFE_WINDOWS * shortest))
    needed = math.ceil(busy - _ROUNDING)
    kept, lacked = [], []
    windows = _windows(shortest)
    for index, seconds in enumerate(windows):
        had = held(known, now=now, seconds=seconds)
        kept.append(known.kept[index] * decay + max(needed, had) * elapsed)
        lacked.append(
            known.lacked[index] * decay + max(0.0, busy - max(had, anyway) if known.history else 0.0) * horizon_seconds
        )
    oldest = now - windows[-1]
    history = (*(one for one in known.history if one[0] > oldest and one[1] > needed), (now, needed))
    return Rental(history, tuple(kept), tuple(lacked), now)
