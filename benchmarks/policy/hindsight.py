"""`python -m benchmarks.policy.hindsight`: what who knew the right reserve of each case beforehand would take.

A reactive policy that no service can run: it sees the true work of what arrives, output lengths included, at once and
without error, and a replica's true capacity. It knows no future: it asks for the load of the last half minute times a
factor, carries the change of the last start-up on or does not, and keeps the most of a window. Factor, trend and window
are those that turn out cheapest of all that attain, for each case by itself. Beside it `static`, chosen the same way.
What is dearer than both has a reason to be in the case, not in what has to be learned. Needs the kept oracles of
`benchmarks.policy`.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from benchmarks.policy import aside
from benchmarks.policy.compare import MAX_REPLICAS
from benchmarks.policy.pool import named_round
from benchmarks.policy.traffic import OBJECTIVES, PROFILE

from penstock_lab.simulate import oracle
from penstock_lab.simulate.policies.base import Glance
from penstock_lab.simulate.policies.window import Window
from penstock_lab.simulate.score import Score, score
from penstock_lab.simulate.state import Floats, Requests
from penstock_lab.simulate.world import Setting, World

_FACTORS: Final = tuple(0.8 * 1.05**step for step in range(38))  # to 4.9
WINDOWS: Final = (0.0, 120.0, 600.0)
_RATE_SECONDS: Final = 30.0
_FIRST_SECONDS: Final = 60.0  # the replicas that all begin with stay so long


class Load:
    """The true work of what arrives, in replicas that it keeps as busy as they may be."""

    def __init__(self, requests: Requests) -> None:
        prefill, decode = oracle.work(requests, PROFILE)
        self._arrival: Floats = requests.arrival
        self._sums = np.concatenate([[0.0], np.cumsum(prefill + decode)]) / oracle.useful_share(PROFILE, OBJECTIVES)

    def at(self, now: float) -> float:
        """Mean of the half minute before."""
        begin, end = np.searchsorted(self._arrival, [max(0.0, now - _RATE_SECONDS), now])
        return float(self._sums[end] - self._sums[begin]) / min(_RATE_SECONDS, max(now, 1.0))


class Knowing:
    """The reactive policy.

    Args:
        load: true work.
        factor: replicas for each that is kept busy.
        trend: carry the change of the last start-up on.
        window_seconds: the most of these seconds stands.
        startup_seconds: the horizon of the trend.
    """

    name = "knowing"
    period_seconds = 5.0

    def __init__(
        self, load: Load, *, factor: float, trend: bool, window_seconds: float, startup_seconds: float
    ) -> None:
        self._load = load
        self._factor = factor
        self._trend = trend
        self._startup = startup_seconds
        self._wished = Window(window_seconds)

    def desired(self, glance: Glance) -> int:
        """The count."""
        busy = self._load.at(glance.now)
        if self._trend and glance.now > self._startup + _RATE_SECONDS:
            busy += max(0.0, busy - self._load.at(glance.now - self._startup))
        self._wished.add(glance.now, min(MAX_REPLICAS, max(1, math.ceil(busy * self._factor))))
        most = int(max(self._wished.values()))
        return max(most, glance.replicas) if glance.now < _FIRST_SECONDS else most


def begin(name: str, startup: float, seed: int) -> tuple[aside.Row, Setting, Requests] | None:
    """What the comparison has of a case, its world and its requests; None without a kept oracle."""
    known = aside.known(name, startup, seed)
    return None if known is None else (*known, named_round(name, startup, seed).case.requests(seed))


def trial(name: str, startup: float, seed: int) -> aside.Row | None:
    """The cheapest that attains, of one case; None without a kept oracle."""
    begun = begin(name, startup, seed)
    if begun is None:
        return None
    row, setting, requests = begun
    load, best = Load(requests), aside.Row()
    for window in WINDOWS:
        for trend in (False, True):
            found = _cheapest(requests, setting, load, trend=trend, window=window)
            if found is not None and found[1].gpu_hours < best.get("gpu_hours", math.inf):
                best = {"factor": found[0], "trend": trend, "window_seconds": window}
                best |= {"gpu_hours": found[1].gpu_hours, "attainment": found[1].attainment}
    return row | best


def _cheapest(
    requests: Requests, setting: Setting, load: Load, *, trend: bool, window: float
) -> tuple[float, Score] | None:
    """The smallest factor that attains and how it went; larger ones are taken to attain as well."""
    low, high, best = 0, len(_FACTORS), None
    while low < high:
        middle = (low + high) // 2
        policy = Knowing(
            load,
            factor=_FACTORS[middle],
            trend=trend,
            window_seconds=window,
            startup_seconds=setting.startup_seconds,
        )
        found = score(World(requests, setting, policy).run(), PROFILE, OBJECTIVES)
        if found.attainment >= OBJECTIVES.attainment:
            high, best = middle, (_FACTORS[middle], found)
        else:
            low = middle + 1
    return best


if __name__ == "__main__":
    raise SystemExit(aside.run("hindsight", trial, "What who knew the right reserve of each case would take."))
