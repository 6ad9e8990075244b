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


def test_need_is_load_and_a_backlog_worked_off_in_time() -> None:
    found = need(demand=2500, excess_requests=30, tokens_per_request=100, capacity=1000)
    assert found.load == 2.5
    assert found.backlog == pytest.approx(30 * 100 / BACKLOG_DRAIN_SECONDS / 1000)
    assert found.total == found.load + found.backlog


@pytest.mark.parametrize(
    ("demand", "excess", "reason"),
    [
        (2500, 0, Reason.OFFERED_LOAD),
        (2500, 30, Reason.OFFERED_LOAD),
        (2950, 30, Reason.BACKLOG),
        (0, 1, Reason.BACKLOG),
    ],
    ids=["load only", "backlog fits in", "backlog needs one more", "backlog only"],
)
def test_the_reason_is_what_decides_the_count(demand: float, excess: float, reason: Reason) -> None:
    assert need(demand=demand, excess_requests=excess, tokens_per_request=100, capacity=1000).reason is reason


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
