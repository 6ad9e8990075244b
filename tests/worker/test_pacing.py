"""An emulated device keeps its profile's time, on a clock of the test's own."""

from __future__ import annotations

import pytest

from penstock_contract.step import StepModel, StepWork
from penstock_worker.pacing import EmulatedDevice, WallClock


class Clock:
    """Time that passes when told to; sleeping takes a little longer than asked, as it does."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.now += seconds + 0.001


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def device(clock) -> EmulatedDevice:
    return EmulatedDevice(StepModel(c0=0.02, cB=0.001, cKV=0, cP=0, cPP=0), clock=clock, sleep=clock.sleep)


def test_late_wake_ups_do_not_add_up(device, clock):
    device.begin()
    for _ in range(100):
        clock.now += 0.005
        assert device.finish(StepWork(decode_sequences=5)) == (pytest.approx(0.025), False)
    assert clock.now == pytest.approx(100 + 100 * 0.025 + 0.001)


def test_overrun_is_counted_and_not_made_up_for(device, clock):
    device.begin()
    clock.now += 0.05
    assert device.finish(StepWork()) == (pytest.approx(0.05), True)
    assert device.finish(StepWork()) == (pytest.approx(0.02), False)
    assert clock.now == pytest.approx(100 + 0.07 + 0.001)


def test_idle_time_belongs_to_no_step(device, clock):
    device.begin()
    device.finish(StepWork())
    clock.now += 60
    device.begin()
    assert device.finish(StepWork()) == (pytest.approx(0.02), False)


def test_without_a_device_steps_last_as_long_as_they_last(clock):
    pacer = WallClock(clock)
    pacer.begin()
    clock.now += 0.3
    assert pacer.finish(StepWork()) == (pytest.approx(0.3), False)
    clock.now += 0.2
    assert pacer.finish(StepWork()) == (pytest.approx(0.2), False)
