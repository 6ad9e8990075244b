"""llm-d's Workload Variant Autoscaler, V1: spare cache and spare queue of the replicas that are not full (§5.3, §1.1).

Source: llm-d/llm-d-workload-variant-autoscaler `internal/saturationv1/analyzer.go`, one variant; tick 15 s; acts
through the same HPA as V2. One replica at a time, and nothing at all while one is on its way or the last wish is not
met. A wish beyond the HPA's bounds is cut to them, or it would never be met. V1 does not see what the gateway holds
(`rivals.md` §3 b); neither does it here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from penstock_contract.profile import Profile
from penstock_lab.simulate.policies.base import ANY, Bounds, Glance
from penstock_lab.simulate.policies.wva import actuator, replicas


@dataclass(frozen=True, slots=True)
class Triggers:
    """ConfigMap `wva-saturation-scaling-config`, of V1."""

    kv: float = 0.8
    queue: float = 5.0
    spare_kv: float = 0.1
    spare_queue: float = 3.0


def judged(pods: Sequence[tuple[float, float]], triggers: Triggers = Triggers()) -> tuple[bool, bool]:
    """(scale up, scale-down safe) from (share of the cache in use, waiting) of each pod."""
    free = [(kv, queue) for kv, queue in pods if kv < triggers.kv and queue < triggers.queue]
    if not pods:
        return False, False
    count = len(free)
    kv = sum(triggers.kv - one for one, _ in free) / count if count else 0.0
    queue = sum(triggers.queue - one for _, one in free) / count if count else 0.0
    up = kv < triggers.spare_kv or queue < triggers.spare_queue
    if count < 2:
        return up, False
    grown = count / (count - 1)
    left_kv = triggers.kv - (triggers.kv - kv) * grown
    left_queue = triggers.queue - (triggers.queue - queue) * grown
    return up, left_kv >= triggers.spare_kv and left_queue >= triggers.spare_queue


class WvaV1:
    """WVA V1 on its HPA. To be tuned: the share of the cache a replica may fill, and the HPA's memory."""

    period_seconds = 15.0
    GRID: ClassVar[Mapping[str, Sequence[float]]] = {
        "kv": (0.05, 0.1, 0.2, 0.35, 0.5, 0.8),
        "stabilization_seconds": (0.0, 240.0, 600.0),
    }

    def __init__(
        self,
        *,
        profile: Profile,
        kv: float = 0.8,
        stabilization_seconds: float = 0.0,
        shipped: bool = False,
        bounds: Bounds = ANY,
        name: str = "wva-v1",
    ) -> None:
        self.name = name
        self._kv_tokens = profile.kv_tokens
        self._bounds = bounds
        self._triggers = Triggers(kv=kv)
        self._actuator = actuator(stabilization_seconds=stabilization_seconds, shipped=shipped, bounds=bounds)
        self._wanted: int | None = None

    def desired(self, glance: Glance) -> int:
        """One cycle of the analyzer and one sync of the HPA behind it."""
        current = glance.current
        moving = glance.serving != current or (self._wanted is not None and self._wanted != current)
        pods = [(one.used / self._kv_tokens, float(one.waiting)) for one in replicas(glance)]
        if pods and not moving:
            up, safe = judged(pods, self._triggers)
            wish = current + 1 if up else max(1, current - 1) if safe else current
            self._wanted = self._bounds.clamp(wish)
        value = current if self._wanted is None else self._wanted
        return self._actuator.sync([value], current=current, ready=glance.serving, now=glance.now)
