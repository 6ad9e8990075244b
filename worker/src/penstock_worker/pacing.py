"""How long a step takes: what the machine needs, or what an emulated device would have needed.

An emulated step ends at an absolute deadline, the end of the step before it plus the profile's time for its work, so
that sleeping too long in one step does not stretch the sum. A step that was not done by its deadline is an overrun
and ends when it ends; nothing is made up for afterwards, since no real device runs faster after a slow step.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from penstock_contract.step import StepModel, StepWork


class Pacer(Protocol):
    """Times steps; `begin` starts a busy period, `finish` ends each step in it."""

    def begin(self) -> None:
        """Start a busy period now."""

    def finish(self, work: StepWork) -> tuple[float, bool]:
        """End a step; its length in seconds, and whether it overran an emulated device's."""


class WallClock:
    """Steps last as long as they last."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = 0.0

    def begin(self) -> None:
        """Start a busy period now."""
        self._end = self._clock()

    def finish(self, work: StepWork) -> tuple[float, bool]:  # noqa: ARG002 - the protocol's signature
        """Seconds since the step before ended."""
        start, self._end = self._end, self._clock()
        return self._end - start, False


class EmulatedDevice:
    """Steps last at least as long as a step model says.

    Args:
        model: the emulated device.
        clock: monotonic seconds.
        sleep: waits for seconds.
    """

    def __init__(
        self,
        model: StepModel,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._model = model
        self._clock = clock
        self._sleep = sleep
        self._end = 0.0

    def begin(self) -> None:
        """Start a busy period now."""
        self._end = self._clock()

    def finish(self, work: StepWork) -> tuple[float, bool]:
        """Wait for the step's deadline; the step's length, and whether the deadline had passed."""
        start = self._end
        deadline = start + self._model.seconds(work)
        now = self._clock()
        if now > deadline:
            self._end = now
            return now - start, True
        self._sleep(deadline - now)
        self._end = deadline
        return deadline - start, False
