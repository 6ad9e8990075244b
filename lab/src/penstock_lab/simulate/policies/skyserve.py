"""SkyServe's request rate autoscaler (`rivals.md` §5.7, §1.9).

Source: skypilot-org/skypilot `sky/serve/autoscalers.py`, `RequestRateAutoscaler`: requests of the last 60 s over the
target rate of a replica; up after 300 s and down after 1200 s of the same direction; a decision every 20 s. The target
has no default upstream; 2.5 requests/s is what its documentation shows. Rates are the gateway's, averaged over 60 s.
The first decision is followed at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from penstock_lab.simulate.policies.base import ANY, Bounds, Glance
from penstock_lab.simulate.policies.window import Window

_PERIOD_SECONDS = 20.0


@dataclass(slots=True)
class Hysteresis:
    """`_generate_scaling_decisions`' counters: a wish is followed after so many decisions in its direction."""

    up_periods: int
    down_periods: int
    counted: int = 0
    begun: bool = False

    def follow(self, wanted: int, *, target: int) -> int:
        """The new target."""
        if not self.begun:
            self.begun = True
            return wanted
        if wanted == target:
            self.counted = 0
            return target
        up = wanted > target
        self.counted = max(0, self.counted) + 1 if up else min(0, self.counted) - 1
        if abs(self.counted) < (self.up_periods if up else self.down_periods):
            return target
        self.counted = 0
        return wanted


class SkyServe:
    """One service. To be tuned: requests/s of a replica, and the delay up."""

    period_seconds = _PERIOD_SECONDS
    GRID: ClassVar[Mapping[str, Sequence[float]]] = {
        "target": (0.5, 1.0, 2.0, 4.0, 8.0, 16.0),
        "up_seconds": (40.0, 120.0, 300.0),
    }

    def __init__(
        self,
        *,
        target: float = 2.5,
        up_seconds: float = 300.0,
        down_seconds: float = 1200.0,
        bounds: Bounds = ANY,
        name: str = "skyserve",
    ) -> None:
        self.name = name
        self._target = target
        self._bounds = bounds
        periods = int(up_seconds / _PERIOD_SECONDS), int(down_seconds / _PERIOD_SECONDS)
        self._hysteresis = Hysteresis(*periods)
        self._rates = Window(60.0)

    def desired(self, glance: Glance) -> int:
        """One decision."""
        rate = glance.door.requests_per_second
        if rate is None:
            return self._bounds.clamp(glance.current)
        self._rates.add(glance.now, rate)
        wanted = self._bounds.clamp(math.ceil((self._rates.mean() or 0.0) / self._target))
        return self._bounds.clamp(self._hysteresis.follow(wanted, target=glance.current))
