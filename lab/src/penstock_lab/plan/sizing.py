"""How many replicas a demand takes under an SLA, with chance in it, and how sure that is.

Requests in flight on evenly loaded replicas are a birth-death process: they come at random at λ a second, and n of them
on N replicas end at n / (O·s(n/N)) a second, with s(b) the step that b sequences make. Its stationary law has a product
form that depends on the mean length only. A request attains when it finds the replicas no fuller than the SLA and the
engine's limits allow, so attainment(N) is that law's share there: on the safe side, since a request that comes at a
full moment sees emptier ones too. First tokens are a bound of their own (`replica.ttft_seconds`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from penstock_contract.profile import Profile
from penstock_contract.step import StepModel
from penstock_lab.plan import replica as closed
from penstock_lab.plan.demand import Demand
from penstock_lab.plan.errors import PlanError
from penstock_lab.plan.replica import Replica
from penstock_lab.plan.sla import Sla

MOST_REPLICAS = 20_000
_MOST_STATES = 20_000_000


@dataclass(frozen=True, slots=True)
class Count:
    """A number of replicas and what it would mean.

    Attributes:
        replicas: N.
        busy: demand over what N replicas carry in balance.
        attainment: predicted share of requests within the SLA's time per token; 0 when they cannot keep up.
        ttft_seconds: predicted percentile of the time to the first token; infinite when they cannot keep up.
        enough: both are as the SLA asks.
    """

    replicas: int
    busy: float
    attainment: float
    ttft_seconds: float
    enough: bool


@dataclass(frozen=True, slots=True)
class Size:
    """The answer for one profile.

    Attributes:
        profile: one replica.
        one: what it carries at its bound.
        chosen: the fewest replicas that are enough; None when none are.
        around: counts next to it, itself included.
        fewest: replicas if every step were faster by the model's error.
        most: … slower; None when no number would do then.
        at_mean: replicas for the mean rate of a trace; as `chosen` without one.
        error: of the step model, as a share.
    """

    profile: Profile
    one: Replica
    chosen: Count | None
    around: tuple[Count, ...] = ()
    fewest: int = 0
    most: int | None = None
    at_mean: int = 0
    error: float = 0.0


def size(profile: Profile, demand: Demand, sla: Sla, *, error: float) -> Size:
    """The fewest replicas of a profile, those next to it, and what the model's error makes of it.

    Raises:
        PlanError: it takes more than MOST_REPLICAS.
    """
    one = closed.at_bound(profile, demand, sla)
    found = fewest(profile, demand, sla)
    if found is None:
        return Size(profile, one, None, error=error)
    near = sorted({max(1, found - 1), found, found + 1})
    low = fewest(_slower(profile, 1 - error), demand, sla)
    return Size(
        profile=profile,
        one=one,
        chosen=count(profile, demand, sla, found),
        around=tuple(count(profile, demand, sla, number) for number in near),
        fewest=low or found,
        most=fewest(_slower(profile, 1 + error), demand, sla),
        at_mean=fewest(profile, demand.at(demand.mean_requests_per_second), sla) or found,
        error=error,
    )


def fewest(profile: Profile, demand: Demand, sla: Sla) -> int | None:
    """The fewest replicas that are enough; None when no number is."""
    one = closed.at_bound(profile, demand, sla)
    if one.impossible or not one.requests_per_second:
        return None
    low = max(0, math.ceil(demand.requests_per_second / one.requests_per_second) - 1)
    high = max(1, low)
    while not count(profile, demand, sla, high).enough:
        low, high = high, 2 * high
        if high > MOST_REPLICAS:
            raise PlanError(
                f"{demand.said} takes more than {MOST_REPLICAS} replicas of {profile.name}: "
                "see whether the rate, the lengths or the SLA are meant so"
            )
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if count(profile, demand, sla, middle).enough else (middle, high)
    return high


def count(profile: Profile, demand: Demand, sla: Sla, replicas: int) -> Count:
    """What a number of replicas would mean."""
    each = demand.requests_per_second / replicas
    one = closed.at_bound(profile, demand, sla)
    first = closed.ttft_seconds(profile, demand, sla, each)
    attained = attainment(profile, demand, sla, replicas)
    in_time = sla.ttft_seconds is None or first <= sla.ttft_seconds
    busy = each / one.requests_per_second if one.requests_per_second else math.inf
    return Count(replicas, busy, attained, first, enough=in_time and attained >= sla.share)


def attainment(profile: Profile, demand: Demand, sla: Sla, replicas: int) -> float:
    """Share of requests that find the replicas no fuller than the SLA allows (the module's description)."""
    model, output = profile.model, demand.output_tokens
    context = demand.output_context / output
    each = model.cB + model.cKV * context
    free = 1.0 - demand.requests_per_second / replicas * closed.prefill_seconds(profile, demand)
    if free <= 0:
        return 0.0
    slots = min(profile.max_num_seqs, closed.KV_SHARE * profile.kv_tokens / context)
    allowed = slots
    longest = closed.longest_step(profile, demand, sla)
    if longest is not None and each > 0:
        allowed = min(slots, (longest * free - model.c0) / each)
    elif longest is not None and model.c0 > longest * free:
        allowed = 0.0
    most = math.floor(slots * replicas + 1e-9)
    if allowed <= 0 or most < 1 or most > _MOST_STATES:
        return 0.0
    number = np.arange(1, most + 1, dtype=np.float64)
    ratio = demand.requests_per_second * output * (model.c0 + each * number / replicas) / free / number
    if ratio[-1] >= 1.0:
        return 0.0  # with every slot taken they end slower than they come
    weights = np.concatenate([[0.0], np.cumsum(np.log(ratio))])
    share = np.exp(weights - weights.max())
    waiting = share[-1] * ratio[-1] / (1.0 - ratio[-1])  # more than there are slots: a geometric tail
    # Whoever comes is one more: with `allowed` the fullest state in which it may be, it comes to one fewer.
    within = share[: max(0, math.floor(allowed * replicas + 1e-9))].sum()
    return float(within / (share.sum() + waiting))


def _slower(profile: Profile, factor: float) -> Profile:
    model = profile.model
    slow = StepModel(*(value * factor for value in (model.c0, model.cB, model.cKV, model.cP, model.cPP)))
    return replace(profile, model=slow)
