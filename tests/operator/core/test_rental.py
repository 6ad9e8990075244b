"""Replicas are kept as long as that is cheaper than to start them again, by how the load came back so far."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observations import NOW, fresh, observation
from penstock_operator.core.scaling import Memory, Policy, Reason, decide
from penstock_operator.core.scaling.rental import WINDOWS, Rental, follow, held, price, window_seconds

POLICY = Policy(
    min_replicas=1,
    max_replicas=100,
    target_tokens_per_second=1000.0,
    stabilization_seconds=120.0,
    allowed=0.01,
    ttft_seconds=2.0,
)
TICK = 5.0


def lived(loads: list[float], *, horizon: float = 65.0) -> Rental:
    """After one load per tick, in replicas."""
    known = Rental()
    for index, busy in enumerate(loads):
        known = follow(known, busy, now=NOW + TICK * index, shortest=120.0, horizon_seconds=horizon, anyway=0)
    return known


def pulses(on: int, off: int, times: int) -> list[float]:
    """Ten replicas for so many ticks, then next to none."""
    return ([10.0] * on + [0.1] * off) * times


def window(known: Rental, sigmas: float = 2.33) -> float:
    return window_seconds(known, shortest=120.0, sigmas=sigmas)


def test_a_load_that_never_came_back_is_waited_for_as_long_as_the_user_says() -> None:
    assert window(lived([*range(1, 30), *[30.0] * 100, *[2.0] * 400])) == 120.0


def test_a_load_that_comes_back_is_kept_for_as_long_as_it_was_away() -> None:
    away = 72 * TICK  # six minutes: two windows are too short, four reach
    assert window(lived([*pulses(48, 72, 1), *[10.0] * 48])) == 480.0 > away


@pytest.mark.parametrize(("anyway", "expected"), [(0, 480.0), (10, 480.0), (13, 120.0)])
def test_what_the_reserve_carries_is_no_reason_to_keep_a_fallen_load(anyway: int, expected: float) -> None:
    """A load that swings by a quarter, then falls to a third: replicas for the swings are there anyway."""
    swings = [12.0 if index % 80 == 0 else 9.5 for index in range(400)]
    known = Rental()
    for index, busy in enumerate([*swings, *[3.0] * 60]):
        known = follow(
            known, busy, now=NOW + TICK * index, shortest=120.0, horizon_seconds=65.0, anyway=anyway if busy > 3 else 4
        )
    assert window(known) == expected


def test_what_comes_back_after_too_long_is_let_go() -> None:
    """Ten minutes of work in two hours: to keep replicas for all of it costs more than to start them."""
    assert window(lived(pulses(120, 1320, 3), horizon=5.0), sigmas=1.0) == 120.0


def test_one_that_takes_long_to_start_is_kept_for_longer() -> None:
    loads = [*pulses(240, 330, 3), *[10.0] * 10]  # away for 27 minutes
    assert window(lived(loads, horizon=5.0), sigmas=1.0) < window(lived(loads, horizon=425.0), sigmas=1.0)


def test_a_lacking_replica_is_worth_more_to_who_keeps_more_in_reserve() -> None:
    assert price(0.0) == pytest.approx(1.0)
    assert price(2.326) == pytest.approx(99.0, rel=0.01)


@given(st.lists(st.floats(min_value=0, max_value=50), min_size=1, max_size=80))
def test_memory_is_bounded_and_longer_windows_keep_more_and_lack_less(loads: list[float]) -> None:
    known = lived(loads)
    counts = [count for _, count in known.history]
    assert counts == sorted(set(counts), reverse=True)
    assert list(known.kept) == sorted(known.kept)
    assert list(known.lacked) == sorted(known.lacked, reverse=True)
    assert len(known.kept) == len(WINDOWS)
    assert held(known, now=NOW + TICK * (len(loads) - 1), seconds=1.0) == counts[-1]


def test_decisions_keep_what_came_back_before_and_say_why() -> None:
    memory, now = Memory(), NOW
    seen = replace(observation(replicas=1, arrivals=4.0, running=4.0), held=fresh(0), startup_seconds=60.0)
    for _ in range(360):
        _, memory = decide(POLICY, seen, memory, now)
        now += TICK
    many = replace(seen, replicas=12, ready=12, reporting=fresh(12))
    learned = Rental(
        ((now - 300.0, 10), (now - TICK, 1)), kept=(0.0,) * 5, lacked=(9.0, 9.0, 0.0, 0.0, 0.0), at=now - TICK
    )
    decision, _ = decide(POLICY, many, replace(memory, rental=learned), now)
    assert (decision.replicas, decision.reason) == (10, Reason.LESS_LOAD)
    assert "not below 10: loads came back after up to 480 s" in decision.message
    assert "a start costs more" in decision.message
    assert decide(POLICY, many, memory, now)[0].replicas < 10


@pytest.mark.parametrize(("before", "expected"), [(200.0, 240.0), (590.0, 120.0)])
def test_a_load_that_is_not_known_for_long_is_waited_for_twice_as_long(before: float, expected: float) -> None:
    memory, now = Memory(), NOW
    busy = replace(observation(replicas=10, arrivals=80.0, running=80.0), held=fresh(0), startup_seconds=60.0)
    while now - NOW <= before:
        _, memory = decide(POLICY, busy, memory, now)
        now += TICK
    fallen, less = replace(busy, arrivals=fresh(30.0), running=fresh(30.0)), now
    while now - less < 600.0:
        decision, memory = decide(POLICY, fallen, memory, now)
        if decision.replicas < 8:
            break
        if now - less > 150.0:
            assert "the load needed in the last 240 s, while it is known for" in decision.message
        now += TICK
    assert now - less == pytest.approx(expected, abs=2 * TICK)


def test_whoever_sets_a_window_under_a_minute_wants_replicas_gone() -> None:
    hasty, memory, now, replicas = replace(POLICY, stabilization_seconds=20.0), Memory(), NOW, 12
    for _ in range(3):
        for arrivals in (100.0, 4.0):
            for _ in range(30):
                seen = replace(observation(replicas=replicas, arrivals=arrivals, running=arrivals), held=fresh(0))
                decision, memory = decide(hasty, seen, memory, now)
                replicas, now = decision.replicas, now + TICK
    assert "came back" not in decision.message
    assert memory.rental == Rental()
