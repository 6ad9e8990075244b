"""Knative's KPA on concurrency (`rivals.md` §5.2).

Source: knative/serving `pkg/autoscaler/scaling/autoscaler.go`, defaults of `config/core/configmaps/autoscaler.yaml`:
tick 2 s, stable window 60 s, panic window 6 s, target 100 x 70 %, panic from 200 % of the ready pods' capacity, up to
1000-fold, down to a half. The concurrency is what the gateways have in flight and hold, as the activator and the
queue-proxies would report it; sampled at each tick instead of each second. A process that starts with more than one
ready pod starts in panic, so that it cannot shrink what it has no history of. To zero: when the stable window is empty
and the bounds allow it, after 30 s of grace.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from penstock_lab.simulate.policies.base import ANY, Bounds, Glance
from penstock_lab.simulate.policies.window import Window


@dataclass(frozen=True, slots=True)
class Decider:
    """`DeciderSpec` with the defaults of the ConfigMap.

    Attributes:
        target: concurrency per pod after the utilisation (100 x 0.7).
        stable_seconds: window that is followed.
        panic_seconds: window that is watched for bursts.
        panic_threshold: times the ready pods' capacity that start panic.
        up_rate: most times as many as ready pods.
        down_rate: at least one in so many of the ready pods stays.
        delay_seconds: of scale-down.
    """

    target: float = 70.0
    stable_seconds: float = 60.0
    panic_seconds: float = 6.0
    panic_threshold: float = 2.0
    up_rate: float = 1000.0
    down_rate: float = 2.0
    delay_seconds: float = 0.0


@dataclass(slots=True)
class Scaler:
    """`autoscaler.Scale` with its state.

    Attributes:
        spec: what is set.
        panic_at: time of the last crossing of the threshold; None outside of panic.
        most: highest count of the present panic.
    """

    spec: Decider = field(default_factory=Decider)
    panic_at: float | None = None
    most: int = 0
    _delayed: Window = field(init=False)

    def __post_init__(self) -> None:
        self._delayed = Window(self.spec.delay_seconds)

    def begin(self, ready: int, now: float) -> None:
        """A process starts."""
        self.panic_at, self.most = (now if ready > 1 else None), ready

    def scale(self, stable: float, panic: float, *, ready: int, now: float) -> int:
        """Pods for mean concurrencies of the two windows."""
        spec, pods = self.spec, max(1, ready)
        most, least = math.ceil(spec.up_rate * pods), math.floor(pods / spec.down_rate)
        for_stable, for_panic = math.ceil(stable / spec.target), math.ceil(panic / spec.target)
        wanted, surged = (min(max(count, least), most) for count in (for_stable, for_panic))
        if for_panic / pods >= spec.panic_threshold:
            self.panic_at = now
        elif self.panic_at is not None and self.panic_at + spec.stable_seconds < now:
            self.panic_at, self.most = None, 0
        if self.panic_at is not None:
            self.most = wanted = max(self.most, wanted, surged)
        if spec.delay_seconds > 0:
            self._delayed.add(now, wanted)
            return int(max(self._delayed.values()))
        return wanted


class Kpa:
    """The KPA of one revision. To be tuned: the target, as a share of the sequences a replica runs, and the window."""

    period_seconds = 2.0
    GRID: ClassVar[Mapping[str, Sequence[float]]] = {
        "share": (0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32),
        "stable_seconds": (60.0, 180.0, 600.0),
    }

    def __init__(
        self, *, spec: Decider = Decider(), bounds: Bounds = ANY, grace_seconds: float = 30.0, name: str = "kpa"
    ) -> None:
        self.name = name
        self._bounds = bounds
        self._grace = grace_seconds
        self._scaler = Scaler(spec)
        self._samples = Window(max(spec.stable_seconds, spec.panic_seconds))
        self._idle_since: float | None = None
        self._begun = False

    def desired(self, glance: Glance) -> int:
        """One tick."""
        if not self._begun:
            self._begun = True
            self._scaler.begin(glance.serving, glance.now)
        self._samples.add(glance.now, glance.door.in_flight + glance.door.held)
        spec = self._scaler.spec
        stable = self._samples.mean() or 0.0
        panic = self._samples.mean(since=glance.now - spec.panic_seconds) or 0.0
        wanted = self._scaler.scale(stable, panic, ready=glance.serving, now=glance.now)
        if wanted > 0:
            self._idle_since = None
            return self._bounds.clamp(wanted)
        self._idle_since = glance.now if self._idle_since is None else self._idle_since
        if glance.now - self._idle_since < self._grace:
            wanted = min(1, glance.current)
        return self._bounds.clamp(wanted)
