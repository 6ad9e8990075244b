"""Arrivals come at the rate asked for, at the time asked for, whatever the seed; lengths as their distribution says."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock_lab.load import arrivals, lengths
from penstock_lab.load.arrivals import Process
from penstock_lab.load.schedule import Phase

FEW = settings(max_examples=40, deadline=None)
seeds = st.integers(0, 2**31)


def dice(seed):
    return np.random.default_rng(seed)


def between(due, start, end):
    return int(((due >= start) & (due < end)).sum())


def near(found, expected):
    """Within six standard deviations of a Poisson count: fails once in a billion draws, and with any wrong rate."""
    return abs(found - expected) <= 6 * np.sqrt(expected) + 1


@FEW
@given(seed=seeds, rate=st.floats(0.5, 500), seconds=st.floats(10, 200))
def test_poisson_counts(seed, rate, seconds):
    due = arrivals.steps([(seconds, rate)]).draw(Process.POISSON, dice(seed))
    assert near(len(due), rate * seconds)
    assert near(between(due, 0, seconds / 2), rate * seconds / 2)
    assert all(one <= other for one, other in pairwise(due))
    assert not len(due) or (due[0] >= 0 and due[-1] <= seconds)


def test_poisson_gaps_are_exponential():
    gaps = np.diff(arrivals.steps([(10_000, 10)]).draw(Process.POISSON, dice(1)))
    assert gaps.mean() == pytest.approx(0.1, rel=0.02)
    assert gaps.std() / gaps.mean() == pytest.approx(1.0, rel=0.03)
    assert (gaps > 0.2).mean() == pytest.approx(np.exp(-2), rel=0.05)


@FEW
@given(seed=seeds, rate=st.floats(1, 300), seconds=st.floats(5, 100))
def test_constant_arrivals_are_apart(seed, rate, seconds):
    due = arrivals.steps([(seconds, rate)]).draw(Process.CONSTANT, dice(seed))
    assert abs(len(due) - rate * seconds) <= 1
    assert np.diff(due) == pytest.approx(1 / rate)


@FEW
@given(seed=seeds, on=st.floats(1, 30), off=st.floats(1, 30), rate=st.floats(5, 100), off_rate=st.floats(0, 2))
def test_on_off_duty(seed, on, off, rate, off_rate):
    cycles = 7
    curve = arrivals.on_off(seconds=cycles * (on + off), on=on, off=off, rate=rate, off_rate=off_rate)
    due = curve.draw(Process.POISSON, dice(seed))
    in_burst = int((due % (on + off) < on).sum())
    assert curve.total == pytest.approx(cycles * (on * rate + off * off_rate))
    assert near(in_burst, cycles * on * rate)
    assert near(len(due) - in_burst, cycles * off * off_rate)


def test_on_off_ends_in_the_middle_of_a_burst():
    curve = arrivals.on_off(seconds=25, on=10, off=10, rate=2, off_rate=0)
    assert curve.seconds[-1] == 25
    assert curve.total == 30


@FEW
@given(seed=seeds, rate=st.floats(0, 100), rate_to=st.floats(0, 100), seconds=st.floats(20, 100))
def test_ramp_integral(seed, rate, rate_to, seconds):
    curve = arrivals.ramp(seconds=seconds, rate=rate, rate_to=rate_to)
    due = curve.draw(Process.POISSON, dice(seed))
    assert curve.total == pytest.approx((rate + rate_to) / 2 * seconds)
    assert near(len(due), curve.total)
    half = (rate + (rate + rate_to) / 2) / 2 * seconds / 2
    assert near(between(due, 0, seconds / 2), half)


@FEW
@given(seed=seeds, rate=st.floats(10, 100), ratio=st.floats(1, 20), period=st.floats(20, 60))
def test_diurnal_period(seed, rate, ratio, period):
    curve = arrivals.diurnal(seconds=3 * period, rate=rate, period=period, peak_to_trough=ratio)
    assert curve.total == pytest.approx(3 * period * rate, rel=1e-6)
    due = curve.draw(Process.POISSON, dice(seed)) % period
    swing = (ratio - 1) / (ratio + 1)
    middle = 3 * period * rate * (0.5 + swing / np.pi)  # the integral of 1 - swing cos over the middle half
    assert near(between(due, period / 4, 3 * period / 4), middle)
    speed = np.diff(curve.expected) / np.diff(curve.seconds)
    assert speed.max() / speed.min() == pytest.approx(ratio, rel=0.01)


def test_phases():
    due = arrivals.phases([Phase("a", 10, 5), Phase("b", 10, 0), Phase("c", 10, 50)]).draw(Process.CONSTANT, dice(0))
    assert [between(due, start, start + 10) for start in (0, 10, 20)] == [50, 0, 500]


def test_the_same_seed_gives_the_same_arrivals():
    curve = arrivals.steps([(60, 20)])
    assert curve.draw(Process.POISSON, dice(5)).tolist() == curve.draw(Process.POISSON, dice(5)).tolist()
    assert curve.draw(Process.POISSON, dice(5)).tolist() != curve.draw(Process.POISSON, dice(6)).tolist()


@pytest.mark.parametrize("text", ["17", "10:30", "lognormal:200:0.8", "lognormal:100:0"])
def test_lengths(text):
    length = lengths.parse(text)
    drawn = length.draw(20_000, dice(2))
    assert str(length) == text
    assert drawn.min() >= 1
    mean, spread = {
        "17": (17, 0), "10:30": (20, 6.06), "lognormal:200:0.8": (200, 160), "lognormal:100:0": (100, 0)
    }[text]  # fmt: skip
    assert drawn.mean() == pytest.approx(mean, rel=0.03)
    assert drawn.std() == pytest.approx(spread, rel=0.05)


@pytest.mark.parametrize("text", ["", "x", "0", "9:3", "1:2:3", "lognormal:9", "lognormal:0:1", "lognormal:5:-1", "-4"])
def test_wrong_lengths(text):
    with pytest.raises(ValueError, match="is no number of tokens: use N, A:B"):
        lengths.parse(text)


@pytest.mark.parametrize("name", lengths.MIXES)
def test_mixes_say_where_they_come_from(name):
    mix = lengths.MIXES[name]
    assert "20" in mix.source or mix.source.startswith("made up")
    assert mix.prompt.draw(5000, dice(0)).mean() > mix.output.draw(5000, dice(0)).mean()
