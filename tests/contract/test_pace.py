"""How many sequences a worker may have: what answers tell, and what follows from it."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_contract.pace import FOLD_SECONDS, Pace

ALONE, EACH, OBJECTIVE = 0.008, 0.0004, 0.05
RIGHT = 0.85 * (OBJECTIVE - ALONE) / EACH


def told(pace: Pace, loads: list[float], *, each: float = EACH, seed: int = 0, answers: int = 40) -> None:
    """A window of answers at each of these numbers of sequences, with the noise that answers have."""
    dice = random.Random(seed)
    for load in loads:
        for _ in range(answers):
            sequences = max(1.0, dice.gauss(load, 0.1 * load))
            pace.observe(sequences, (ALONE + each * sequences) * dice.gauss(1.0, 0.05))
        pace.fold(FOLD_SECONDS)


def test_nothing_is_said_before_enough_answers_came() -> None:
    pace = Pace()
    assert pace.most(OBJECTIVE) == math.inf
    for _ in range(4):
        pace.observe(20, 0.016)
    pace.fold(FOLD_SECONDS)
    assert pace.most(OBJECTIVE) == math.inf
    told(pace, [20.0])
    assert pace.most(OBJECTIVE) < math.inf


@pytest.mark.parametrize("load", [40.0, 85.0, 150.0])
def test_the_number_is_where_the_mean_keeps_to_the_objective(load: float) -> None:
    pace = Pace()
    told(pace, [load * (0.5 + (number % 11) / 10) for number in range(60)])
    assert pace.most(OBJECTIVE) == pytest.approx(RIGHT, rel=0.1)


def test_a_worker_that_is_slow_alone_gets_most_of_what_it_carries() -> None:
    """Half of the objective is gone beside nobody; a share off the whole of it would be twice that off the rest."""
    pace, objective, each = Pace(), 2 * ALONE, EACH / 4
    told(pace, [30.0 + 5 * (number % 9) for number in range(60)], each=each)
    assert pace.most(objective) == pytest.approx(0.85 * (objective - ALONE) / each, rel=0.08)


def test_a_load_that_never_changes_leaves_it_near() -> None:
    pace = Pace()
    told(pace, [30.0] * 60)
    assert 0.6 * RIGHT <= pace.most(OBJECTIVE) <= 1.3 * RIGHT


@pytest.mark.parametrize("objective", [0.05, 0.005])
def test_while_tokens_take_too_long_it_is_less_than_there_are(objective: float) -> None:
    """Whatever the line looks like: here they take the same beside few and many."""
    pace, dice = Pace(), random.Random(1)
    for _ in range(40):
        for _ in range(40):
            pace.observe(dice.uniform(99, 101), 0.1)
        pace.fold(FOLD_SECONDS)
    assert pace.most(objective) <= max(16.0, 100 * objective / 0.1)


def test_an_objective_that_no_worker_meets_holds_nobody_back() -> None:
    pace = Pace()
    told(pace, [20.0 + 4 * (number % 9) for number in range(60)])
    assert pace.most(ALONE / 2) == math.inf


def test_answers_that_take_twice_as_long_count_within_a_minute() -> None:
    pace = Pace()
    told(pace, [40.0 + 5 * (number % 9) for number in range(60)])
    told(pace, [60.0] * 12, each=2 * EACH)
    assert pace.most(OBJECTIVE) == pytest.approx(RIGHT / 2, rel=0.25)


def test_what_is_long_past_is_forgotten() -> None:
    pace = Pace()
    told(pace, [40.0])
    known = pace.most(OBJECTIVE)
    for _ in range(100):
        pace.fold(FOLD_SECONDS)
    assert pace.most(OBJECTIVE) == known
    for _ in range(30):
        pace.fold(FOLD_SECONDS)
    assert pace.most(OBJECTIVE) == math.inf


@pytest.mark.parametrize("seconds", [math.nan, math.inf, -1.0])
def test_a_time_that_cannot_be_says_nothing(seconds: float) -> None:
    pace = Pace()
    for _ in range(50):
        pace.observe(20, seconds)
    pace.fold(FOLD_SECONDS)
    assert pace.most(OBJECTIVE) == math.inf
    told(pace, [40.0])
    assert pace.most(OBJECTIVE) < math.inf


answers = st.lists(st.tuples(st.integers(1, 5000), st.floats(0.0, 100.0)), max_size=60)


@given(st.lists(answers, max_size=8), st.floats(1e-4, 10.0))
def test_whatever_is_heard_some_may_have_work(windows: list[list[tuple[int, float]]], objective: float) -> None:
    pace = Pace()
    for window in windows:
        for sequences, seconds in window:
            pace.observe(sequences, seconds)
        pace.fold(FOLD_SECONDS)
        assert pace.most(objective) >= 16.0, "or it is not a number"


@pytest.mark.parametrize("asked", [(200.0, 200.0), (200.0, 60.0)])
def test_two_gateways_learn_a_share_each(asked: tuple[float, float]) -> None:
    """Neither knows of the other; both see what both send."""
    dice, paces, most = random.Random(2), (Pace(), Pace()), [math.inf, math.inf]
    total = 0.0
    for _ in range(120):
        loads = [min(want, limit) * dice.uniform(0.8, 1.0) for want, limit in zip(asked, most, strict=True)]
        total = sum(loads)
        for pace, load in zip(paces, loads, strict=True):
            for _ in range(20):
                pace.observe(load, (ALONE + EACH * total) * dice.gauss(1.0, 0.05))
            pace.fold(FOLD_SECONDS)
        most = [pace.most(OBJECTIVE) for pace in paces]
    assert 0.6 * RIGHT <= total <= 1.15 * RIGHT
