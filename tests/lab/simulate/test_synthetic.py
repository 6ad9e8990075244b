"""Made-up traffic: its shapes, its numbers, its mistakes, and a leak that only the replicas have."""

from dataclasses import replace

import numpy as np
import pytest

from penstock_contract.profile import load_profile
from penstock_lab.simulate.policies.static import Static
from penstock_lab.simulate.state import Requests
from penstock_lab.simulate.synthetic import SHAPES, Synthetic, is_synthetic, parse
from penstock_lab.simulate.world import Setting, World
from penstock_lab.traces.errors import TraceError


def rates(made: Requests, seconds: float, parts: int) -> list[float]:
    found = np.bincount((made.arrival * parts / seconds).astype(int), minlength=parts)
    return [float(count) * parts / seconds for count in found]


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_is_drawn_by_its_seed(shape: str) -> None:
    made = Synthetic(shape=shape, seconds=600.0, rate=20.0)
    one, two = made.columns(), made.columns()
    assert np.array_equal(one.arrival, two.arrival)
    assert np.array_equal(one.output, two.output)
    assert not np.array_equal(one.arrival[:50], replace(made, seed=1).columns().arrival[:50])
    assert one.arrival[-1] < 600.0
    listed = list(made.requests())
    assert [one.arrival_seconds for one in listed[:9]] == list(two.arrival[:9])
    assert len(listed) == len(one)


@pytest.mark.parametrize(
    ("shape", "parts", "expected"),
    [
        ("constant", 2, [40, 40]),
        ("step3", 3, [40, 120, 40]),
        ("step10", 3, [40, 400, 40]),
        ("ramp", 4, [80, 160, 160, 80]),
        ("gap", 10, [40, 40, 40, 40, 40, 0, 40, 40, 40, 40]),
        ("onoff", 20, [40, 40, 0, 0, 0] * 4),
        ("diurnal", 2, [40, 40]),
    ],
)
def test_the_rate_follows_the_shape(shape: str, parts: int, expected: list[float]) -> None:
    made = Synthetic(shape=shape, seconds=3000.0, rate=40.0).columns()
    found = rates(made, 3000.0, parts)
    if shape == "ramp":
        assert found == pytest.approx([80, 160, 160, 80], rel=0.06)
    else:
        assert found == pytest.approx(expected, rel=0.06)


def test_a_shape_that_goes_by_the_clock_is_cut_not_squeezed() -> None:
    """Nine o'clock is at nine, and the third day is off."""
    assert parse("synthetic:workdays").end == 4 * 86_400.0
    whole = Synthetic(shape="workdays", rate=2.0).columns()
    hours = np.array(rates(whole, 4 * 86_400.0, 96))
    assert hours[9] / hours[8] == pytest.approx(hours[33] / hours[32], rel=0.1)
    assert hours[9] > 2.0 * hours[8]
    assert hours[48 + 9] < 1.2 * hours[48 + 8]
    minutes = np.bincount((whole.arrival // 360).astype(int))[:10]
    assert minutes[0] > 2.0 * minutes[1:].mean()
    short = Synthetic(shape="workdays", rate=2.0, seconds=36_000.0).columns()
    assert rates(short, 36_000.0, 10)[9] == pytest.approx(hours[9], rel=0.1)


def test_a_shift_of_the_mix_changes_lengths_and_no_rate() -> None:
    made = Synthetic(shape="mixshift", seconds=2000.0, rate=20.0, prompt=800, output=100).columns()
    late = made.arrival >= 1000
    assert np.median(made.prompt[~late]) == pytest.approx(800, rel=0.05)
    assert np.median(made.prompt[late]) == pytest.approx(200, rel=0.05)
    assert np.median(made.output[late]) == pytest.approx(400, rel=0.05)
    assert late.mean() == pytest.approx(0.5, abs=0.02)


def test_a_leak_slows_replicas_down_and_nothing_else() -> None:
    made = Synthetic(shape="leak", seconds=3600.0, rate=0.2, prompt=100, output=100, spread=0.0)
    profile = load_profile("llama70b-fp8-tp4-h100")

    def pace(slowdown: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        setting = Setting(profile, initial_replicas=1, slowdown_per_hour=slowdown)
        done = World(made.columns(), setting, Static(1)).run()
        return done.finish - done.requests.arrival

    slow, usual = pace(made.slowdown_per_hour), pace(0.0)
    assert np.median(slow[:20] / usual[:20]) == pytest.approx(1.0, abs=0.03)
    assert np.median(slow[-20:] / usual[-20:]) == pytest.approx(1.25, abs=0.03)
    assert Synthetic(shape="step3").slowdown_per_hour == 0.0


def test_traffic_is_named_on_the_command_line() -> None:
    assert is_synthetic("synthetic:step3")
    assert not is_synthetic("step3.csv")
    found = parse("synthetic:step3,seconds=600,output=50", seed=4)
    assert found == Synthetic(shape="step3", seconds=600.0, output=50.0, seed=4)
    assert (found.path.name, found.end, parse("synthetic:diurnal").end) == ("synthetic:step3", 600.0, 86400.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("synthetic:nothing", "no synthetic traffic 'nothing'; there is constant, step3"),
        ("synthetic:ramp,rate", "'rate' is none of rate=NUMBER"),
        ("synthetic:ramp,speed=3", "'speed=3' is none of rate=NUMBER"),
        ("synthetic:ramp,rate=-1", "rate must be above 0"),
        ("synthetic:ramp,spread=9", "spread must be 0..3"),
        ("synthetic:ramp,rate=nan", "none of rate=NUMBER"),
    ],
)
def test_what_is_not_there_names_what_is(text: str, message: str) -> None:
    with pytest.raises(TraceError, match=message):
        parse(text)
