"""A memory that is rebuilt equals the one that was lost, and what is not known of the past never shrinks a service."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_operator.core.observe import Door, Offered, at_the_door, from_view
from penstock_operator.core.ports import Series
from penstock_operator.core.recall import Circumstances, Past, judged_by_service, points_by_service, recall
from penstock_operator.core.scaling import Memory, Policy, Reason, decide
from penstock_operator.core.scaling.budget import Missed
from penstock_operator.core.scaling.signals import DOOR_QUERIES, QUERIES

KEY = ("team-a", "chat")
POLICY = Policy(min_replicas=1, max_replicas=20, target_tokens_per_second=100.0, stabilization_seconds=60.0)
GRID = tuple(1_000_000.0 + 5.0 * step for step in range(25))
QUIET = {
    "arrivals": 1.0,
    "prompt_tokens": 50.0,
    "generated_tokens": 50.0,
    "steps": 10.0,
    "step_seconds": 0.5,
    "decode_sequences": 50.0,
    "prefill_tokens": 50.0,
    "finished": 1.0,
    "waiting": 0.0,
    "running": 1.0,
    "kv_use": 0.5,
    "age": 2.0,
    "reporting": 4.0,
}
DOOR = {
    "door_arrivals": 1.0,
    "door_prompt_tokens": 50.0,
    "door_held": 0.0,
    "door_in_flight": 1.0,
    "door_reporting": 2.0,
}


def past(*, without: Any = (), **values: Any) -> Past:
    """Constant answers, or those of a function of the time; moments in `without` have no sample."""
    given = QUIET | DOOR | values
    return Past(
        answers={
            kind: {KEY: {at: value(at) if callable(value) else value for at in GRID if at not in without}}
            for kind, value in given.items()
        },
        grid=GRID,
        window_seconds=20.0,
    )


def remembered(seen: Past, *, replicas: int = 4, policy: Policy = POLICY, **more: Any) -> Memory:
    return recall(policy, KEY, seen, Circumstances(replicas, **({"since": GRID[0], "gateways": 2} | more)))


def next_decision(memory: Memory, seen: Past, *, policy: Policy = POLICY, replicas: int = 4) -> Any:
    view = seen.at(GRID[-1], KEY)
    observation = at_the_door(
        from_view(KEY, view, replicas=replicas, ready=replicas), Door(Offered(1.0, 50.0, 0.0, 1.0, 20.0, GRID[-1]))
    )
    return decide(policy, observation, memory, GRID[-1] + 5.0)[0]


def test_every_question_is_asked_of_the_past() -> None:
    assert set(QUIET) == set(QUERIES)
    assert set(DOOR) == set(DOOR_QUERIES)


@pytest.mark.parametrize("age", [2.0, 3.0, 21.0])
def test_a_drain_goes_on(age: float) -> None:
    """Whoever marked a replica knew that fewer were right; that needs no second window."""
    quiet = past()
    begun = {"since": GRID[-1] - 32.0, "draining": 1}
    marked = remembered(quiet, marked_at=GRID[-1] - age, **begun)
    assert next_decision(marked, quiet).replicas == 3
    assert next_decision(remembered(quiet), quiet).replicas < 3, "a whole window has been seen"
    assert next_decision(remembered(quiet, **begun), quiet).replicas == 4, "half a window without a mark holds"


def test_a_drain_is_not_gone_on_with_after_an_edit_or_where_the_load_came_back() -> None:
    quiet, since = past(), GRID[-1] - 10.0
    assert next_decision(remembered(quiet, since=since, draining=1, marked_at=since - 1), quiet).replicas == 4
    back = past(
        generated_tokens=lambda at: 500.0 if at == GRID[-2] else 50.0,
        arrivals=lambda at: 10.0 if at == GRID[-2] else 1.0,
        door_arrivals=lambda at: 10.0 if at == GRID[-2] else 1.0,
    )
    marked = remembered(back, since=GRID[-1] - 32.0, draining=1, marked_at=GRID[-1] - 21.0)
    assert next_decision(marked, back).replicas == 4


LABELS = {"namespace": "team-a", "inferenceservice": "chat"}


def judged(missed: float, *, at: tuple[float, ...] = GRID) -> Any:
    """Of five requests a second judged by an objective, so many missed."""
    labels = LABELS | {"metric": "TTFT", "percentile": "99"}
    return judged_by_service(
        [
            Series(labels | {"result": "met"}, tuple((moment, 5.0 - missed) for moment in at)),
            Series(labels | {"result": "missed"}, tuple((moment, missed) for moment in at)),
            Series(labels | {"result": "odd"}, ((GRID[0], 9.0),)),
            Series(labels | {"percentile": "many", "result": "met"}, ((GRID[0], 9.0),)),
            Series({"metric": "TTFT", "percentile": "99", "result": "met"}, ((GRID[0], 9.0),)),
        ]
    )


PROMISED = replace(POLICY, allowed=0.01)


def test_the_margins_of_the_error_budget_are_those_of_before() -> None:
    """Misses widen them, and only what the gateways judged does."""
    begun = remembered(past(), policy=PROMISED).margins
    spared = remembered(replace(past(), judged=judged(0.0)), policy=PROMISED).margins
    missed = replace(past(), judged=judged(0.5))
    widened, unheard = (
        remembered(missed, policy=PROMISED).margins,
        remembered(missed, policy=PROMISED, gateways=0).margins,
    )
    assert begun is not None
    assert spared is not None
    assert widened is not None
    assert spared.tail < begun.tail < widened.tail
    assert unheard == begun
    live = Memory()
    for at in GRID:
        observation = from_view(KEY, missed.at(at, KEY), replicas=4, ready=4)
        offered = Offered(1.0, 50.0, 0.0, 1.0, 20.0, at, missed=(Missed("TTFT", 1.0 - 0.99, 4.5, 0.5),))
        _, live = decide(PROMISED, at_the_door(observation, Door(offered)), live, at)
    assert live.margins == widened


def test_what_was_learned_outlives_an_edit_and_what_was_recommended_does_not() -> None:
    """As in an operator that was not restarted; but a namesake's past is nobody's."""
    seen = replace(past(arrivals=lambda at: 3.0 if at < GRID[12] else 1.0), judged=judged(0.5, at=GRID[:12]))
    seen = replace(seen, answers=seen.answers | {"door_arrivals": seen.answers["arrivals"]})
    more = {"policy": PROMISED, "since": GRID[20]}
    edited = remembered(seen, born=GRID[0], **more)  # type: ignore[arg-type]
    whole, anew = remembered(seen, policy=PROMISED), remembered(seen, born=GRID[20], **more)  # type: ignore[arg-type]
    assert edited.margins == whole.margins != anew.margins
    assert edited.forecast is not None
    assert whole.forecast is not None
    assert edited.forecast.peak == pytest.approx(whole.forecast.peak)
    assert min(at for at, _ in edited.recommendations) >= GRID[20]
    assert next_decision(edited, past(), policy=PROMISED).replicas == 4, "the window since the edit is not over"


def test_before_an_edit_as_many_served_as_reported() -> None:
    """The count of then is not known otherwise; a moment without reports is left out."""
    work = {"generated_tokens": 800.0, "waiting": 50.0}
    learning = replace(POLICY, target_tokens_per_second=None)
    seen = past(reporting=lambda at: 8.0 if at < GRID[10] else 0.0 if at < GRID[12] else 4.0, **work)
    found = remembered(seen, policy=learning, since=GRID[-1] + 1, born=GRID[0])
    assert found.saturation_tokens_per_second == pytest.approx(200.0), "four with 800 after eight with 800"


def test_forecasts_reach_as_far_as_a_start_takes() -> None:
    quick, slow = (remembered(past(), startup_seconds=seconds).forecast for seconds in (10.0, 100.0))
    assert quick is not None
    assert slow is not None
    assert quick.pairs > slow.pairs


@given(rates=st.lists(st.floats(0.0, 50.0), min_size=len(GRID), max_size=len(GRID)), gateways=st.sampled_from([0, 2]))
def test_it_is_the_memory_of_an_operator_that_never_stopped(rates: list[float], gateways: int) -> None:
    of = dict(zip(GRID, rates, strict=True))
    seen = past(arrivals=of.get, door_arrivals=of.get, generated_tokens=lambda at: 50.0 * of[at], finished=of.get)
    live = Memory()
    for at in GRID:
        observation = from_view(KEY, seen.at(at, KEY), replicas=4, ready=4)
        if gateways:
            observation = at_the_door(observation, Door(Offered(of[at], 50.0, 0.0, 1.0, 20.0, at)))
        _, live = decide(POLICY, observation, live, at)
    assert remembered(seen, gateways=gateways, since=0.0) == live


def test_with_a_whole_window_of_little_load_a_scale_down_goes_on() -> None:
    seen = past()
    decision = next_decision(remembered(seen), seen)
    assert (decision.replicas, decision.reason) == (1, Reason.LESS_LOAD)


@pytest.mark.parametrize(
    "seen",
    [
        past(without=GRID[18:20]),
        past(waiting=lambda at: 4000.0 if at == GRID[20] else 0.0),
        past(age=lambda at: 30.0 if at == GRID[15] else 2.0),
        replace(past(), grid=GRID[-3:]),
        past(reporting=lambda at: 1.0 if at == GRID[15] else 4.0),
        past(door_reporting=lambda at: 1.0 if at == GRID[15] else 2.0),
    ],
    ids=["gap", "queue", "stale", "short", "pod-not-scraped", "gateway-not-scraped"],
)
def test_anything_else_in_the_window_holds_the_count(seen: Past) -> None:
    assert next_decision(remembered(seen), past()).replicas == 4


def test_nothing_known_is_no_memory_of_load() -> None:
    nothing = Past(answers={kind: {} for kind in (*QUERIES, *DOOR_QUERIES)}, grid=GRID, window_seconds=20)
    assert next_decision(remembered(nothing), past()).replicas == 4


def test_what_was_before_the_service_was_a_namesake() -> None:
    assert remembered(past(), since=GRID[-1] + 1).forecast is None
    late = remembered(past(), since=GRID[-3])
    assert next_decision(late, past()).replicas == 4


def test_a_service_that_is_older_than_what_is_known_keeps_its_count_for_longer() -> None:
    seen = past()
    assert next_decision(remembered(seen, since=0.0), seen).replicas == 4


@pytest.mark.parametrize("missing", list(DOOR))
def test_gateways_whose_counters_are_missing_leave_the_demand_unknown(missing: str) -> None:
    answers = {kind: answer for kind, answer in past().answers.items() if kind != missing}
    seen = replace(past(), answers=answers | {missing: {}})
    assert next_decision(remembered(seen), past()).replicas == 4
    assert next_decision(remembered(seen, gateways=0), past()).replicas == 1


def test_the_time_without_requests_is_remembered() -> None:
    idle = dict.fromkeys(
        ("arrivals", "generated_tokens", "finished", "running", "door_arrivals", "door_in_flight"), 0.0
    )
    policy = replace(POLICY, min_replicas=0, idle_seconds=90.0)
    assert remembered(past(**idle), policy=policy).idle_since == GRID[0]
    assert remembered(past(), policy=policy).idle_since is None


def test_points_are_kept_by_service() -> None:
    labels = {"namespace": "team-a", "inferenceservice": "chat"}
    series = (Series(labels, ((1.0, 2.0), (2.0, 3.0))), Series({"namespace": "x"}, ((1.0, 1.0),)))
    assert points_by_service(series) == {KEY: {1.0: 2.0, 2.0: 3.0}}
