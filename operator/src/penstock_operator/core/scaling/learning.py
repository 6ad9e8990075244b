"""What one tick teaches: demand, capacity, the reserve that objectives ask for, and the load to come.

Each part keeps its own state in `Memory`; here they meet. The forecast follows the work that is offered, in seconds of
the step model once that is known, so that a change of the mix of prompts and answers is a change of load; before that
in generated tokens; when the model learns, the unit changes, and what was forecast with it. What is not fresh teaches
nothing.
"""

from __future__ import annotations

import math
from dataclasses import replace

from penstock_operator.core.scaling import budget, capacity, demand, firsttoken, forecast, proof, rental, safety, season
from penstock_operator.core.scaling.memory import Memory, PromptLength
from penstock_operator.core.scaling.stepfit import StepFit, slow
from penstock_operator.core.scaling.types import LONGEST_GAP_SECONDS, Observation, Policy

STARTUP_SECONDS = 60.0  # of a replica, until one was measured
_TICK_SECONDS = 5.0
_LATE_SECONDS = 20.0
_NEW_SECONDS, _NEW_WINDOWS = 600.0, 2.0  # how long nobody knows how the load swings, and what is waited for then
_FOR_CERTAIN = 1.12  # over a bound, where the step model is known to about so much
_LATE = 0.1  # share of requests that miss: a collapse, not a tail
_MOST_MORE = 0.5
_BUSY_SEQUENCES = 2.0
_LEAST_COST = 1e-9
_LEAST_KV_USE = 0.01
_FITS_SECONDS = 60.0
YOUNG_WINDOWS = 24  # two minutes
_PROMPT_WINDOWS = 36  # three, until what a prompt token costs is told from what a generated one does
_SETTLED_SECONDS = 45.0
_CARRIED_SECONDS = 30.0
_SHORT_SECONDS = 30.0  # from a shortage to the last misses that it made


def learn(policy: Policy, seen: Observation, memory: Memory, now: float) -> Memory:
    """The memory with this tick folded in, all but what safety remembers."""
    adjusted = _in_time(policy, seen, _adjusted(policy, seen, memory, now), before=memory.at)
    return _foresee(policy, seen, adjusted, before=memory, now=now)


def doubtful(policy: Policy, memory: Memory, now: float) -> bool:
    """True while replicas serve in time and the step model that may say they do not is young."""
    if policy.target_tokens_per_second is not None or policy.allowed is None or memory.fit is None:
        return False
    return memory.fit.windows < YOUNG_WINDOWS and not _late(memory, now)


def _smoothed(late: float, seen: Observation, elapsed: float) -> float:
    """Share of the requests that miss the objective that most miss, with the last seconds folded in."""
    if not any(one.met + one.missed for one in seen.missed):
        return late
    weight = 1.0 - math.exp(-elapsed / _LATE_SECONDS)
    return late + weight * (max(one.share for one in seen.missed) - late)


def overfull(policy: Policy, seen: Observation, memory: Memory) -> int | None:
    """Replicas when requests are late in numbers and none is on its way: what is seen outweighs the model.

    None while that is not so, where a target says what a replica carries, and while replicas are next to idle: then
    requests fail, or no replica is fast enough, and more of them would change nothing. At most half as many again at a
    time; the next time is when these are ready.
    """
    newest = max((one.share for one in seen.missed if one.met + one.missed), default=memory.late)
    late = min(memory.late, newest) - _unavoidable(policy, memory)  # what was late and is not any more needs nothing
    if policy.allowed is None or policy.target_tokens_per_second is not None or late < max(_LATE, 5 * policy.allowed):
        return None
    if not seen.ready or seen.ready < seen.replicas or not seen.running.fresh:
        return None
    if memory.grown_at is not None and memory.at is not None and memory.at - memory.grown_at < _SETTLED_SECONDS:
        return None
    if seen.running.value < _BUSY_SEQUENCES * seen.ready:
        return None
    return seen.ready + max(1, math.ceil(seen.ready * min(_MOST_MORE, late)))


