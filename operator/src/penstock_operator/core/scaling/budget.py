"""The error-budget loop: how much reserve the objectives need, learned from the requests that missed them.

Two margins move. `sigmas` widens the forecast: it answers for requests that missed while the replicas were fewer than
the load needed. `tail` says how much longer the slowest requests take than the mean one, beyond what even an empty step
takes, and so how full a replica may be: it answers for those that missed while there was room. Each rises with its
misses, both fall with every request that was in time, so that in the long run the share of misses comes to what is
meant to be used of the budget, and nothing is kept for more. Misses come in crowds, when most is asked for, and the
loop counts seconds; so requests are counted too, for about a day: while more of the budget is used than is meant to be,
far less of it is aimed at. An objective that more than one request in a hundred may miss moves them by shares of its
budget, else every minute in time would take five times as much at 95 % as at 99 %.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

TAIL = 1.85
_SIGMAS_BOUNDS = (0.25, 4.0)
_TAIL_BOUNDS = (1.2, 8.0)
# Per second at which every request misses, in sigmas and in parts of the tail, for budgets up to the usual one.
_SIGMAS_GAIN = 0.05
_TAIL_GAIN = 0.025
_USUAL_BUDGET = 0.01
# A collapse says no more than this about the margins, or than so many times the budget: the backlog sees to it.
_WORST_SHARE, _WORST_BUDGETS = 0.2, 5.0
_LEAST_SERVED = 0.1
_FIRST_TOKEN = ("TTFT", "Any")  # objectives that a prompt can miss by its own length
_SPENT = 0.75  # share of the budget that is meant to be used,
_ANSWER = 3.0  # less by so much for each share that was used beyond it,
_SAVING = 0.1  # but not less than this
_HALF_LIFE_SECONDS = 86400.0  # of the account: loads that jump do so some times a day
_EXCUSED_SECONDS = 300.0  # of misses that no replica could help, at most: what they are fewer now may come later
_UNKNOWN_SECONDS = 600.0  # in which it begins to count
_LEAST_BUDGET = 1e-9  # requests


@dataclass(frozen=True, slots=True)
class Missed:
    """Requests judged by an objective, per second.

    Attributes:
        metric: of the objective; `Any` for requests that missed at least one.
        allowed: share that may miss it.
        met: per second.
        missed: per second.
    """

    metric: str
    allowed: float
    met: float
    missed: float

    @property
    def share(self) -> float:
        """That missed; 0 without any."""
        judged = self.met + self.missed
        return self.missed / judged if judged > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Margins:
    """What is kept in reserve.

    Attributes:
        sigmas: standard deviations of the forecast's error that are prepared for.
        tail: time per token of the slowest requests over the mean step, both less an empty step.
        seconds: that the account is of, decayed like its counts.
        judged: requests.
        missed: those of them that replicas could have served in time.
        excused: requests that no replica serves in time, as expected so far, beyond those that have missed.
    """

    sigmas: float = 0.0
    tail: float = TAIL
    seconds: float = 0.0
    judged: float = 0.0
    missed: float = 0.0
    excused: float = 0.0

    def aim(self, allowed: float) -> float:
        """Share of requests that is meant to miss now, for a budget of so many."""
        budget = allowed * self.judged
        if budget < _LEAST_BUDGET:
            return allowed * _SPENT
        known = self.seconds / (self.seconds + _UNKNOWN_SECONDS)
        overspent = _ANSWER * known * (self.missed / budget - _SPENT)
        return allowed * _inside(_SPENT - overspent, (_SAVING, _SPENT))


def begin(allowed: float | None) -> Margins:
    """Before anything was missed: as if errors of forecasts were normal.

    Args:
        allowed: share of requests that may miss the tightest objective; None without one.
    """
    if allowed is None:
        return Margins()
    return Margins(sigmas=_inside(NormalDist().inv_cdf(1.0 - _inside(allowed, (1e-6, 0.5))), _SIGMAS_BOUNDS))


def adjust(
    margins: Margins,
    seen: tuple[Missed, ...],
    *,
    short: bool,
    elapsed_seconds: float,
    unavoidable: float = 0.0,
    crowded: float = 1.0,
) -> Margins:
    """The margins after some seconds more.

    Args:
        margins: before.
        seen: what was judged in these seconds.
        short: the replicas were too few for the load, or requests waited beyond what is tolerated.
        elapsed_seconds: since the last time.
        unavoidable: share of requests whose first token comes too late on an idle replica; no margin helps them.
        crowded: share of requests that found no idle replica; no margin would have helped more of them.
    """
    judged = [one for one in seen if one.met + one.missed > 0]
    if not judged or elapsed_seconds <= 0:
        return margins
    errors = []
    for one in judged:
        share, excused = _share(one, unavoidable, margins.excused, elapsed_seconds)
        share = min(crowded, share)
        errors.append((_error(share, one, margins), share, excused, one))
    error, share, excused, worst = max(errors, key=lambda found: found[0])
    requests, decay = (worst.met + worst.missed) * elapsed_seconds, 0.5 ** (elapsed_seconds / _HALF_LIFE_SECONDS)
    sigmas = margins.sigmas + (_SIGMAS_GAIN * error * elapsed_seconds if short or error < 0 else 0.0)
    tail = margins.tail * (1.0 + (0.0 if short and error > 0 else _TAIL_GAIN * error * elapsed_seconds))
    return Margins(
        sigmas=_inside(sigmas, _SIGMAS_BOUNDS),
        tail=_inside(tail, _TAIL_BOUNDS),
        seconds=margins.seconds * decay + elapsed_seconds,
        judged=margins.judged * decay + requests,
        missed=margins.missed * decay + requests * share,
        excused=excused,
    )


def _share(one: Missed, unavoidable: float, excused: float, elapsed_seconds: float) -> tuple[float, float]:
    """Share of misses among those that replicas could have served in time, and what is excused from now on.

    Those that no replica serves in time come by chance: what they are fewer than expected is kept for when they are
    more. Else every tick with more would count, and none with fewer.
    """
    if one.metric not in _FIRST_TOKEN:
        return one.share, excused
    rate = one.met + one.missed
    expected = excused + unavoidable * rate * elapsed_seconds
    missed = one.missed * elapsed_seconds
    left = min(max(0.0, expected - missed), unavoidable * rate * _EXCUSED_SECONDS)
    helped = rate * elapsed_seconds * max(1.0 - unavoidable, _LEAST_SERVED)
    return max(0.0, missed - expected) / helped, left


def _error(share: float, one: Missed, margins: Margins) -> float:
    """How much more missed than is meant to; of budgets beyond the usual one as if they were that large."""
    error = min(share, _worst(one.allowed)) - margins.aim(one.allowed)
    return error * _USUAL_BUDGET / max(_USUAL_BUDGET, one.allowed)


def _worst(allowed: float) -> float:
    """Share of misses that counts at most, for a budget of so many."""
    return max(_WORST_SHARE, _WORST_BUDGETS * allowed)


def _inside(value: float, bounds: tuple[float, float]) -> float:
    return min(bounds[1], max(bounds[0], value))
