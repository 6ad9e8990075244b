"""Properties and examples of the scaling policy."""

import functools
import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from observations import NOW, fresh, observation
from penstock_operator.core.scaling import (
    Decision,
    LimitedBy,
    Memory,
    Observation,
    Policy,
    Reason,
    Signal,
    SignalState,
    decide,
)
from penstock_operator.core.scaling.budget import Missed
from penstock_operator.core.scaling.types import Mode

POLICY = Policy(min_replicas=1, max_replicas=100, target_tokens_per_second=1000.0, stabilization_seconds=60.0)

counts = st.integers(min_value=0, max_value=50)
loads = st.floats(min_value=0, max_value=1000, allow_nan=False)
unknown_states = st.sampled_from([SignalState.STALE, SignalState.ABSENT, SignalState.CONTRADICTORY])


def run(
    seen: Observation, *, policy: Policy = POLICY, ticks: int = 1, memory: Memory | None = None, start: float = NOW
) -> tuple[Decision, Memory, float]:
    """`ticks` ticks of 5 s on a constant observation, replicas following the decision."""
    memory, now = memory or Memory(), start
    for _ in range(ticks):
        decision, memory = decide(policy, seen, memory, now)
        now += 5.0
        if decision.act:
            ready = decision.replicas
            seen = replace(seen, replicas=ready, ready=ready, reporting=fresh(ready))
    return decision, memory, now


@functools.cache
def warm(**load: float) -> Memory:
    """Memory after a minute of load with known tokens per request."""
    memory, now = Memory(), NOW - 60.0
    for _ in range(12):
        _, memory = decide(POLICY, observation(**load), memory, now)  # type: ignore[arg-type]
        now += 5.0
    return memory


def test_offered_three_times_the_capacity_gives_three_times_the_replicas_in_one_decision() -> None:
    memory = warm(arrivals=8, running=8)
    overload = observation(arrivals=30, served=10, waiting=20, running=16)
    decision, _ = decide(POLICY, overload, memory, NOW)
    assert decision.replicas >= 3
    assert decision.reason in (Reason.OFFERED_LOAD, Reason.BACKLOG)
    assert decision.needed is not None
    assert decision.needed >= 3


def test_overload_without_a_target_is_sized_by_the_saturation_that_was_seen() -> None:
    policy = replace(POLICY, target_tokens_per_second=None)
    memory = Memory()
    seen = observation(arrivals=30, served=10, waiting=20, running=16)
    replicas = []
    for tick in range(14):
        decision, memory = decide(policy, seen, memory, NOW + 5 * tick)
        replicas.append(decision.replicas)
    assert replicas[0] == 2  # one more, until a whole window with a queue was seen
    assert replicas[-1] >= 3
    assert decision.capacity_tokens_per_second == pytest.approx(800)


@given(replicas=counts, ready=counts, load=loads, waiting=loads, minimum=counts, span=counts, budget=st.none() | loads)
def test_bounds_hold_whatever_is_seen(  # noqa: PLR0917 - hypothesis passes them by name
    replicas: int, ready: int, load: float, waiting: float, minimum: int, span: int, budget: float | None
) -> None:
    policy = replace(
        POLICY, min_replicas=minimum, max_replicas=minimum + span, cost_per_replica_hour=2.5, max_cost_per_hour=budget
    )
    seen = observation(replicas=replicas, ready=ready, arrivals=load, waiting=waiting)
    decision, _ = decide(policy, seen, Memory(), NOW)
    ceiling = policy.max_replicas if budget is None else min(policy.max_replicas, int(budget / 2.5 + 1e-9))
    assert min(minimum, ceiling) <= decision.replicas <= ceiling


@given(replicas=st.integers(1, 50), low=loads, more=loads, waiting=st.floats(0, 100))
def test_more_load_never_gives_fewer_replicas(replicas: int, low: float, more: float, waiting: float) -> None:
    memory = replace(warm(arrivals=10, running=10), arrivals=None, recommendations=())
    first, _ = decide(POLICY, observation(replicas=replicas, arrivals=low, waiting=waiting), memory, NOW)
    second, _ = decide(POLICY, observation(replicas=replicas, arrivals=low + more, waiting=waiting), memory, NOW)
    assert second.replicas >= first.replicas


