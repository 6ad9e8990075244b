"""What a number of replicas would do to the objectives: the share of requests that would meet them.

Three things decide it. The load that comes is not known: it is taken as normal, with the forecast's mean and width.
Under a given load the time per token differs from request to request: what it has beyond an empty step is taken as
lognormal about its mean, with the tail of the margins. And first tokens wait for one another (`firsttoken`), whatever
the pace of the tokens after them: both shares are multiplied. A load beyond what the replicas can carry at all meets
nothing. Without a step model only the first counts.
"""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import NormalDist

from penstock_operator.core.scaling import capacity, demand, firsttoken, learning
from penstock_operator.core.scaling.budget import Margins
from penstock_operator.core.scaling.forecast import Forecast
from penstock_operator.core.scaling.memory import Memory
from penstock_operator.core.scaling.types import Policy, Prediction

_NORMAL = NormalDist()
_POINTS = tuple(_NORMAL.inv_cdf((index + 0.5) / 9) for index in range(9))
_FEW_POINTS = ((1 / 6, -math.sqrt(3.0)), (2 / 3, 0.0), (1 / 6, math.sqrt(3.0)))  # weights and points of Gauss-Hermite
_NEXT_TO_NONE = 1e-4
_TAIL_QUANTILE = _NORMAL.inv_cdf(0.99)


def around(policy: Policy, memory: Memory, busy: float | None, *, replicas: int) -> tuple[Prediction, ...]:
    """Predictions for one fewer, as many, and one more; empty while too little is known.

    Args:
        policy: with the objective on the time per token.
        memory: of this tick.
        busy: replicas that the load of now keeps as busy as they may be; None = unknown.
        replicas: in the middle.
    """
    known, margins = memory.forecast, memory.margins
    if policy.allowed is None or not busy or known is None or margins is None or known.level <= 0 or replicas <= 0:
        return ()
    length = demand.tokens_per_request(memory.output)
    offered, within = (memory.arrivals or 0.0) * (length or 0.0), _bound(policy, memory)
    return tuple(
        Prediction(
            count,
            _attainment(policy, memory, known, margins, busy / count) * _first(within, known, offered / count, count),
        )
        for count in (replicas - 1, replicas, replicas + 1)
        if count > 0
    )


def _attainment(policy: Policy, memory: Memory, known: Forecast, margins: Margins, fullness: float) -> float:
    """Share of requests; `fullness` is how full the replicas are now, 1 where the objectives are just met."""
    expected, width = known.ahead() / known.level, known.sigma / known.level
    loads = (max(0.0, expected + width * point) * fullness for point in _POINTS)
    return sum(_in_time(policy, memory, margins, load) for load in loads) / len(_POINTS)


def _bound(policy: Policy, memory: Memory) -> firsttoken.Bound | None:
    """The bound on first tokens; None without one, or while too little is known."""
    if policy.ttft_seconds is None or policy.target_tokens_per_second is not None:
        return None
    of = learning.prefill_of(policy, memory, replicas=1)
    return None if of is None else firsttoken.bound(of, seconds=policy.ttft_seconds)


def _first(within: firsttoken.Bound | None, known: Forecast, load: float, replicas: int) -> float:
    """Share of the first tokens that come in time; `load` is what is offered to each of the replicas now."""
    if within is None:
        return 1.0
    within = replace(within, of=replace(within.of, replicas=replicas))
    expected, width = known.ahead() / known.level, known.sigma / known.level
    late = within.late((expected + width * _FEW_POINTS[-1][1]) * load)
    if late > _NEXT_TO_NONE:  # else it is less under less load
        late = sum(weight * within.late(max(0.0, expected + width * point) * load) for weight, point in _FEW_POINTS)
    return 1.0 - late


def _in_time(policy: Policy, memory: Memory, margins: Margins, fullness: float) -> float:
    """Share of the requests that are in time under one load."""
    if policy.tpot_seconds is None or memory.fit is None or not capacity.modelled(memory.fit):
        return 1.0 if fullness <= 1.0 else 0.0
    base = memory.fit.theta[0]
    if base >= policy.tpot_seconds:
        return 0.0
    bound = capacity.longest_step(policy.tpot_seconds, base, margins.tail)
    # At the bound a step is all but `base` useful work, and useful work is in proportion to the load.
    useful = fullness * max(0.0, 1.0 - base / bound)
    if useful >= 1.0:
        return 0.0
    beyond = max(base * useful / (1.0 - useful), 1e-9)
    spread = max(1e-6, math.log(margins.tail) / _TAIL_QUANTILE)
    return _NORMAL.cdf(math.log((policy.tpot_seconds - base) / beyond) / spread)
