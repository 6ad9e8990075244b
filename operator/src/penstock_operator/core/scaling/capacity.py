"""What one replica carries, in generated tokens per second.

An explicit target wins. Without one the highest rate at which a replica was seen to generate *while requests waited*
is the capacity: with a queue the engine gives all it has, without one it gives what was asked and proves nothing. A
margin keeps the replicas off that saturation point.
"""

from __future__ import annotations

from penstock_operator.core.scaling.types import Observation, Policy

SATURATION_MARGIN = 0.8
_FOLLOW_DOWN = 0.05


def learn_saturation(known: float | None, seen: Observation) -> float | None:
    """Saturated rate of one replica in generated tokens/s, or None while it was never seen saturated.

    A higher sample replaces the estimate, a lower one pulls it down slowly (the mix may have changed). Samples count
    only when every ready pod reports and has requests waiting, and none is starting.
    """
    signals = (seen.generated_tokens, seen.waiting, seen.reporting)
    if not all(signal.fresh for signal in signals):
        return known
    if seen.ready == 0 or seen.ready != seen.replicas or seen.reporting.value < seen.ready:
        return known
    if seen.waiting.value < 2 * seen.ready:
        return known
    sample = seen.generated_tokens.value / seen.ready
    if sample <= 0:
        return known
    if known is None or sample > known:
        return sample
    return known + _FOLLOW_DOWN * (sample - known)


def tokens_per_second(policy: Policy, saturation: float | None) -> float | None:
    """Generated tokens/s that one replica is trusted to carry; None while unknown."""
    if policy.target_tokens_per_second is not None:
        return policy.target_tokens_per_second
    return None if saturation is None else SATURATION_MARGIN * saturation
