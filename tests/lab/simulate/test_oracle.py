"""The oracle's plan against exhaustive search, and its search against what must hold."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock_contract.profile import load_profile
from penstock_lab.simulate import oracle
from penstock_lab.simulate.score import Objectives, score
from penstock_lab.simulate.synthetic import Synthetic
from penstock_lab.simulate.world import Setting, World

PROFILE = load_profile("llama70b-fp8-tp4-h100")
OBJECTIVES = Objectives()


def cheapest(wanted: list[int], lead: int, most: int) -> int:
    """Fewest pod-cells with which enough serve in every cell, by dynamic programming over the ages of all pods."""
    states = {(lead,) * wanted[0]: 0}
    for cell, need in enumerate(wanted):
        following: dict[tuple[int, ...], int] = {}
        for ages, paid in states.items():
            kept = {one for size in range(len(ages) + 1) for one in itertools.combinations(ages, size)}
            for some in kept:
                for fresh in range(most - len(some) + 1 if cell else 1):
                    now = tuple(sorted(some + (0,) * fresh))
                    if sum(age >= lead for age in now) < need:
                        continue
                    older = tuple(min(lead, age + 1) for age in now)
                    cost = paid + len(now)
                    if cost < following.get(older, 10**9):
                        following[older] = cost
        states = following
    return min(states.values())


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3), st.integers(0, 2), st.lists(st.integers(0, 3), min_size=1, max_size=8))
def test_no_plan_has_fewer_pod_hours_than_the_levels(lead: int, first: int, later: list[int]) -> None:
    wanted = [first] * (lead + 1) + later  # what is wanted before a first pod can be there is there at the start
    asked, ready = oracle.levels(np.array(wanted), lead)
    assert np.all(ready >= wanted)
    assert np.all(asked >= ready)
    assert asked.sum() == cheapest(wanted, lead, 3)


def test_the_oracle_attains_by_itself_and_is_cheaper_than_any_constant_count() -> None:
    requests = Synthetic(shape="step3", seconds=2400.0, rate=12.0).columns()
    setting = Setting(PROFILE, startup_seconds=60.0, max_replicas=40)
    best = oracle.find(requests, setting, OBJECTIVES)
    fixed = oracle.constant(requests, setting, OBJECTIVES)
    assert best is not None
    assert fixed is not None
    assert not best.run.given_up
    assert score(best.run, PROFILE, OBJECTIVES).attainment >= OBJECTIVES.attainment
    assert (
        oracle.lower_bound_seconds(requests, PROFILE, OBJECTIVES) * PROFILE.accelerators / 3600 < best.score.gpu_hours
    )
    assert best.score.gpu_hours < 0.85 * fixed.score.gpu_hours


def test_a_run_that_is_given_up_could_not_have_attained() -> None:
    requests = Synthetic(shape="step3", seconds=1200.0, rate=12.0).columns()
    count = oracle.constant(requests, Setting(PROFILE, max_replicas=40), OBJECTIVES)
    assert count is not None
    fewer = count.initial_replicas - 1
    cell = np.array([fewer])
    held = oracle.Schedule(oracle.Plan(np.zeros(1), cell, cell))
    setting = Setting(PROFILE, initial_replicas=fewer, max_replicas=40)
    whole = World(requests, setting, held).run()
    assert score(whole, PROFILE, OBJECTIVES).attainment < OBJECTIVES.attainment
    short = World(requests, replace(setting, most_missed=int(0.01 * len(requests))), held).run()
    assert short.given_up
    assert short.end < whole.end
    assert not World(requests, replace(setting, most_missed=len(requests)), held).run().given_up
    assert pytest.approx(whole.finish) == World(requests, setting, held).run().finish
