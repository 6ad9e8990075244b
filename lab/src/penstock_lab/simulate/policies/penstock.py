"""Ours: the operator's own `decide()` on what its adapters would have made of the same scrapes."""

from __future__ import annotations

from dataclasses import replace

from penstock_lab.simulate.policies.base import Door, Glance
from penstock_lab.simulate.scrapes import Health
from penstock_lab.simulate.view import observation
from penstock_operator.core.scaling import Decision, Memory, Observation, Policy, Signal, SignalState, decide
from penstock_operator.core.scaling.budget import Missed


class Penstock:
    """`decide()` with its memory.

    Attributes:
        policy: what is asked for.
        memory: of the last tick.
        decision: of the last tick.
        kv_tokens: that fit into a replica's cache, as its engine exports it; None = it does not.
    """

    name = "penstock"

    def __init__(self, policy: Policy, *, period_seconds: float = 5.0, kv_tokens: int | None = None) -> None:
        self.period_seconds = period_seconds
        self.kv_tokens = kv_tokens
        self.policy = policy
        self.memory = Memory()
        self.decision: Decision | None = None
        self._door: tuple[float, Door] | None = None

    def desired(self, glance: Glance) -> int:
        """The decided count."""
        before, self._door = self._door, (glance.now, glance.door)
        seen = replace(observation(glance), startup_seconds=glance.startup_seconds, starting_ages=glance.starting_ages)
        seen = replace(seen, kv_use=self._kv_use(glance))
        if before is not None and glance.now > before[0]:
            seen = _since(seen, before[1], glance.door, seconds=glance.now - before[0], allowed=self.policy.allowed)
        self.decision, self.memory = decide(self.policy, seen, self.memory, glance.now)
        return self.decision.replicas

    def _kv_use(self, glance: Glance) -> Signal | None:
        """Share of the caches in use, as engines export it; None without their size."""
        if self.kv_tokens is None or glance.health("kv_used") is not Health.FRESH or not glance.scraped.reporting:
            return None
        used = glance.scraped.kv_used / (self.kv_tokens * glance.scraped.reporting)
        return Signal(SignalState.FRESH, used, glance.scraped.observed_at)


def _since(seen: Observation, before: Door, now: Door, *, seconds: float, allowed: float | None) -> Observation:
    """With what the gateways counted since the last tick, per second."""
    if not (before.answered and now.answered):
        return seen
    return replace(
        seen,
        missed=() if allowed is None else _missed(before, now, seconds=seconds, allowed=allowed),
        prompt_lengths=tuple(
            (count - old) / seconds for count, old in zip(now.prompt_lengths, before.prompt_lengths, strict=False)
        ),
    )


def _missed(before: Door, now: Door, *, seconds: float, allowed: float) -> tuple[Missed, ...]:
    """A study's SLA is one share of requests that meet all objectives; a request that missed two counts twice."""
    counts = [(new[1] - old[1], new[2] - old[2]) for new, old in zip(now.objectives, before.objectives, strict=False)]
    judged = max((met + missed for met, missed in counts), default=0.0) / seconds
    lost = min(judged, sum(missed for _, missed in counts) / seconds)
    return (Missed("Any", allowed, judged - lost, lost),) if judged else ()
