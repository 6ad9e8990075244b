"""What one replica carries, in generated tokens per second.

An explicit target wins. Without one there are three bounds, and the lowest one counts. The first is the load at which a
step takes as long as the objective on the time per token allows, from the step model that is identified while replicas
serve. The second is the load at which first tokens still come in time (`firsttoken`). The third is the highest rate at
which a replica was seen to generate *while requests waited*: with a queue the engine gives all it has, without one it
gives what was asked and proves nothing. All keep a margin.
"""

from __future__ import annotations

import math
from dataclasses import replace

from penstock_operator.core.scaling.budget import TAIL
from penstock_operator.core.scaling.firsttoken import all_busy
from penstock_operator.core.scaling.memory import Memory
from penstock_operator.core.scaling.stepfit import StepFit, sustainable, update
from penstock_operator.core.scaling.types import Decision, Observation, Policy

SATURATION_MARGIN = 0.8
LEAST_WINDOWS = 6
_AS_GOOD_AS_IDLE = 1.25  # mean step over an empty one: fewer sequences than that make no request quicker
_FOLLOW_DOWN = 0.05
_QUEUED_SECONDS = 0.25  # of work in the queue of a saturated replica


def saturated(seen: Observation) -> bool:
    """True when every replica has a queue: two requests each, and what they finish in a quarter of a second.

    Less than that is what happens to wait for the next step when requests are small and many. Where the engine exports
    no sums of its steps, what the gateways hold is its queue, too: they may give it no more than comes in time.
    """
    signals = (seen.generated_tokens, seen.waiting, seen.reporting)
    if not all(signal.fresh for signal in signals):
        return False
    if seen.ready == 0 or seen.ready != seen.replicas or seen.reporting.value < seen.ready:
        return False
    finished = seen.finished.value if seen.finished.fresh else 0.0
    held = seen.held.value if seen.work is None and seen.held is not None and seen.held.fresh else 0.0
    return seen.waiting.value + held >= max(2.0 * seen.ready, _QUEUED_SECONDS * finished)


def crowded(seen: Observation, lately: float) -> float:
    """Share of requests that found no idle replica, as far as known; requests go to the one with the least to do.

    Args:
        seen: at this tick.
        lately: running requests as a mean over about a rate window, since those of one scrape are few by chance.

    Returns:
        1 where not everything is seen: what is missing is not taken for idle.
    """
    signals = (seen.running, seen.waiting, seen.reporting, *(() if seen.held is None else (seen.held,)))
    if not seen.ready or not all(signal.fresh for signal in signals) or seen.reporting.value < seen.ready:
        return 1.0
    held = 0.0 if seen.held is None else seen.held.value
    used = (max(seen.running.value, lately) + seen.waiting.value + held) / seen.ready
    return all_busy(used, seen.ready)


def learn_saturation(known: float | None, seen: Observation) -> float | None:
    """Saturated rate of one replica in generated tokens/s, from a window in which it was saturated all the time.

    A higher sample replaces the estimate, a lower one pulls it down slowly (the mix may have changed).
    """
    sample = seen.generated_tokens.value / max(1, seen.ready)
    if sample <= 0:
        return known
    if known is None or sample > known:
        return sample
    return known + _FOLLOW_DOWN * (sample - known)


def learn_step(fit: StepFit | None, seen: Observation, now: float) -> StepFit | None:
    """The step model with this tick's window folded in; what is not wholly seen teaches nothing."""
    if seen.work is None or not seen.reporting.fresh or seen.ready == 0 or seen.reporting.value < seen.ready:
        return fit
    return update(fit, seen.work, replicas=seen.ready, now=now)


def tokens_per_second(
    policy: Policy,
    saturation: float | None,
    fit: StepFit | None = None,
    *,
    tail: float = TAIL,
    prefill_per_token: float | None = None,
    first_token: float | None = None,
) -> float | None:
    """Generated tokens/s that one replica is trusted to carry; None while unknown.

    Args:
        policy: an explicit target wins.
        saturation: what a replica gave with a queue.
        fit: the step model, which says at what load the time per token reaches its objective.
        tail: time per token of the slowest requests over the mean step, both less an empty step.
        prefill_per_token: prompt tokens to compute for each generated one, as offered now; None = as served lately.
        first_token: what the objective on the first token allows; None = unknown, or without one.
    """
    if policy.target_tokens_per_second is not None:
        return policy.target_tokens_per_second
    known = [] if saturation is None else [SATURATION_MARGIN * saturation]
    known += [] if first_token is None else [first_token]
    if policy.tpot_seconds is not None and modelled(fit):
        assert fit is not None
        mix = fit if prefill_per_token is None else replace(fit, prefill_per_token=prefill_per_token)
        step = longest_step(policy.tpot_seconds, fit.theta[0], tail)
        bound = sustainable(mix, step_seconds=step, max_sequences=policy.max_sequences)
        known += [] if bound is None else [bound]
    return min(known, default=None)


def longest_step(tpot_seconds: float, base: float, tail: float) -> float:
    """Seconds that a mean step may take for the slowest requests to be in time.

    What a step takes by itself is the same for all of them; only what comes on top differs.

    Args:
        tpot_seconds: bound of the time per token.
        base: seconds of an empty step.
        tail: time per token of the slowest requests over the mean step, both less `base`.
    """
    return min(tpot_seconds, max(base + (tpot_seconds - base) / tail, _AS_GOOD_AS_IDLE * base))


def attributed(decision: Decision, policy: Policy, memory: Memory) -> Decision:
    """The decision with how the capacity in it is known: see `Decision.capacity_from`."""
    carried, saturation = decision.capacity_tokens_per_second, memory.saturation_tokens_per_second
    if carried is None:
        return decision
    if policy.target_tokens_per_second is not None:
        return replace(decision, capacity_from="Target")
    if memory.first_token is not None and math.isclose(carried, memory.first_token, rel_tol=1e-6):
        return replace(decision, capacity_from="FirstToken")
    queued = saturation is not None and math.isclose(carried, SATURATION_MARGIN * saturation, rel_tol=1e-6)
    return replace(decision, capacity_from="Observed" if queued else "StepModel")


def modelled(fit: StepFit | None) -> bool:
    """True when enough was seen to trust the step model."""
    return fit is not None and fit.windows >= LEAST_WINDOWS
