"""Ray Serve's autoscaling on ongoing requests (`rivals.md` §5.7, §1.9).

Source: ray-project/ray `python/ray/serve/autoscaling_policy.py`: ongoing requests averaged over 30 s, target 2 per
replica, up after 30 s and down after 600 s of the same direction. Handles report every 10 s, so that is the tick here;
upstream decides every 0.1 s on the same numbers. The handles' queues are what our gateway holds. From 0 replicas it
acts at once; to 0 it goes from 1 only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from penstock_lab.simulate.policies.base import ANY, Bounds, Glance
from penstock_lab.simulate.policies.window import Window


@dataclass(slots=True)
class Delay:
    """`_apply_delay_logic`, by the clock: a wish is followed once it kept its direction for so long."""

    up_seconds: float = 30.0
    down_seconds: float = 600.0
    direction: int = 0
    since: float = 0.0

    def follow(self, wanted: int, *, target: int, now: float) -> int:
        """The new target."""
        direction = (wanted > target) - (wanted < target)
        if direction != self.direction:
            self.direction, self.since = direction, now
        if direction == 0:
            return target
        if direction < 0 and target > 1:
            wanted = max(1, wanted)
        if now - self.since < (self.up_seconds if direction > 0 else self.down_seconds):
            return target
        self.direction = 0
        return wanted


class RayServe:
    """One deployment. To be tuned: the target, as a share of the sequences a replica runs, and the delay down."""

    period_seconds = 10.0
    GRID: ClassVar[Mapping[str, Sequence[float]]] = {
        "share": (0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32),
        "down_seconds": (120.0, 300.0, 600.0),
    }

    def __init__(
        self,
        *,
        target: float = 2.0,
        up_seconds: float = 30.0,
        down_seconds: float = 600.0,
        bounds: Bounds = ANY,
        name: str = "ray-serve",
    ) -> None:
        self.name = name
        self._target = target
        self._bounds = bounds
        self._delay = Delay(up_seconds, down_seconds)
        self._ongoing = Window(30.0)

    def desired(self, glance: Glance) -> int:
        """One decision."""
        self._ongoing.add(glance.now, glance.door.in_flight + glance.door.held)
        ongoing = self._ongoing.mean() or 0.0
        if glance.current == 0:
            return self._bounds.clamp(1 if ongoing > 0 else 0)
        wanted = self._bounds.clamp(math.ceil(ongoing / self._target))
        return self._bounds.clamp(self._delay.follow(wanted, target=glance.current, now=glance.now))