def _late(memory: Memory, now: float) -> bool:
    """True while or shortly after more requests than may miss an objective."""
    return memory.missed_at is not None and now - memory.missed_at <= _SHORT_SECONDS


def growth(policy: Policy, memory: Memory) -> float:
    """Load to prepare for, over the load of now; 1 without objectives, which say what a shortage is worth."""
    if policy.allowed is None or memory.forecast is None or memory.margins is None:
        return 1.0
    return memory.forecast.growth(sigmas=memory.margins.sigmas)


def _adjusted(policy: Policy, seen: Observation, memory: Memory, now: float) -> Memory:
    """Memory with what this tick tells of demand, capacity and missed objectives."""
    elapsed = 0.0 if memory.at is None else min(LONGEST_GAP_SECONDS, max(0.0, now - memory.at))
    memory = demand.remember(memory, seen, now=now, elapsed_seconds=elapsed)
    short = memory.short_at is not None and now - memory.short_at <= _SHORT_SECONDS
    saturation, since = memory.saturation_tokens_per_second, None
    if capacity.saturated(seen):
        since = now if memory.saturated_since is None else memory.saturated_since
        if now - since >= seen.rate_window_seconds:  # else the rate is of a time without a queue, too
            saturation = capacity.learn_saturation(saturation, seen)
    return replace(
        memory,
        at=now,
        saturation_tokens_per_second=saturation,
        saturated_since=since,
        late=_smoothed(memory.late, seen, elapsed),
        ready=seen.ready,
        grown_at=now if seen.ready > memory.ready else memory.grown_at,
        fits=_fits(memory.fits, seen, elapsed),
        missed_at=now if any(one.share > one.allowed for one in seen.missed) else memory.missed_at,
        fit=capacity.learn_step(memory.fit, seen, now),
        margins=budget.adjust(
            memory.margins or budget.begin(policy.allowed),
            seen.missed,
            unavoidable=_unavoidable(policy, memory),
            crowded=capacity.crowded(seen, memory.output.lagged),
            short=short,
            elapsed_seconds=elapsed,
        ),
    )


def _unavoidable(policy: Policy, memory: Memory) -> float:
    """Share of requests whose prompt alone takes a replica longer than the first token may take, beyond doubt."""
    if policy.ttft_seconds is None or memory.fit is None or not capacity.modelled(memory.fit):
        return 0.0
    per_step, _, per_token = memory.fit.theta
    each = per_token + per_step / policy.step_tokens  # a long prompt takes a step for each chunk of it
    if each <= 0:
        return 0.0
    return demand.share_longer(memory.prompt, (_FOR_CERTAIN * policy.ttft_seconds - per_step) / each)


def capacity_of(policy: Policy, memory: Memory) -> float | None:
    """Generated tokens/s of one replica for the mix that is offered."""
    length = demand.tokens_per_request(memory.output)
    prefill = demand.prefill_per_request(memory.prompt)
    return capacity.tokens_per_second(
        policy,
        memory.saturation_tokens_per_second,
        memory.fit,
        tail=budget.TAIL if memory.margins is None else memory.margins.tail,
        prefill_per_token=None if length is None or prefill is None else prefill / length,
        first_token=memory.first_token,
    )


def prefill_of(policy: Policy, memory: Memory, *, replicas: int) -> firsttoken.Prefill | None:
    """The service as its first tokens see it; None while too little is known of steps or prompts."""
    length = demand.tokens_per_request(memory.output)
    if memory.fit is None or not capacity.modelled(memory.fit) or length is None:
        return None
    prompts = demand.prompts(memory.prompt)
    theta = slow(memory.fit, prefill_per_token=sum(share * tokens for share, tokens in prompts) / length)
    if theta is None or theta[0] <= 0 or not prompts:
        return None
    tail = budget.TAIL if memory.margins is None else memory.margins.tail
    return firsttoken.Prefill(
        theta,
        length,
        prompts,
        policy.step_tokens,
        slots=policy.max_sequences,
        fits=memory.fits,
        replicas=max(1, replicas),
        stretch=tail / budget.TAIL,
    )


