"""From and to zero replicas, and demand that is seen at the gateways."""

from dataclasses import replace

import pytest

from observations import NOW, fresh, observation
from penstock_operator.core.observe import Door, Offered, at_the_door
from penstock_operator.core.scaling import Memory, Observation, Policy, Reason, Signal, SignalState, decide

POLICY = Policy(
    min_replicas=0, max_replicas=10, target_tokens_per_second=1000.0, stabilization_seconds=10.0, idle_seconds=60.0
)
ABSENT = Signal(SignalState.ABSENT, detail="no series")


def at_zero(*, held: float, arrivals: float = 0.0) -> Observation:
    """No worker, so nothing in Prometheus; only the gateways speak."""
    unknown = dict.fromkeys(("generated_tokens", "finished", "waiting", "running", "prompt_tokens"), ABSENT)
    return replace(observation(replicas=0), held=fresh(held), in_flight=fresh(0), arrivals=fresh(arrivals), **unknown)


def test_a_held_request_wakes_a_service_though_prometheus_says_nothing() -> None:
    decision, _ = decide(POLICY, at_zero(held=1, arrivals=0.1), Memory(), NOW)
    assert (decision.replicas, decision.reason, decision.act) == (1, Reason.WAKE_UP, True)


def test_nobody_at_the_door_stays_at_zero() -> None:
    decision, _ = decide(POLICY, at_zero(held=0), Memory(), NOW)
    assert (decision.replicas, decision.reason) == (0, Reason.STEADY)


def test_a_gateway_that_does_not_answer_keeps_zero() -> None:
    seen = replace(at_zero(held=0), held=ABSENT, arrivals=ABSENT)
    decision, _ = decide(POLICY, seen, Memory(), NOW)
    assert (decision.replicas, decision.reason) == (0, Reason.SIGNALS_UNKNOWN)


def test_a_request_that_is_held_wakes_before_its_rate_is_known() -> None:
    """The first tick of an operator has one reading of the gateways' counters, and that is no rate."""
    seen = replace(at_zero(held=7.0), arrivals=ABSENT)
    decision, _ = decide(POLICY, seen, Memory(), NOW)
    assert (decision.replicas, decision.reason) == (1, Reason.WAKE_UP)


def test_a_crowd_at_the_door_wakes_as_many_as_it_needs() -> None:
    memory, now = Memory(), NOW - 300
    for _ in range(60):
        seen = observation(arrivals=10, tokens_per_request=100, running=5, held=fresh(0), in_flight=fresh(5))
        _, memory = decide(POLICY, seen, memory, now)
        now += 5
    decision, _ = decide(POLICY, at_zero(held=40, arrivals=30), memory, NOW)
    assert decision.replicas >= 3
    assert decision.reason is Reason.WAKE_UP


def idle(**changes: Signal) -> Observation:
    return replace(observation(replicas=1, held=fresh(0), in_flight=fresh(0)), **changes)


def run(seen: Observation, *, seconds: int) -> list[int]:
    memory, counts = Memory(), []
    for tick in range(seconds // 5):
        decision, memory = decide(POLICY, seen, memory, NOW + 5 * tick)
        counts.append(decision.replicas)
    return counts


def test_idle_for_long_enough_goes_to_zero_and_not_before() -> None:
    counts = run(idle(), seconds=80)
    assert counts[:12] == [1] * 12
    assert counts[-1] == 0


@pytest.mark.parametrize("name", ["arrivals", "held", "in_flight", "waiting", "running"])
@pytest.mark.parametrize("signal", [fresh(1), ABSENT], ids=["busy", "unknown"])
def test_one_request_or_one_unknown_anywhere_keeps_the_last_replica(name: str, signal: Signal) -> None:
    assert set(run(idle(**{name: signal}), seconds=200)) == {1}


def test_without_a_gateway_nothing_goes_to_zero() -> None:
    assert set(run(replace(idle(), held=None, in_flight=None), seconds=200)) == {1}


def test_a_minimum_of_one_keeps_one() -> None:
    memory, now = Memory(), NOW
    for _ in range(40):
        decision, memory = decide(replace(POLICY, min_replicas=1), idle(), memory, now)
        assert decision.replicas == 1
        now += 5


def test_held_requests_count_as_backlog_though_prometheus_is_away() -> None:
    memory, now = Memory(), NOW - 300
    for _ in range(60):
        _, memory = decide(POLICY, observation(arrivals=5, running=5, held=fresh(0), in_flight=fresh(5)), memory, now)
        now += 5
    away = replace(
        observation(replicas=1, arrivals=30, held=fresh(90), in_flight=fresh(8)),
        waiting=ABSENT, running=ABSENT, generated_tokens=ABSENT, finished=ABSENT, source_error="down",
    )  # fmt: skip
    assert decide(POLICY, away, memory, NOW)[0].replicas >= 3


def test_the_gateways_rate_counts_unless_clients_pass_them_by() -> None:
    seen = observation(arrivals=4)
    offered = Offered(9.0, 90.0, held=2, in_flight=3, window_seconds=8.0, at=NOW)
    assert at_the_door(seen, Door(offered)).arrivals.value == 9
    rush = observation(arrivals=12)  # held requests were released to new workers at once
    assert at_the_door(rush, Door(offered)).arrivals.value == 9
    unused = Offered(0.0, 0.0, held=0, in_flight=0, window_seconds=8.0, at=NOW)
    assert at_the_door(seen, Door(unused)).arrivals.value == 4
    assert at_the_door(replace(seen, arrivals=ABSENT), Door(offered)).arrivals.value == 9
    silent = at_the_door(seen, Door(None, "does not answer"))
    assert silent.held is not None
    assert silent.held.state is SignalState.ABSENT
