from dataclasses import replace

import pytest

from observations import NOW, fresh, observation
from penstock_operator.core.scaling import Decision, Memory, Observation, Policy, Reason, Signal, SignalState
from penstock_operator.core.scaling.capacity import (
    SATURATION_MARGIN,
    attributed,
    crowded,
    learn_saturation,
    saturated,
    tokens_per_second,
)
from penstock_operator.core.scaling.learning import learn
from penstock_operator.core.scaling.stepfit import StepRates

POLICY = Policy(min_replicas=1, max_replicas=9)
SATURATED = observation(replicas=2, served=20, tokens_per_request=100, waiting=8, running=32)


def test_a_queue_at_every_replica_shows_what_one_gives() -> None:
    assert saturated(SATURATED)
    assert learn_saturation(None, SATURATED) == 1000


def test_more_is_believed_at_once_and_less_slowly() -> None:
    assert learn_saturation(800, SATURATED) == 1000
    lower = learn_saturation(2000, SATURATED)
    assert lower is not None
    assert 1900 < lower < 2000
    for _ in range(200):
        lower = learn_saturation(lower, SATURATED)
    assert lower == pytest.approx(1000, rel=0.01)


NO_PROOF: dict[str, Observation] = {
    "no queue": replace(SATURATED, waiting=fresh(3)),
    "none ready": replace(SATURATED, ready=0),
    "one starts": replace(SATURATED, replicas=3),
    "one does not report": replace(SATURATED, reporting=fresh(1)),
    "nothing generated": replace(SATURATED, generated_tokens=fresh(0)),
    "stale tokens": replace(SATURATED, generated_tokens=Signal(SignalState.STALE, 5000.0)),
    "absent queue": replace(SATURATED, waiting=Signal(SignalState.ABSENT)),
    "unknown coverage": replace(SATURATED, reporting=Signal(SignalState.ABSENT)),
}


@pytest.mark.parametrize("case", NO_PROOF)
@pytest.mark.parametrize("known", [None, 700.0])
def test_what_proves_nothing_teaches_nothing(case: str, known: float | None) -> None:
    seen = NO_PROOF[case]
    assert not saturated(seen) or learn_saturation(known, seen) == known
    memory = Memory(saturation_tokens_per_second=known)
    for tick in range(20):
        memory = learn(POLICY, seen, memory, NOW + 5.0 * tick)
    assert memory.saturation_tokens_per_second == known


def test_a_queue_has_to_last_a_whole_window() -> None:
    memory, known = Memory(), []
    for tick in range(14):
        memory = learn(POLICY, SATURATED, memory, NOW + 5.0 * tick)
        known.append(memory.saturation_tokens_per_second)
    assert known[:12] == [None] * 12
    assert known[-1] == 1000


def test_where_most_replicas_are_idle_hardly_any_request_finds_none() -> None:
    def share(running: float, waiting: float = 0.0, *, ready: int = 8, lately: float = 0.0) -> float:
        seen = observation(replicas=ready, running=running)
        return crowded(replace(seen, waiting=fresh(waiting)), lately)

    assert share(1.0) < 0.01 < share(2.0)
    assert share(2.0, waiting=6.0) == share(8.0) == share(80.0) == 1.0
    assert share(0.0, lately=8.0) == 1.0, "one scrape may have met them all idle"
    assert share(0.2, ready=1) == pytest.approx(0.2), "a single one is busy as often as it is not idle"
    idle = replace(observation(replicas=8), running=fresh(0.0), waiting=fresh(0.0), held=fresh(0.0))
    assert crowded(idle, 0.0) == 0.0
    unseen = Signal(SignalState.STALE)
    for part in (replace(idle, running=unseen), replace(idle, held=unseen), replace(idle, reporting=fresh(1))):
        assert crowded(part, 0.0) == 1.0, "what is not seen is not idle"


def test_what_waits_for_the_next_step_is_no_queue() -> None:
    tiny = observation(replicas=6, arrivals=600, tokens_per_request=13, waiting=13, running=40)
    assert not saturated(tiny)
    assert saturated(replace(tiny, waiting=fresh(200)))


def test_what_the_gateways_hold_is_the_queue_of_an_engine_that_exports_no_steps() -> None:
    """A gateway that paces leaves none in the engine."""
    empty = replace(SATURATED, waiting=fresh(0), work=None)
    assert not saturated(empty)
    assert saturated(replace(empty, held=fresh(SATURATED.waiting.value)))
    steps = StepRates(steps=50.0, seconds=1.0, sequences=500.0, prefill_tokens=0.0, generated_tokens=500.0)
    assert not saturated(replace(empty, held=fresh(SATURATED.waiting.value), work=steps)), "there the model knows more"


def test_a_target_wins_and_what_was_seen_gets_a_margin() -> None:
    assert tokens_per_second(POLICY, None) is None
    assert tokens_per_second(POLICY, 1000.0) == SATURATION_MARGIN * 1000
    assert tokens_per_second(replace(POLICY, target_tokens_per_second=300.0), 1000.0) == 300


@pytest.mark.parametrize(
    ("carried", "target", "source"),
    [(None, None, "Unknown"), (250.0, 250.0, "Target"), (80.0, None, "Observed"), (70.0, None, "StepModel")],
)
def test_a_decision_says_how_the_capacity_is_known(carried: float | None, target: float | None, source: str) -> None:
    policy = Policy(min_replicas=1, max_replicas=2, target_tokens_per_second=target)
    memory = Memory(saturation_tokens_per_second=100.0)
    decision = Decision(1, Reason.STEADY, "", capacity_tokens_per_second=carried)
    assert attributed(decision, policy, memory).capacity_from == source
