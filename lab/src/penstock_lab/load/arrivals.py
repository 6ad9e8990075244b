"""When requests are due: a rate over time, and a process that draws arrivals from it before the first one is sent.

A curve is the expected number of arrivals up to each moment, so every shape is drawn the same way: points are placed
on the axis of expected arrivals, at random (Poisson) or one apart (constant), and carried back to the axis of time.
Nothing here knows an answer, so a slow server cannot slow the load down.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from penstock_lab.load.schedule import Phase

_POINTS: Final = 20_000
"""Straight pieces that a bent curve is made of: arrivals are off by less than a 20,000th of the duration."""

Floats = NDArray[np.float64]


class Process(StrEnum):
    """How arrivals fall around the expected number."""

    POISSON = "poisson"
    CONSTANT = "constant"


@dataclass(frozen=True, slots=True)
class Curve:
    """Expected arrivals over time, in straight pieces.

    Attributes:
        seconds: ends of the pieces (n,), not decreasing, the first one 0.
        expected: arrivals expected up to then (n,), not decreasing, the first one 0.
    """

    seconds: Floats
    expected: Floats

    @property
    def total(self) -> float:
        """Arrivals expected in all."""
        return float(self.expected[-1])

    def draw(self, process: Process, dice: np.random.Generator) -> Floats:
        """Arrival times in order, seconds (n,)."""
        if process is Process.CONSTANT:
            points = np.arange(0.5, self.total)
        else:
            points = np.sort(dice.random(dice.poisson(self.total)) * self.total)
        due: Floats = np.interp(points, self.expected, self.seconds)
        return due


def steps(pieces: Sequence[tuple[float, float]]) -> Curve:
    """One constant rate after the other.

    Args:
        pieces: (seconds, requests per second) of each.
    """
    lengths = np.array([0.0, *(seconds for seconds, _rate in pieces)])
    counts = np.array([0.0, *(seconds * rate for seconds, rate in pieces)])
    return Curve(np.cumsum(lengths), np.cumsum(counts))


def phases(of: Sequence[Phase]) -> Curve:
    """Named stretches of constant rate."""
    return steps([(phase.seconds, phase.requests_per_second) for phase in of])


def on_off(*, seconds: float, on: float, off: float, rate: float, off_rate: float) -> Curve:
    """Bursts of `on` seconds at `rate` and pauses of `off` seconds at `off_rate`, in turn, beginning with a burst."""
    pieces: list[tuple[float, float]] = []
    left = seconds
    while left > 0:
        for length, level in ((on, rate), (off, off_rate)):
            pieces.append((min(length, left), level))
            left -= pieces[-1][0]
    return steps(pieces)


def ramp(*, seconds: float, rate: float, rate_to: float) -> Curve:
    """A rate that goes straight from `rate` to `rate_to`."""
    at = np.linspace(0.0, seconds, _POINTS + 1)
    return Curve(at, rate * at + (rate_to - rate) * at**2 / (2 * seconds))


def diurnal(*, seconds: float, rate: float, period: float, peak_to_trough: float) -> Curve:
    """A sine around the mean `rate`, from a trough on, with a peak in the middle of each period."""
    swing = (peak_to_trough - 1) / (peak_to_trough + 1)
    at = np.linspace(0.0, seconds, max(_POINTS, math.ceil(seconds / period * 1000)) + 1)
    turn = 2 * math.pi / period
    return Curve(at, rate * (at - swing / turn * np.sin(turn * at)))