@given(replicas=st.integers(1, 100), state=unknown_states, load=loads, waiting=loads)
@pytest.mark.parametrize("name", ["arrivals", "waiting"])
def test_unknown_load_holds(name: str, replicas: int, state: SignalState, load: float, waiting: float) -> None:
    seen = observation(replicas=replicas, arrivals=load, waiting=waiting)
    seen = replace(seen, **{name: Signal(state, 0.0)})
    decision, memory = decide(POLICY, seen, warm(arrivals=5), NOW)
    assert decision.replicas == replicas
    assert decision.limited_by is LimitedBy.UNKNOWN
    assert decision.reason is Reason.SIGNALS_UNKNOWN
    if name == "arrivals":
        assert memory.arrivals == warm(arrivals=5).arrivals, "an unknown signal must not move the estimate"


@given(replicas=st.integers(2, 100), state=unknown_states)
@pytest.mark.parametrize("name", ["generated_tokens", "running", "reporting", "arrivals", "waiting"])
def test_no_unknown_signal_ever_shrinks(name: str, replicas: int, state: SignalState) -> None:
    seen = replace(observation(replicas=replicas), **{name: Signal(state, 0.0)})
    memory, now = Memory(), NOW
    for _ in range(40):
        decision, memory = decide(POLICY, seen, memory, now)
        assert decision.replicas == replicas
        now += 5.0


def test_a_pod_that_does_not_report_keeps_the_count() -> None:
    seen = replace(observation(replicas=4), reporting=fresh(3))
    memory, now = Memory(), NOW
    for _ in range(40):
        decision, memory = decide(POLICY, seen, memory, now)
        assert decision.replicas == 4
        now += 5.0
    assert "3 of 4 ready pods report" in decision.message


@given(replicas=st.integers(1, 100), load=loads, window=st.floats(0, 600))
def test_empty_memory_never_shrinks(replicas: int, load: float, window: float) -> None:
    policy = replace(POLICY, stabilization_seconds=window)
    decision, _ = decide(policy, observation(replicas=replicas, arrivals=load), Memory(), NOW)
    assert decision.replicas >= replicas


@settings(max_examples=8)
@given(replicas=st.integers(1, 30), load=st.floats(0.5, 250), allowed=st.sampled_from([None, 0.01, 0.1]))
def test_constant_load_reaches_a_fixed_point(replicas: int, load: float, allowed: float | None) -> None:
    """From above, as it is learned that the load does not move; and it stays there."""
    seen, memory, now, counts = observation(replicas=replicas, arrivals=load, running=load), Memory(), NOW, []
    for _ in range(600):
        decision, memory = decide(replace(POLICY, allowed=allowed), seen, memory, now)
        counts.append(decision.replicas)
        seen = replace(seen, replicas=counts[-1], ready=counts[-1], reporting=fresh(counts[-1]))
        now += 5.0
    needed = load * 100 / 1000
    assert counts[60:] == sorted(counts[60:], reverse=True)
    assert math.ceil(needed) <= counts[-1] <= math.ceil(needed * 1.2 / 0.9)
    assert allowed or len(set(counts[-400:])) == 1


@given(replicas=counts, load=loads, waiting=loads)
def test_pure(replicas: int, load: float, waiting: float) -> None:
    seen, memory = observation(replicas=replicas, arrivals=load, waiting=waiting), warm(arrivals=7)
    assert decide(POLICY, seen, memory, NOW) == decide(POLICY, seen, memory, NOW)


def test_fewer_replicas_only_after_the_window() -> None:
    memory, now, history = warm(arrivals=40, running=40), NOW, []
    seen = observation(replicas=4, arrivals=5, running=5)
    for _ in range(20):
        decision, memory = decide(POLICY, seen, memory, now)
        history.append(decision.replicas)
        now += 5.0
    assert set(history[:11]) == {4}
    assert history[-1] == 1


