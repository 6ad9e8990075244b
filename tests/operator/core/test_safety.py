from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observations import NOW, fresh, observation
from penstock_operator.core.scaling import LimitedBy, Policy, Reason, Signal, SignalState
from penstock_operator.core.scaling.safety import (
    Recommendations,
    stabilise,
    why_not_down,
    within_bounds,
    within_step,
)
from penstock_operator.core.scaling.types import LONGEST_GAP_SECONDS

POLICY = Policy(min_replicas=2, max_replicas=8)
UNKNOWN = [state for state in SignalState if state is not SignalState.FRESH]


def run(recommended: list[int], *, current: int, window: float, tick: float = 5.0) -> list[int]:
    """What is left of recommendations, one per tick, with the count following them."""
    history: Recommendations = ()
    found = []
    for index, count in enumerate(recommended):
        current, history = stabilise(
            history, recommended=count, current=current, now=NOW + index * tick, window_seconds=window
        )
        found.append(current)
    return found


def test_nothing_forbids_fewer_when_all_is_known() -> None:
    assert why_not_down(observation(replicas=3)) is None


@pytest.mark.parametrize("state", UNKNOWN)
@pytest.mark.parametrize("name", ["arrivals", "generated_tokens", "waiting", "running", "reporting"])
def test_every_signal_must_be_fresh(name: str, state: SignalState) -> None:
    reason, text = why_not_down(replace(observation(replicas=3), **{name: Signal(state, 3.0)})) or (None, "")
    assert reason is Reason.SIGNALS_UNKNOWN
    assert "not fresh" in text


def test_every_ready_pod_must_report() -> None:
    assert why_not_down(replace(observation(replicas=3), reporting=fresh(2))) == (
        Reason.SIGNALS_UNKNOWN,
        "2 of 3 ready pods report",
    )
    assert why_not_down(replace(observation(replicas=3), reporting=fresh(4))) is None


def test_no_ready_pod_and_a_rollout_keep_the_count() -> None:
    assert why_not_down(observation(replicas=3, ready=0)) == (Reason.STARTING, "no pod is ready yet")
    assert why_not_down(observation(replicas=3, ready=1)) is None
    assert (why_not_down(observation(replicas=3, rolling_out=True)) or ("",))[0] is Reason.ROLLOUT


def test_fewer_only_when_right_for_the_window() -> None:
    assert run([2] * 14, current=5, window=60) == [5] * 12 + [2, 2]


def test_more_at_once() -> None:
    assert run([5, 9, 9], current=5, window=60) == [5, 9, 9]


def test_a_peak_inside_the_window_keeps_its_count() -> None:
    assert run([5, 2, 7, 2, 2, 2], current=5, window=12) == [5, 5, 7, 7, 7, 2]


def test_without_a_window_fewer_at_the_second_tick() -> None:
    assert run([2, 2], current=5, window=0) == [5, 2]


@given(
    counts=st.lists(st.integers(0, 20), min_size=1, max_size=40),
    current=st.integers(0, 20),
    window=st.sampled_from([0.0, 5.0, 12.0, 60.0]),
)
def test_fewer_is_the_most_recommended_inside_the_window(counts: list[int], current: int, window: float) -> None:
    """Against the plain rule over the whole history, of which only the part that matters is kept."""
    found = run(counts, current=current, window=window)
    entries = [max(counts[0], current), *counts[1:]]
    for index, count in enumerate(found):
        inside = [entries[at] for at in range(index + 1) if at == index or 5.0 * at > 5.0 * index - window]
        assert count == (counts[index] if counts[index] >= current else min(current, max(inside)))
        current = count


@pytest.mark.parametrize("window", [0.0, 30.0, 120.0])
def test_after_a_gap_the_window_starts_again(window: float) -> None:
    """The service had a fixed count for an hour, or the process was stopped: what was right before says nothing."""
    history: Recommendations = ((NOW - 3600.0, 2),)
    count, history = stabilise(history, recommended=2, current=8, now=NOW, window_seconds=window)
    assert count == 8
    steps = int(window // 5) + 2
    for index in range(1, steps + 1):
        count, history = stabilise(history, recommended=2, current=8, now=NOW + 5 * index, window_seconds=window)
    assert count == 2


def test_a_tick_that_is_late_is_no_gap() -> None:
    late = NOW + LONGEST_GAP_SECONDS
    assert stabilise(((NOW, 2),), recommended=2, current=8, now=late, window_seconds=30)[0] == 2


def test_the_history_stays_small() -> None:
    history: Recommendations = ()
    for index in range(1000):
        _, history = stabilise(history, recommended=index % 7, current=9, now=NOW + index, window_seconds=3600)
    assert len(history) <= 8


def test_a_clock_that_jumps_back_shrinks_nothing() -> None:
    _, history = stabilise((), recommended=5, current=5, now=NOW, window_seconds=60)
    assert stabilise(history, recommended=1, current=5, now=NOW - 3600, window_seconds=60)[0] == 5


@pytest.mark.parametrize(
    ("policy", "asked", "given_", "limit"),
    [
        (POLICY, 5, 5, LimitedBy.NONE),
        (POLICY, 1, 2, LimitedBy.NONE),
        (POLICY, 8, 8, LimitedBy.NONE),
        (POLICY, 9, 8, LimitedBy.MAX),
        (replace(POLICY, cost_per_replica_hour=1.0, max_cost_per_hour=5.0), 6, 5, LimitedBy.BUDGET),
        (replace(POLICY, cost_per_replica_hour=1.0, max_cost_per_hour=5.0), 5, 5, LimitedBy.NONE),
        (replace(POLICY, cost_per_replica_hour=1.0, max_cost_per_hour=50.0), 60, 8, LimitedBy.MAX),
        (replace(POLICY, cost_per_replica_hour=1.0, max_cost_per_hour=1.0), 0, 1, LimitedBy.NONE),
    ],
    ids=[
        "inside",
        "minimum",
        "at maximum",
        "maximum",
        "budget",
        "at budget",
        "budget above maximum",
        "budget below min",
    ],
)
def test_bounds(policy: Policy, asked: int, given_: int, limit: LimitedBy) -> None:
    assert within_bounds(policy, asked) == (given_, limit)


@pytest.mark.parametrize(
    ("up", "down", "asked", "given_"),
    [(None, None, 50, 50), (None, None, 0, 0), (3, None, 50, 13), (3, None, 0, 0), (None, 2, 0, 8), (3, 2, 12, 12)],
    ids=["free up", "free down", "up", "up limits no down", "down", "inside"],
)
def test_steps(up: int | None, down: int | None, asked: int, given_: int) -> None:
    policy = replace(POLICY, max_up_step=up, max_down_step=down)
    assert within_step(policy, current=10, replicas=asked) == given_
