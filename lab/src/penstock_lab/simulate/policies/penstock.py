"""Ours: the operator's own `decide()` on what its adapters would have made of the same scrapes."""

from __future__ import annotations

from penstock_lab.simulate.policies.base import Glance
from penstock_lab.simulate.state import Counter
from penstock_operator.core.observe import Door, Offered, at_the_door
from penstock_operator.core.scaling import Decision, Memory, Observation, Policy, Signal, SignalState, decide
from penstock_operator.core.scaling.stepfit import StepRates


class Penstock:
    """`decide()` with its memory."""

    name = "penstock"

    def __init__(self, policy: Policy, *, period_seconds: float = 5.0) -> None:
        self.period_seconds = period_seconds
        self.policy = policy
        self.memory = Memory()
        self.decision: Decision | None = None

    def desired(self, glance: Glance) -> int:
        """The decided count."""
        self.decision, self.memory = decide(self.policy, _observation(glance), self.memory, glance.now)
        return self.decision.replicas


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
    return at_the_door(observation, Door(offered))
