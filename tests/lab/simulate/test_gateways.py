"""The simulated gateway holds requests as the real one does: the same numbers, the same order, nobody lost."""

from __future__ import annotations

import random

import numpy as np
import pytest

from penstock_contract.profile import load_profile
from penstock_gateway.waiting import Waiting
from penstock_lab.simulate import engine
from penstock_lab.simulate.policies.static import Static
from penstock_lab.simulate.score import Objectives, score
from penstock_lab.simulate.state import Limits, Requests, arrays, open_slot, waiting
from penstock_lab.simulate.world import Run, Setting, World

PROFILE = load_profile("llama70b-fp8-tp4-h100")
OBJECTIVES = Objectives(ttft_seconds=2.0, tpot_seconds=0.05)


def surge(seed: int = 1, *, quiet: float = 30.0, busy: float = 90.0, seconds: float = 300.0) -> Requests:
    """A load that two replicas carry, for a while three times it, and the first again."""
    dice = np.random.default_rng(seed)
    parts = [
        number * seconds + np.sort(dice.uniform(0, seconds, dice.poisson(rate * seconds)))
        for number, rate in enumerate((quiet, busy, quiet, quiet))
    ]
    arrival = np.concatenate(parts)
    prompt = np.clip(dice.lognormal(6.0, 0.6, len(arrival)), 1, 6000)
    return Requests.of(arrival, prompt, np.clip(dice.lognormal(5.0, 0.5, len(arrival)), 1, 1500))


def served(requests: Requests, *, paced: bool) -> Run:
    return World(requests, Setting(PROFILE, initial_replicas=2, max_replicas=2, paced=paced), Static(2)).run()


def test_more_are_in_time_when_more_come_than_are_carried_and_nobody_is_lost() -> None:
    requests = surge()
    plain, paced = (served(requests, paced=one) for one in (False, True))
    for one in (plain, paced):
        assert np.isfinite(one.finish).all()
    attained = [score(one, PROFILE, OBJECTIVES).attainment for one in (plain, paced)]
    assert attained[1] > attained[0] + 0.1, attained


def test_a_load_that_is_carried_is_served_the_same() -> None:
    requests = surge(busy=30.0)
    plain, paced = (served(requests, paced=one) for one in (False, True))
    assert np.array_equal(plain.finish, paced.finish)


@pytest.mark.parametrize("seed", range(4))
def test_the_order_is_the_gateways(seed: int) -> None:
    """One replica that takes one at a time, beside the real gateway's own queue."""
    dice = random.Random(seed)
    arrival = np.sort([dice.uniform(0, 40) for _ in range(120)])
    requests = Requests.of(arrival, np.full(120, 10), np.full(120, 20))
    late, overdue = 2.0, 8.0
    fleet = arrays(requests, Limits.of(PROFILE), slots=1)
    fleet.held[:] = 1.0, late, overdue
    engine.run(fleet, 0.0, 30.0)
    open_slot(fleet, 0, 30.0)
    engine.run(fleet, 30.0, 200.0)
    assert waiting(fleet) == 0
    order = [int(one) for one in np.argsort(fleet.admitted)]

    line: Waiting[_Claim] = Waiting()
    line.late_seconds, line.hold_seconds = late, 2 * overdue
    coming, real = [_Claim(float(one), number) for number, one in enumerate(arrival)], []
    for number in order:
        now = float(fleet.admitted[number])
        while coming and coming[0].arrived <= now:
            line.append(coming.pop(0), first=False)
        real.append(line.next(now))
        line.served(real[-1], now)
    assert [one.number for one in real] == order
    assert order != sorted(order), "late ones were let wait"


@pytest.mark.parametrize("crowd", [60, 150])
def test_crowds_that_come_and_go_are_not_taken_for_fewer_than_they_are(crowd: int) -> None:
    """All of them are there until the end, when few are left beside the last."""
    arrival = np.concatenate([60.0 * number + np.arange(crowd) * 1e-3 for number in range(20)])
    requests = Requests.of(arrival, np.full(len(arrival), 100), np.full(len(arrival), 200))
    attained = [
        score(World(requests, Setting(PROFILE, paced=one), Static(1)).run(), PROFILE, OBJECTIVES).attainment
        for one in (False, True)
    ]
    assert attained[1] >= attained[0]


class _Claim:
    def __init__(self, arrived: float, number: int) -> None:
        self.arrived = arrived
        self.number = number