@pytest.mark.parametrize(("ready", "kept"), [(8, True), (0, False)], ids=["found at work", "just made"])
def test_a_count_that_was_found_is_kept_until_the_load_is_known(ready: int, kept: bool) -> None:
    """Pods that serve already were asked for by somebody who knew why; a new service has none yet."""
    memory, now = Memory(), NOW
    first = observation(replicas=8, ready=ready, arrivals=5, running=5)
    decision, memory = decide(POLICY, first, memory, now)
    for _ in range(int(POLICY.stabilization_seconds / 5) + 8):
        now += 5.0
        decision, memory = decide(POLICY, observation(replicas=8, arrivals=5, running=5), memory, now)
    assert (decision.replicas == 8) is kept


def test_load_that_returns_inside_the_window_keeps_the_count() -> None:
    memory, now = warm(arrivals=40, running=40), NOW
    for load in (5, 40, 5, 40) * 10:
        for _ in range(4):
            decision, memory = decide(POLICY, observation(replicas=4, arrivals=load, running=load), memory, now)
            assert decision.replicas >= 4
            now += 5.0


@pytest.mark.parametrize(
    ("policy", "seen", "replicas", "limit"),
    [
        (replace(POLICY, max_replicas=3), {"arrivals": 90}, 3, LimitedBy.MAX),
        (replace(POLICY, cost_per_replica_hour=10.0, max_cost_per_hour=25.0), {"arrivals": 90}, 2, LimitedBy.BUDGET),
        (replace(POLICY, max_up_step=2), {"arrivals": 90}, 3, LimitedBy.RATE),
        (POLICY, {"arrivals": 90, "unschedulable": 1}, 1, LimitedBy.QUOTA),
    ],
    ids=["max", "budget", "rate", "quota"],
)
def test_limits_bind_and_say_so(policy: Policy, seen: dict[str, float], replicas: int, limit: LimitedBy) -> None:
    decision, _ = decide(policy, observation(**seen), warm(arrivals=10, running=10), NOW)  # type: ignore[arg-type]
    assert (decision.replicas, decision.limited_by) == (replicas, limit)


@pytest.mark.parametrize(
    ("load", "ready", "replicas", "limit"),
    [(25, 2, 3, LimitedBy.QUOTA), (25, 3, 3, LimitedBy.NONE), (5, 2, 1, LimitedBy.NONE)],
    ids=["one of them finds no node", "a surge pod of a rollout finds none", "not needed"],
)
def test_a_count_the_load_needs_is_limited_while_a_pod_of_it_finds_no_node(
    load: float, ready: int, replicas: int, limit: LimitedBy
) -> None:
    seen = observation(replicas=3, ready=ready, arrivals=load, running=load, unschedulable=1)
    decision, _ = decide(POLICY, seen, warm(arrivals=load, running=load), NOW)
    assert (decision.replicas, decision.limited_by) == (replicas, limit)


def test_a_rollout_keeps_the_count() -> None:
    decision, _, _ = run(observation(replicas=4, rolling_out=True), ticks=40)
    assert (decision.replicas, decision.reason) == (4, Reason.ROLLOUT)


def test_pods_that_all_still_start_keep_the_count() -> None:
    """No pod is ready, so no request can arrive: that there is no load proves nothing, for however long."""
    memory, now = warm(arrivals=40, running=40), NOW
    for _ in range(200):
        decision, memory = decide(POLICY, observation(replicas=5, ready=0), memory, now)
        assert (decision.replicas, decision.reason) == (5, Reason.STARTING)
        now += 5.0
    lowered, _ = decide(replace(POLICY, max_replicas=3), observation(replicas=5, ready=0), memory, now)
    assert lowered.replicas == 3, "bounds bind in every state"


def test_a_count_that_was_fixed_for_an_hour_is_not_cut_at_once() -> None:
    """The memory of before is an hour old when `spec.replicas` gives way to `spec.scaling` again."""
    _, memory, now = run(observation(replicas=1), ticks=30)
    for _ in range(12):
        now += 5.0
        decision, memory = decide(POLICY, observation(replicas=8), memory, now + 3600.0)
        assert decision.replicas == 8
    assert decision.reason is Reason.STABILIZING