def _fits(known: float | None, seen: Observation, elapsed: float) -> float | None:
    """Sequences that fill a replica's KV cache, with this tick folded in."""
    if seen.kv_use is None or not (seen.kv_use.fresh and seen.running.fresh) or not seen.ready:
        return known
    if seen.kv_use.value < _LEAST_KV_USE or seen.running.value < seen.ready:
        return known
    fits = seen.running.value / seen.ready / min(1.0, seen.kv_use.value)
    return fits if known is None else known + (1.0 - math.exp(-elapsed / _FITS_SECONDS)) * (fits - known)


def _in_time(policy: Policy, seen: Observation, memory: Memory, *, before: float | None) -> Memory:
    """Memory with what a replica carries with first tokens in time: the model's word, or what was seen, if more.

    None where the bound on the time per token leaves first tokens room enough, as it mostly does.
    """
    length = demand.tokens_per_request(memory.output)
    promised = policy.ttft_seconds is not None or policy.wait_seconds is not None
    memory = replace(memory, first_token=None)
    if policy.allowed is None or not promised or length is None:
        return memory
    cost, elapsed = _cost(memory.fit, memory.prompt, length), 0.0 if before is None else (memory.at or before) - before
    shown = memory.proof
    if capacity.modelled(memory.fit) and seen.ready and seen.arrivals.fresh and elapsed <= LONGEST_GAP_SECONDS:
        load = (memory.arrivals or 0.0) * cost / seen.ready
        shown = proof.fold(shown, seen.missed, load=load, elapsed_seconds=elapsed)
    of, bound = prefill_of(policy, memory, replicas=seen.ready), None
    if of is not None and memory.fit is not None and memory.fit.windows >= _PROMPT_WINDOWS:
        paced = None if policy.tpot_seconds is None else capacity_of(policy, memory)
        asked = ((policy.ttft_seconds, True), (policy.wait_seconds, False))
        limits = [firsttoken.bound(of, seconds=one, computed=computed) for one, computed in asked if one is not None]
        bounds = [
            firsttoken.sustainable(limit, allowed=policy.allowed)
            for limit in limits
            if paced is None or limit.late(paced) > policy.allowed
        ]
        bound = min(bounds, default=None)
    carried = None if shown is None else shown.carried(policy.allowed, unavoidable=_unavoidable(policy, memory))
    if bound is not None and carried is not None:
        bound = max(bound, carried / cost * length)
    return replace(memory, first_token=bound, proof=shown)


def _foresee(policy: Policy, seen: Observation, memory: Memory, *, before: Memory, now: float) -> Memory:
    """Memory with the forecast, how the load comes back, and whether the replicas are too few at this moment.

    Args:
        policy: what the user asked for.
        seen: at this tick.
        memory: with this tick's demand and step model.
        before: of the tick before, in whose step model's seconds the forecast's work is.
        now: Unix seconds.
    """
    length = demand.tokens_per_request(memory.output)
    arrivals, per_replica = memory.arrivals, capacity_of(policy, memory)
    if not seen.arrivals.fresh or arrivals is None or length is None:
        return memory
    busy = None if per_replica is None else arrivals * length / per_replica
    if busy is not None:
        memory = replace(memory, rental=_rented(policy, seen, memory, busy, now))
    waiting = (seen.waiting.value if seen.waiting.fresh else 0.0) + (seen.held.value if seen.held is not None else 0.0)
    short = (busy is not None and busy > seen.ready) or waiting > seen.ready
    if seen.ready:
        in_time = waiting <= seen.ready and not _late(memory, now)
        elapsed = 0.0 if before.at is None else min(now - before.at, LONGEST_GAP_SECONDS)
        memory = _shown(memory, arrivals * length / seen.ready, in_time=in_time, elapsed=elapsed)
    memory = replace(memory, short_at=now if short else memory.short_at)
    return _followed(memory, length, before=before.fit, now=now, horizon=horizon_seconds(seen))


