"""Who waits and who is next: first come, first served among those in time, then the late, and nobody forever."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from penstock_contract.pace import LATE_TURN
from penstock_gateway.waiting import Waiting


@dataclass(eq=False)
class Claim:
    arrived: float


def waiting(*arrived: float, late: float = math.inf, hold: float = 120.0) -> Waiting[Claim]:
    made: Waiting[Claim] = Waiting()
    made.late_seconds, made.hold_seconds = late, hold
    for one in arrived:
        made.append(Claim(one), first=False)
    return made


def order(line: Waiting[Claim], now: float) -> list[float]:
    """In which they are served when all places come at one time."""
    served = []
    while line:
        claim = line.next(now)
        line.served(claim, now)
        served.append(claim.arrived)
    return served


def test_without_an_objective_who_comes_first_is_first():
    assert order(waiting(0.0, 1.0, 2.0), now=100.0) == [0.0, 1.0, 2.0]


def test_who_can_be_in_time_goes_before_who_cannot():
    assert order(waiting(0.0, 1.0, 2.0, 3.0, late=1.5), now=3.0) == [2.0, 3.0, 0.0, 1.0]


def test_who_was_not_taken_by_a_worker_goes_before_all():
    line = waiting(2.0, 3.0, late=1.5)
    line.append(Claim(0.0), first=True)
    assert order(line, now=3.0) == [0.0, 2.0, 3.0]


def test_the_oldest_gets_every_fourth_place_from_half_of_the_longest_wait_on():
    late, fresh = [0.0, 1.0, 2.0], [59.0 + number / 100 for number in range(12)]
    assert order(waiting(*late, *fresh, late=1.5), now=59.5)[-3:] == late
    served = order(waiting(*late, *fresh, late=3.5), now=62.5)
    assert [served.index(one) for one in late] == [LATE_TURN - 1, 2 * LATE_TURN - 1, 3 * LATE_TURN - 1]


def test_the_oldest_is_who_waits_for_longest_wherever_it_stands():
    line = waiting(5.0, 6.0, late=1.0)
    assert line.oldest == 5.0
    line.next(7.5)
    line.append(Claim(7.0), first=False)
    line.append(Claim(4.0), first=True)
    assert (line.oldest, len(line), len(list(line))) == (4.0, 4, 4)
    for claim in list(line):
        line.discard(claim)
    assert (line.oldest, len(line)) == (None, 0)


@given(
    st.lists(st.tuples(st.floats(0.0, 10.0), st.booleans(), st.integers(0, 3)), max_size=80),
    st.floats(0.1, 20.0),
    st.floats(1.0, 60.0),
)
def test_everybody_is_served_once(steps: list[tuple[float, bool, int]], late: float, hold: float):
    line = waiting(late=late, hold=hold)
    now, come, gone = 0.0, [], []
    for pause, first, places in steps:
        now += pause
        come.append(Claim(now))
        line.append(come[-1], first=first)
        for _ in range(min(places, len(line))):
            gone.append(line.next(now))
            line.served(gone[-1], now)
    while line:
        gone.append(line.next(now))
        line.served(gone[-1], now)
    assert sorted(map(id, gone)) == sorted(map(id, come))