def test_a_source_that_is_away_is_named() -> None:
    seen = replace(observation(replicas=3), arrivals=Signal(SignalState.ABSENT), source_error="Prometheus is away")
    decision, _ = decide(POLICY, seen, Memory(), NOW)
    assert decision.replicas == 3
    assert decision.message.startswith("holds 3: Prometheus is away")


def test_one_step_down_at_a_time() -> None:
    policy = replace(POLICY, max_down_step=2, stabilization_seconds=0.0)
    first, memory = decide(policy, observation(replicas=9), warm(arrivals=40, running=40), NOW)
    second, _ = decide(policy, observation(replicas=first.replicas), memory, NOW + 5)
    assert (first.replicas, second.replicas, second.limited_by) == (7, 5, LimitedBy.RATE)


def test_moved_bounds_apply_while_signals_are_unknown() -> None:
    seen = replace(observation(replicas=2), arrivals=Signal(SignalState.ABSENT))
    decision, _ = decide(replace(POLICY, min_replicas=5), seen, Memory(), NOW)
    assert (decision.replicas, decision.reason) == (5, Reason.BOUNDS)


@pytest.mark.parametrize("mode", [Mode.PAUSED, Mode.ADVISE])
def test_only_auto_acts(mode: Mode) -> None:
    decision, _ = decide(replace(POLICY, mode=mode), observation(arrivals=90), warm(arrivals=10, running=10), NOW)
    assert not decision.act
    assert decision.replicas == 1 if mode is Mode.PAUSED else decision.replicas >= 10


def test_a_foreign_scaler_is_left_alone() -> None:
    decision, _ = decide(POLICY, observation(arrivals=90, foreign_scaler="keda"), warm(arrivals=10), NOW)
    assert not decision.act
    assert decision.reason is Reason.FOREIGN_SCALER


def test_a_queue_adds_one_replica_while_capacity_is_unknown_and_none_while_it_starts() -> None:
    policy = replace(POLICY, target_tokens_per_second=None)
    first, memory = decide(policy, observation(waiting=50), Memory(), NOW)
    assert (first.replicas, first.reason) == (2, Reason.QUEUE_WITHOUT_CAPACITY)
    starting, _ = decide(policy, observation(replicas=2, ready=1, waiting=50), memory, NOW + 5)
    assert starting.replicas == 2


def test_zero_replicas_without_signals_stay_zero() -> None:
    policy = replace(POLICY, min_replicas=0)
    seen = replace(observation(replicas=0), arrivals=Signal(SignalState.ABSENT), waiting=Signal(SignalState.ABSENT))
    assert decide(policy, seen, Memory(), NOW)[0].replicas == 0
    assert decide(policy, observation(replicas=0), Memory(), NOW)[0].replicas == 0


@pytest.mark.parametrize(("low", "high"), [(-1, 3), (4, 3)])
def test_policy_refuses_impossible_bounds(low: int, high: int) -> None:
    with pytest.raises(ValueError, match="min_replicas"):
        Policy(min_replicas=low, max_replicas=high)


@pytest.mark.parametrize("why", [{"mode": Mode.PAUSED}, {"foreign": "keda"}])
def test_what_does_not_act_is_limited_by_nothing(why: dict[str, object]) -> None:
    """Else a paused service at one of six replicas would be told that it is at its maximum."""
    policy = replace(POLICY, max_replicas=6, mode=why.get("mode", Mode.AUTO))
    seen = replace(observation(arrivals=500, running=8), foreign_scaler=why.get("foreign"))
    decision, _ = decide(policy, seen, warm(arrivals=8, running=8), NOW)
    assert (decision.replicas, decision.act, decision.limited_by) == (1, False, LimitedBy.NONE)


