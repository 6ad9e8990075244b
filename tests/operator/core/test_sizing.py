import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_operator.core.scaling import Policy, Reason
from penstock_operator.core.scaling.sizing import (
    BACKLOG_DRAIN_SECONDS,
    DOWN_UTILISATION,
    affordable,
    backlog_when_ready,
    excess_queue,
    need,
    recommend,
)

needs = st.floats(0, 500)
counts = st.integers(1, 500)


@pytest.mark.parametrize(
    ("waiting", "tolerated", "ready", "excess"),
    [(10, 4, 2, 2), (8, 4, 2, 0), (0, 4, 2, 0), (10, 4, 0, 6), (10, 4, 1, 6)],
    ids=["beyond", "tolerated", "none", "none ready counts as one", "one ready"],
)
def test_excess(waiting: float, tolerated: float, ready: int, excess: float) -> None:
    assert excess_queue(waiting=waiting, tolerated_per_replica=tolerated, ready=ready) == excess


def test_need_is_the_load_to_come_and_a_backlog_worked_off_in_time() -> None:
    found = need(now=2.5, growth=1.2, backlog=15.0)
    assert found.load == pytest.approx(3.0)
    assert found.backlog == pytest.approx(15.0 / BACKLOG_DRAIN_SECONDS)
    assert found.total == found.load + found.backlog


@pytest.mark.parametrize(
    ("now", "backlog", "reason"),
    [(2.5, 0, Reason.OFFERED_LOAD), (2.5, 3, Reason.OFFERED_LOAD), (2.95, 6, Reason.BACKLOG), (0, 1, Reason.BACKLOG)],
    ids=["load only", "backlog fits in", "backlog needs one more", "backlog only"],
)
def test_the_reason_is_what_decides_the_count(now: float, backlog: float, reason: Reason) -> None:
    assert need(now=now, growth=1.0, backlog=backlog).reason is reason


@pytest.mark.parametrize(
    ("excess", "need", "ready", "etas", "waiting"),
    [
        (0.0, 2.0, 2, [], 0.0),
        (30.0, 2.0, 3, [], 0.0),
        (90.0, 2.0, 3, [], 30.0),
        (0.0, 3.0, 2, [], 60.0),
        (0.0, 3.0, 2, [20.0], 20.0),
        (0.0, 3.0, 2, [20.0, 40.0], 0.0),
        (0.0, 3.0, 2, [-5.0], 0.0),
        (0.0, 3.0, 2, [500.0], 60.0),
    ],
    ids=["enough", "worked off", "not in time", "grows", "until help comes", "and is worked off", "late", "too late"],
)
def test_the_backlog_that_will_be_left_counts(
    excess: float, need: float, ready: int, etas: list[float], waiting: float
) -> None:
    left = backlog_when_ready(excess=excess, need=need, ready=ready, etas=etas, horizon_seconds=60.0)
    assert left == pytest.approx(waiting)


@given(needed=needs, more=needs, current=counts)
def test_monotone(needed: float, more: float, current: int) -> None:
    assert recommend(needed + more, current=current) >= recommend(needed, current=current)


@given(needed=needs, current=counts)
def test_enough_and_not_much_more(needed: float, current: int) -> None:
    found = recommend(needed, current=current)
    assert found >= needed - 1e-6
    assert found <= max(current, math.ceil(needed))
    if found < current:
        assert found == 1 or needed / found <= DOWN_UTILISATION + 1e-6


@given(needed=needs, current=counts)
def test_a_count_once_reached_stays(needed: float, current: int) -> None:
    found = recommend(needed, current=current)
    assert recommend(needed, current=found) == found


def test_rounding_adds_no_replica() -> None:
    assert recommend(0.1 * 3 / 0.1, current=1) == 3
    assert recommend(3.0000001, current=1) == 4


def test_one_replica_stays_without_load() -> None:
    assert recommend(0.0, current=5) == 1


@pytest.mark.parametrize(
    ("price", "budget", "count"),
    [
        (2.5, 10.0, 4),
        (2.5, 9.99, 3),
        (0.1, 0.3, 3),
        (2.5, 0.0, 0),
        (None, 10.0, None),
        (2.5, None, None),
        (0.0, 1.0, None),
    ],
    ids=["even", "just not", "rounding", "nothing", "no price", "no budget", "free"],
)
def test_affordable(price: float | None, budget: float | None, count: int | None) -> None:
    policy = Policy(min_replicas=0, max_replicas=9)
    assert affordable(replace(policy, cost_per_replica_hour=price, max_cost_per_hour=budget)) == count
