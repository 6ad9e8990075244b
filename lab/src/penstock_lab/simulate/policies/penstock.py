"""Ours: the operator's own `decide()` on what its adapters would have made of the same scrapes."""

from __future__ import annotations

from dataclasses import replace

from penstock_lab.simulate.policies.base import Door, Glance
from penstock_lab.simulate.state import Counter
from penstock_operator.core.observe import Door as Answer
from penstock_operator.core.observe import Offered, at_the_door
from penstock_operator.core.scaling import Decision, Memory, Observation, Policy, Signal, SignalState, decide
from penstock_operator.core.scaling.budget import Missed
from penstock_operator.core.scaling.stepfit import StepRates


class Penstock:
    """`decide()` with its memory."""

    name = "penstock"

    def __init__(self, policy: Policy, *, allowed: float = 0.01, period_seconds: float = 5.0) -> None:
        self.period_seconds = period_seconds
        self.policy = policy
        self.memory = Memory()
        self.decision: Decision | None = None
        self._allowed = allowed
        self._door: tuple[float, Door] | None = None

    def desired(self, glance: Glance) -> int:
        """The decided count."""
        before, self._door = self._door, (glance.now, glance.door)
        seen = _observation(glance)
        if before is not None and glance.now > before[0]:
            seen = _since(seen, before[1], glance.door, seconds=glance.now - before[0], allowed=self._allowed)
        self.decision, self.memory = decide(self.policy, seen, self.memory, glance.now)
        return self.decision.replicas


def _since(seen: Observation, before: Door, now: Door, *, seconds: float, allowed: float) -> Observation:
    """With what the gateways counted since the last tick, per second."""
    if not (before.answered and now.answered):
        return seen
    return replace(
        seen,
        missed=_missed(before, now, seconds=seconds, allowed=allowed),
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


def _observation(glance: Glance) -> Observation:
    scraped, at = glance.scraped, glance.scraped.observed_at
    stale = at is None or glance.now - at > glance.window_seconds
    state = SignalState.ABSENT if at is None else SignalState.STALE if stale else SignalState.FRESH

    def seen(value: float) -> Signal:
        return Signal(state, value, at)

    observation = Observation(
        replicas=glance.replicas,
        ready=glance.ready,
        unschedulable=glance.unschedulable,
        rate_window_seconds=glance.window_seconds,
        arrivals=seen(scraped.rates[Counter.ARRIVED]),
        prompt_tokens=seen(scraped.rates[Counter.PROMPT_TOKENS]),
        generated_tokens=seen(scraped.rates[Counter.GENERATED_TOKENS]),
        finished=seen(scraped.rates[Counter.FINISHED]),
        waiting=seen(scraped.waiting),
        running=seen(scraped.running),
        reporting=Signal(SignalState.FRESH, scraped.reporting, glance.now),
        work=None
        if state is not SignalState.FRESH
        else StepRates(
            steps=scraped.rates[Counter.STEPS],
            seconds=scraped.rates[Counter.STEP_SECONDS],
            sequences=scraped.rates[Counter.DECODE_SEQUENCE_STEPS],
            prefill_tokens=scraped.rates[Counter.PREFILL_TOKENS],
            generated_tokens=scraped.rates[Counter.GENERATED_TOKENS],
        ),
        startup_seconds=glance.startup_seconds,
        starting_ages=glance.starting_ages,
    )
    door = glance.door
    offered = Offered(
        door.requests_per_second,
        door.prompt_tokens_per_second,
        door.held,
        door.in_flight,
        door.window_seconds,
        glance.now,
    )
    return at_the_door(observation, Answer(offered))