@pytest.mark.parametrize(
    ("window", "startup", "pause"),
    [(60.0, 5.0, 100.0), (120.0, 5.0, 180.0), (60.0, 55.0, 600.0), (60.0, 400.0, 900.0), (30.0, 55.0, 0.0)],
)
def test_a_load_that_stops_at_once_is_waited_for(window: float, startup: float, pause: float) -> None:
    """Ten start-ups, at least one and a half windows, at most a quarter of an hour; then the window."""
    policy = replace(POLICY, stabilization_seconds=window)
    busy = observation(replicas=4, arrivals=30, running=30)
    memory, now = Memory(), NOW
    for _ in range(70):
        _, memory = decide(policy, replace(busy, startup_seconds=startup), memory, now)
        now += 5.0
    stopped, kept = now, 0.0
    idle = replace(observation(replicas=4), held=fresh(0), in_flight=fresh(0), startup_seconds=startup)
    for _ in range(300):
        decision, memory = decide(policy, idle, memory, now)
        if decision.replicas < 4:
            break
        assert decision.reason is Reason.STABILIZING
        kept = now - stopped
        now += 5.0
    assert kept == pytest.approx(pause + window, abs=15.0)


def test_a_load_that_never_was_is_not_waited_for_ten_start_ups() -> None:
    policy, memory, now = replace(POLICY, stabilization_seconds=60.0), Memory(), NOW
    idle = replace(observation(replicas=4), held=fresh(0), in_flight=fresh(0), startup_seconds=60.0)
    while now - NOW < 600.0:
        decision, memory = decide(policy, idle, memory, now)
        if decision.replicas < 4:
            break
        now += 5.0
    assert now - NOW == pytest.approx(300.0, abs=10.0), "as long as any count of which nothing is known"


def test_requests_that_miss_in_numbers_outweigh_a_capacity_that_says_there_is_room() -> None:
    policy = replace(POLICY, allowed=0.01, ttft_seconds=2.0, target_tokens_per_second=None)
    seen = replace(observation(replicas=10, arrivals=20, running=40), missed=(Missed("TTFT", 0.01, 10.0, 10.0),))
    memory, now, asked = Memory(saturation_tokens_per_second=1000.0), NOW, []
    for _ in range(12):
        decision, memory = decide(policy, seen, memory, now)
        asked.append(decision.replicas)
        now += 5.0
        says = f", {decision.replicas} since" in decision.message and "of the requests are late" in decision.message
        assert says == (decision.replicas > 10), decision.message
    assert max(asked) in (13, 14, 15)
    waiting, _ = decide(policy, replace(seen, replicas=14, starting_ages=(5.0,) * 4), memory, now)
    assert waiting.replicas == 14
    idle, _ = decide(policy, replace(seen, running=fresh(5)), memory, now)
    assert idle.replicas == 10, "requests that fail on idle replicas want a mend, not more of them"
    told, _ = decide(replace(policy, target_tokens_per_second=1000.0), seen, memory, now)
    assert told.replicas == 10


def test_what_was_late_and_is_not_any_more_asks_for_no_more_replicas() -> None:
    policy = replace(POLICY, allowed=0.01, ttft_seconds=2.0, target_tokens_per_second=None)
    seen = replace(observation(replicas=10, arrivals=20, running=40), missed=(Missed("TTFT", 0.01, 0.0, 20.0),))
    memory, now = Memory(saturation_tokens_per_second=1000.0), NOW
    for ready in (4, 10, *[10] * 7):
        _, memory = decide(policy, replace(seen, ready=ready, reporting=fresh(ready)), memory, now)
        now += 5.0
    still, _ = decide(policy, seen, memory, now + 5.0)
    assert still.replicas == 15
    over = replace(seen, missed=(Missed("TTFT", 0.01, 20.0, 0.0),))
    for _ in range(4):
        decision, memory = decide(policy, over, memory, now)
        assert (decision.replicas, memory.late > 0.3) == (10, True)
        now += 5.0


def test_misses_of_the_time_before_the_replicas_came_ask_for_no_more_of_them() -> None:
    policy = replace(POLICY, allowed=0.01, ttft_seconds=2.0, target_tokens_per_second=None)
    seen = replace(observation(replicas=10, arrivals=20, running=40), missed=(Missed("TTFT", 0.01, 0.0, 20.0),))
    memory, now = Memory(saturation_tokens_per_second=1000.0), NOW
    for ready in (4, 10, 10, 10, 10):
        decision, memory = decide(policy, replace(seen, ready=ready, reporting=fresh(ready)), memory, now)
        now += 5.0
        assert decision.replicas == 10
