"""Volcano kthena's autoscaler, homogeneous target (`rivals.md` §5.7, §1.7).

Source: volcano-sh/kthena `pkg/autoscaler/algorithm/{recommendation,revision}.go`; every 15 s, pods asked directly. Up
by the larger of one and 100 % of the least of the last 15 s; from a recommendation of twice the count on, panic: up to
eleven times, no decrease, for 60 s; down to the highest recommendation of the last 5 minutes. `shipped`: the pods'
values arrive summed in one, so that the tolerance holds against the sum; upstream counts the reporters since. The
metric is requests per pod; what our gateway holds counts as waiting. A group in which a pod restarted is skipped
upstream; no pod restarts here. Percentiles of histograms are not ported: our pages hold none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from penstock_lab.simulate.policies.base import ANY, Bounds, Glance
from penstock_lab.simulate.policies.window import Window
from penstock_lab.simulate.scrapes import RUNNING, WAITING


def recommended(
    current: int, *, total: float, reporters: int, target: float, unready: int = 0, missing: int = 0, tolerance: float
) -> int | None:
    """`getDesiredInstancesForSingleInstanceMetric`: for a sum over `reporters` pods; None = skip."""
    if reporters == 0:
        return None
    ratio = math.inf if target == 0 else total / reporters / target
    counts_unready = unready > 0 and ratio >= 1.0
    if not counts_unready and missing == 0:
        return current if abs(ratio - 1.0) <= tolerance else _ceil(ratio * reporters)
    pods = reporters + missing + (unready if counts_unready else 0)
    total += missing * target if ratio < 1.0 else 0.0
    again = total / pods / target
    if abs(again - 1.0) <= tolerance or (ratio >= 1.0) != (again >= 1.0):
        return current
    wanted = _ceil(again * pods)
    turned = wanted > current if again < 1.0 else wanted < current
    return current if turned else wanted


def _ceil(value: float) -> int:
    return int(min(1e9, math.ceil(value) if math.isfinite(value) else 1e9))


@dataclass(frozen=True, slots=True)
class Behaviour:
    """`AutoscalingPolicy.spec.behavior` with its defaults."""

    up_instances: int = 1
    up_percent: float = 100.0
    up_seconds: float = 15.0
    panic_threshold_percent: float = 200.0
    panic_percent: float = 1000.0
    panic_hold_seconds: float = 60.0
    down_instances: int = 1
    down_percent: float = 100.0
    down_seconds: float = 15.0
    stabilization_seconds: float = 300.0


@dataclass(slots=True)
class Corrector:
    """`CorrectedInstancesAlgorithm` with its history."""

    behaviour: Behaviour = field(default_factory=Behaviour)
    panic_until: float = -math.inf
    advised: Window = field(init=False)
    set: Window = field(init=False)

    def __post_init__(self) -> None:
        rules = self.behaviour
        self.advised = Window(rules.stabilization_seconds)
        self.set = Window(max(rules.up_seconds, rules.down_seconds))

    def correct(self, wanted: int, *, current: int, now: float) -> int:
        """The count for a recommendation; remembers both."""
        if wanted * 100 >= current * self.behaviour.panic_threshold_percent:
            self.panic_until = now + self.behaviour.panic_hold_seconds
        self.advised.trim(now)
        self.set.trim(now)
        count = self.in_panic(wanted, current, now) if now < self.panic_until else self.in_peace(wanted, current, now)
        self.advised.add(now, wanted)
        self.set.add(now, count)
        return count

    def in_panic(self, wanted: int, current: int, now: float) -> int:
        """Up only."""
        past = min([current, *self.set.values(since=now - self.behaviour.up_seconds)])
        limit = past + int(past * self.behaviour.panic_percent / 100) if past > 0 else wanted
        return int(max(min(wanted, limit), current))

    def in_peace(self, wanted: int, current: int, now: float) -> int:
        """Within the limits of speed, down only to the highest recommendation."""
        rules = self.behaviour
        if wanted < current:
            wanted = int(max([wanted, *self.advised.values()]))
            past = max([current, *self.set.values(since=now - rules.down_seconds)])
            limit = min(past - rules.down_instances, past - int(past * rules.down_percent / 100))
            return int(min(max(wanted, limit), current))
        if wanted > current:
            past = min([current, *self.set.values(since=now - rules.up_seconds)])
            limit = max(past + rules.up_instances, past + int(past * rules.up_percent / 100))
            return int(max(min(wanted, limit), current))
        return wanted


class Kthena:
    """One AutoscalingPolicy. To be tuned: the target, as a share of the sequences a replica runs, and its memory."""

    period_seconds = 15.0
    GRID: ClassVar[Mapping[str, Sequence[float]]] = {
        "share": (0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32),
        "stabilization_seconds": (60.0, 300.0, 600.0),
    }

    def __init__(
        self,
        *,
        target: float = 16.0,
        tolerance: float = 0.1,
        behaviour: Behaviour | None = None,
        shipped: bool = False,
        bounds: Bounds = ANY,
        name: str = "kthena",
    ) -> None:
        self.name = name
        self._target = target
        self._tolerance = tolerance
        self._shipped = shipped
        self._bounds = bounds
        self._corrector = Corrector(behaviour or Behaviour())

    def desired(self, glance: Glance) -> int:
        """One sync."""
        pages = glance.staying(glance.probe())
        total = float(sum(page.values[RUNNING] + page.values[WAITING] for page in pages)) + glance.door.held
        wanted = recommended(
            glance.current,
            total=total,
            reporters=min(1, len(pages)) if self._shipped else len(pages),
            target=self._target,
            unready=max(0, glance.current - glance.serving),
            missing=0 if self._shipped else max(0, glance.serving - len(pages)),
            tolerance=self._tolerance,
        )
        if wanted is None:
            return self._bounds.clamp(glance.current)
        wanted = self._bounds.clamp(wanted)
        return self._bounds.clamp(self._corrector.correct(wanted, current=glance.current, now=glance.now))
