"""AIBrix' PodAutoscaler: APA and KPA (`rivals.md` §5.7, §1.3).

Source: vllm-project/aibrix `pkg/controller/podautoscaler/{algorithm/apa,algorithm/kpa,podautoscaler_controller}.go`,
v0.7: resync 10 s, pods scraped directly, tolerance 0.1, at most doubling and halving, 300 s of memory for scale-down.
Two defects are switched by `shipped`, off by default: stabilisation takes the lowest recommendation of the last 300 s
in the place of the highest, and KPA compares the mean of a pod with the target that holds for all pods, without a floor
in panic. The metric is `vllm:kv_cache_usage_perc` with 0.5, as in AIBrix' samples, or requests per pod; what our
gateway holds counts as waiting in equal parts. A pod that does not answer counts 0: one that loads does so in either
form (the mean times all pods is then the sum), one that serves only when `shipped`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from penstock_contract.profile import Profile
from penstock_lab.simulate.policies.base import ANY, Bounds, Glance
from penstock_lab.simulate.policies.kpa import Decider, Scaler
from penstock_lab.simulate.policies.window import Window
from penstock_lab.simulate.scrapes import KV_USED, RUNNING, WAITING

_STABILIZATION_SECONDS = 300.0


class Source(StrEnum):
    """`targetMetric`: share of the cache in use, or requests running and waiting."""

    KV = "kv"
    REQUESTS = "requests"


@dataclass(frozen=True, slots=True)
class Rates:
    """Annotations of the PodAutoscaler."""

    up: float = 2.0
    down: float = 2.0
    up_tolerance: float = 0.1
    down_tolerance: float = 0.1


def apa(current: int, use: float, target: float, rates: Rates = Rates()) -> int:
    """`APAAlgorithm.computeTargetReplicas`: use is the mean of a pod."""
    ratio = use / target
    if ratio > 1 + rates.up_tolerance:
        return min(math.ceil(current * ratio), math.ceil(rates.up * current))
    if ratio < 1 - rates.down_tolerance:
        return max(math.ceil(current * ratio), math.floor(current / rates.down))
    return current


class Memory:
    """`stabilizeRecommendation`: of the last 300 s a smaller count takes the highest (intended) or lowest (shipped)."""

    def __init__(self, *, shipped: bool, seconds: float = _STABILIZATION_SECONDS) -> None:
        self._shipped = shipped
        self._seen = Window(seconds)

    def settle(self, wanted: int, *, current: int, now: float) -> int:
        """The count after it."""
        self._seen.add(now, wanted)
        if wanted >= current:
            return wanted
        return int(min(self._seen.values()) if self._shipped else min(current, max(self._seen.values())))


@dataclass(slots=True)
class Reader:
    """Mean of the metric over the pods."""

    source: Source
    kv_tokens: int
    shipped: bool

    def total(self, glance: Glance) -> tuple[float, int] | None:
        """(sum over the pods, pods that it is divided by); None when none answered."""
        pages = glance.staying(glance.probe())
        answered = len(pages)
        if not answered and not self.shipped:
            return None
        if self.source is Source.KV:
            total = float(sum(page.values[KV_USED] for page in pages)) / self.kv_tokens
        else:
            total = float(sum(page.values[RUNNING] + page.values[WAITING] for page in pages)) + glance.door.held
        loading = max(0, glance.current - glance.serving)
        return total, max(1, glance.current if self.shipped else answered + loading)


class Apa:
    """APA on one metric. To be tuned: its target, as a share of the sequences a replica runs, and the window."""

    period_seconds = 10.0
    GRID: ClassVar[Mapping[str, Sequence[float]]] = {
        "share": (0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32),
        "window_seconds": (30.0, 60.0, 180.0),
    }

    def __init__(
        self,
        *,
        profile: Profile,
        source: Source = Source.KV,
        target: float = 0.5,
        window_seconds: float = 180.0,
        rates: Rates = Rates(),
        shipped: bool = False,
        bounds: Bounds = ANY,
        name: str = "aibrix-apa",
    ) -> None:
        """APA of one service.

        Args:
            profile: gives the size of the cache.
            source: metric.
            target: of a pod: share of the cache, or requests.
            window_seconds: that the metric is averaged over (`observeWindowSeconds`).
            rates: annotations.
            shipped: with the defects.
            bounds: least and most replicas.
            name: in results.
        """
        self.name = name
        self._reader = Reader(source, profile.kv_tokens, shipped)
        self._target = target
        self._rates = rates
        self._bounds = bounds
        self._use = Window(window_seconds)
        self._memory = Memory(shipped=shipped)

    def desired(self, glance: Glance) -> int:
        """One resync."""
        read = self._reader.total(glance)
        if read is None:
            return self._bounds.clamp(glance.current)
        total, pods = read
        self._use.add(glance.now, total / pods)
        wanted = self._bounds.clamp(apa(glance.current, self._use.mean() or 0.0, self._target, self._rates))
        return self._memory.settle(wanted, current=glance.current, now=glance.now)


def kpa(
    current: int, *, stable: float, panic: float, target: float, rates: Rates = Rates(), most: int | None = None
) -> int:
    """`KPAAlgorithm.computeTargetReplicas`: in panic (when `most` is given) not below `most`."""
    up, down = max(1, math.ceil(rates.up * max(0, current))), math.floor(max(0, current) / rates.down)
    wanted, surged = (min(max(math.ceil(value / target), down), up) for value in (stable, panic))
    return wanted if most is None else max(most, wanted, surged)


class AibrixKpa:
    """AIBrix' KPA. To be tuned as APA."""

    period_seconds = 10.0
    GRID: ClassVar[Mapping[str, Sequence[float]]] = {
        "share": (0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32),
        "stable_seconds": (60.0, 180.0, 600.0),
    }

    def __init__(
        self,
        *,
        profile: Profile,
        source: Source = Source.KV,
        target: float = 0.5,
        stable_seconds: float = 180.0,
        shipped: bool = False,
        bounds: Bounds = ANY,
        name: str = "aibrix-kpa",
    ) -> None:
        self.name = name
        self._reader = Reader(source, profile.kv_tokens, shipped)
        self._shipped = shipped
        self._bounds = bounds
        self._use = Window(stable_seconds)
        self._scaler = Scaler(
            Decider(target=target, stable_seconds=stable_seconds, panic_seconds=60.0, up_rate=2.0, down_rate=2.0)
        )
        self._memory = Memory(shipped=shipped)

    def desired(self, glance: Glance) -> int:
        """One resync."""
        read = self._reader.total(glance)
        if read is None:
            return self._bounds.clamp(glance.current)
        total, pods = read
        self._use.add(glance.now, total / pods if self._shipped else total)
        stable = self._use.mean() or 0.0
        panic = self._use.mean(since=glance.now - self._scaler.spec.panic_seconds) or 0.0
        if self._shipped:
            wanted = kpa(glance.current, stable=stable, panic=panic, target=self._scaler.spec.target)
        else:
            wanted = self._scaler.scale(stable, panic, ready=glance.current, now=glance.now)
        wanted = self._bounds.clamp(wanted)
        return self._memory.settle(wanted, current=glance.current, now=glance.now)
