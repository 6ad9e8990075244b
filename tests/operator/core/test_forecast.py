"""The load to come: steady, on a ramp, in bursts, at a new level; and what is kept in reserve for it."""

import math
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_operator.core.scaling.forecast import Forecast, begin, follow, rescaled

HORIZON = 60.0


def followed(loads: list[float], *, tick: float = 5.0) -> Forecast:
    known: Forecast | None = None
    for number, load in enumerate(loads):
        known = follow(known, load, now=number * tick, horizon_seconds=HORIZON)
    assert known is not None
    return known


def test_a_steady_load_comes_to_need_hardly_any_reserve() -> None:
    assert followed([10.0]).growth(sigmas=2.0) > 1.1
    assert followed([10.0] * 1500).growth(sigmas=2.0) == pytest.approx(1.0, abs=0.02)


def test_a_ramp_is_carried_on() -> None:
    ramp = [10.0 + 0.05 * number for number in range(400)]
    known = followed(ramp)
    assert known.ahead() == pytest.approx(ramp[-1] + 0.05 * HORIZON / 5, rel=0.05)


def test_the_reserve_beyond_the_peak_is_what_loads_used_to_exceed_it_by() -> None:
    """Jumps down and up, to one height and to new ones each time; the peak fades, so the first come over it, too."""
    level = ([2.0] * 48 + [20.0] * 24) * 20
    rising = [load * 1.12**number for number in range(20) for load in ([2.0] * 48 + [20.0] * 24)]
    assert followed(level).growth(sigmas=3.0) < 1.2
    assert followed(rising).growth(sigmas=3.0) > 1.25


def test_bursts_are_prepared_for_while_it_is_quiet() -> None:
    bursts = ([2.0] * 24 + [20.0] * 12) * 12
    quiet = followed([*bursts, *[2.0] * 12])
    assert quiet.level * quiet.growth(sigmas=2.0) > 16.0
    busy = followed([*bursts, *[2.0] * 24, *[20.0] * 10])
    assert busy.level * busy.growth(sigmas=2.0) < 26.0, "and not twice while they are there"


def test_noise_is_a_matter_of_width() -> None:
    dice = random.Random(1)
    known = followed([dice.gauss(10.0, 1.0) for _ in range(1500)])
    assert known.sigma == pytest.approx(0.71, rel=0.25)  # half of it comes above
    assert known.ahead() == pytest.approx(10.0, rel=0.05)


def test_a_new_level_is_at_least_what_it_is() -> None:
    assert followed([*[10.0] * 200, 40.0]).growth(sigmas=0.25) >= 1.0


@given(loads=st.lists(st.floats(0.01, 1e6), min_size=1, max_size=60), unit=st.floats(1e-4, 1e4))
def test_another_unit_changes_nothing_but_the_unit(loads: list[float], unit: float) -> None:
    known = followed(loads)
    other = rescaled(known, unit)
    assert other.growth(sigmas=2.0) == pytest.approx(known.growth(sigmas=2.0), rel=1e-6, abs=1e-6)


@given(loads=st.lists(st.floats(0, 1e6), min_size=1, max_size=80), sigmas=st.floats(0, 4), more=st.floats(0, 4))
def test_always_finite_at_least_now_and_more_for_more_sigmas(loads: list[float], sigmas: float, more: float) -> None:
    known = followed(loads)
    assert 1.0 <= known.growth(sigmas=sigmas) <= known.growth(sigmas=sigmas + more) < math.inf
    assert 0.0 <= known.slope <= 1.3
    assert len(known.pending) <= 25


def test_what_nobody_looked_at_in_time_teaches_nothing() -> None:
    known = followed([10.0] * 20)
    late = follow(known, 500.0, now=known.at + 3600.0, horizon_seconds=HORIZON)
    assert (late.pairs, late.squares) == (known.pairs, known.squares)
    assert replace(begin(0.0, now=0.0), level=0.0).growth(sigmas=3.0) == 1.0