def _shown(memory: Memory, load: float, *, in_time: bool, elapsed: float) -> Memory:
    """Memory with what a replica was shown to carry.

    A load that has just come is carried by nobody yet: its requests are late after a while only. So it counts as it
    becomes the load of the last half minute.
    """
    before = load if memory.carried is None else memory.carried
    carried = before + (1.0 - math.exp(-elapsed / _CARRIED_SECONDS)) * (load - before)
    shown = max(memory.shown or 0.0, min(load, carried)) if in_time else memory.shown
    return replace(memory, carried=carried, shown=shown)


def _followed(memory: Memory, length: float, *, before: StepFit | None, now: float, horizon: float) -> Memory:
    """Memory with the load of now in forecast and season."""
    cost, known, days = _cost(memory.fit, memory.prompt, length), memory.forecast, memory.season
    if before is not memory.fit:
        unit = cost / _cost(before, memory.prompt, length)
        known = None if known is None else forecast.rescaled(known, unit)
        days = None if days is None else season.rescaled(days, unit)
    work = (memory.arrivals or 0.0) * cost
    days = season.follow(None if days is None else season.priced(days, cost), work, now=now)
    expected = days.expect(work, at=now + horizon)
    followed = forecast.follow(known, work, now=now, horizon_seconds=horizon, season=expected)
    return replace(memory, forecast=followed, season=days)


def _rented(policy: Policy, seen: Observation, memory: Memory, busy: float, now: float) -> rental.Rental:
    """What windows of several lengths would have cost, as far as the service asks for any."""
    shortest = policy.stabilization_seconds
    if policy.allowed is None or shortest < safety.HASTY_SECONDS:
        return memory.rental
    busy, horizon = min(busy, float(policy.max_replicas)), horizon_seconds(seen)
    anyway = max((count for _, count in memory.recommendations), default=0)
    return rental.follow(memory.rental, busy, anyway=anyway, now=now, shortest=shortest, horizon_seconds=horizon)


def worth_keeping(policy: Policy, memory: Memory, now: float) -> tuple[int, str]:
    """Replicas that are kept since the load may come back to them, and why, in words."""
    shortest = policy.stabilization_seconds
    if policy.allowed is None or memory.margins is None or shortest < safety.HASTY_SECONDS:
        return 0, ""
    window = rental.window_seconds(memory.rental, shortest=shortest, sigmas=memory.margins.sigmas)
    why = f"loads came back after up to {window:.0f} s before, and a start costs more than to keep what they need"
    age = _NEW_SECONDS if memory.forecast is None else now - memory.forecast.since
    if age < _NEW_SECONDS and window < _NEW_WINDOWS * shortest:
        window = _NEW_WINDOWS * shortest
        why = f"what the load needed in the last {window:.0f} s, while it is known for {age:.0f} s only"
    return rental.held(memory.rental, now=now, seconds=window) if window > shortest else 0, why


def _cost(fit: StepFit | None, prompt: PromptLength, length: float) -> float:
    """Work of one request: seconds of the step model, or the tokens it generates while there is none."""
    if fit is None or not capacity.modelled(fit):
        return length
    _, per_sequence, per_prefill = fit.theta
    return max(_LEAST_COST, length * per_sequence + (demand.prefill_per_request(prompt) or 0.0) * per_prefill)


def horizon_seconds(seen: Observation) -> float:
    """Seconds until a replica that is asked for now would be ready."""
    return _TICK_SECONDS + (seen.startup_seconds if seen.startup_seconds is not None else STARTUP_SECONDS)
