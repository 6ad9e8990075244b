"""llm-d's Workload Variant Autoscaler, V2: token supply and demand (`rivals.md` §5.3, §1.1).

Source: llm-d/llm-d-workload-variant-autoscaler `internal/engines/analyzers/saturation_v2/analyzer.go`, cost-aware
optimizer with one variant; tick 15 s. It acts through an HPA on `wva_desired_replicas`, AverageValue 1, which does not
stabilise (the sample); `stabilization_seconds` = 240 is what its benchmark sets. The HPA's tolerance swallows a change
of one replica from 11 on: `shipped` = true keeps that, by default it is 0. The scheduler's queue is what our gateway
holds. Mean output is tokens generated per request finished, as our counters have it; vLLM's histogram counts finished
requests only. Without a sample it holds. The gate to zero is not ported: the least is 1.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from penstock_contract.profile import Profile
from penstock_lab.simulate.policies.base import ANY, Bounds, Glance
from penstock_lab.simulate.policies.hpa import Behaviour, HorizontalPodAutoscaler, Metric, Rate
from penstock_lab.simulate.scrapes import KV_USED, WAITING, Page
from penstock_lab.simulate.state import Counter

_PEAK_SECONDS = 60.0
_ROLLING = 10
_DOWN_TO_UP = 0.70 / 0.85


@dataclass(frozen=True, slots=True)
class Replica:
    """What WVA's collector makes of one pod.

    Attributes:
        used: tokens in the cache, the most of the last minute.
        waiting: requests in its queue, the most of the last minute.
        prompt: mean tokens of the last 5 minutes; 0 = unknown.
        output: as above.
        hit: share of prompt tokens that the prefix cache had.
    """

    used: int
    waiting: int
    prompt: float = 0.0
    output: float = 0.0
    hit: float = 0.0


@dataclass(frozen=True, slots=True)
class Engine:
    """Limits of a replica, from the metrics and the arguments of its engine; 0 batched tokens = unknown."""

    kv_tokens: int
    max_num_batched_tokens: int = 0
    max_num_seqs: int = 0

    def derived(self, prompt: float, output: float) -> int:
        """Tokens in use of the steady batch that the arguments allow; 0 when that cannot be told."""
        if self.max_num_batched_tokens <= 0 or output <= 0:
            return 0
        batch = min(self.max_num_batched_tokens * output / (prompt + output), self.max_num_seqs)
        return int(batch * (prompt + output / 2))


@dataclass(frozen=True, slots=True)
class Thresholds:
    """ConfigMap `wva-saturation-scaling-config`."""

    kv: float = 0.8
    queue: int = 5
    up: float = 0.85
    down: float = 0.70


@dataclass(slots=True)
class Analyzer:
    """Capacity of a replica and demand, in tokens; remembers the compute-bound capacity by length of output."""

    engine: Engine
    thresholds: Thresholds = field(default_factory=Thresholds)
    _seen: dict[str, deque[int]] = field(default_factory=lambda: defaultdict(lambda: deque(maxlen=_ROLLING)))

    def capacity(self, replicas: Sequence[Replica]) -> int:
        """Of one replica: the median of each one's lesser of memory-bound and compute-bound."""
        by_memory = int(self.engine.kv_tokens * self.thresholds.kv)
        return _median([min(by_memory, self._by_compute(one, by_memory)) for one in replicas])

    def _by_compute(self, one: Replica, by_memory: int) -> int:
        seen = self._seen[_length(one.output)]
        if one.waiting >= self.thresholds.queue and one.used > 0:
            seen.append(one.used)
            return one.used
        if seen:
            return int(sum(seen) / len(seen))
        return self.engine.derived(one.prompt, one.output) or by_memory

    def demand(self, replicas: Sequence[Replica], *, held: float = 0.0) -> float:
        """In use, waiting and held in front."""
        inside = sum(one.used + int(one.waiting) * int(one.prompt) for one in replicas)
        known = [one for one in replicas if one.prompt > 0 or one.output > 0]
        if not known or held <= 0:
            return float(inside)
        count = len(known)
        prompt, output = sum(one.prompt for one in known) / count, sum(one.output for one in known) / count
        hit = sum(one.hit for one in known) / count
        return inside + held * (prompt * (1 - hit) + output)

    def desired(self, replicas: Sequence[Replica], *, current: int, pending: int, held: float = 0.0) -> int:
        """Replicas after the optimizer; up with the pending ones counted, down without them."""
        capacity = self.capacity(replicas)
        if capacity <= 0:
            return current
        demand = self.demand(replicas, held=held)
        required = max(0.0, demand / self.thresholds.up - current * capacity)
        if required > 0:
            return current + math.ceil(required / capacity)
        ready = max(0, current - pending)
        spare = max(0.0, ready * capacity - demand / self.thresholds.down)
        return max(1, current - math.floor(spare / capacity))


class Wva:
    """WVA V2 on its HPA. To be tuned: the utilisation to scale up at (down in proportion), and the HPA's memory."""

    period_seconds = 15.0
    GRID: ClassVar[Mapping[str, Sequence[float]]] = {
        "up": (0.03, 0.06, 0.1, 0.2, 0.4, 0.85),
        "stabilization_seconds": (0.0, 240.0, 600.0),
    }

    def __init__(
        self,
        *,
        profile: Profile,
        up: float = 0.85,
        down: float | None = None,
        stabilization_seconds: float = 0.0,
        shipped: bool = False,
        bounds: Bounds = ANY,
        name: str = "wva-v2",
    ) -> None:
        """WVA of one model with one variant.

        Args:
            profile: gives what `cache_config_info` and the engine's arguments give.
            up: `scaleUpThreshold`.
            down: `scaleDownBoundary`; None = in upstream's ratio to `up` (0.70 to 0.85).
            stabilization_seconds: of the HPA's scale-down.
            shipped: keep the HPA's tolerance, which swallows small changes of a large count.
            bounds: of the HPA.
            name: in results.
        """
        self.name = name
        engine = Engine(profile.kv_tokens, profile.max_num_batched_tokens, profile.max_num_seqs)
        self._analyzer = Analyzer(engine, Thresholds(up=up, down=up * _DOWN_TO_UP if down is None else down))
        self._actuator = actuator(stabilization_seconds=stabilization_seconds, shipped=shipped, bounds=bounds)
        self._last: int | None = None

    def desired(self, glance: Glance) -> int:
        """One cycle of the optimizer and one sync of the HPA behind it."""
        found = replicas(glance)
        if found:
            pending = max(0, glance.current - glance.serving)
            self._last = self._analyzer.desired(found, current=glance.current, pending=pending, held=glance.door.held)
        elif self._last is None:
            self._last = glance.current
        return self._actuator.sync([self._last], current=glance.current, ready=glance.serving, now=glance.now)


def actuator(*, stabilization_seconds: float, shipped: bool, bounds: Bounds) -> HorizontalPodAutoscaler:
    """The HPA that carries out `wva_desired_replicas`."""
    behaviour = Behaviour(
        tolerance=0.1 if shipped else 0.0,
        stabilization_seconds=stabilization_seconds,
        up=Rate(pods=10, seconds=15.0),
        down=Rate(pods=10, seconds=15.0),
    )
    desired = Metric(lambda _: None, 1.0)  # the value is handed to `sync`
    return HorizontalPodAutoscaler(metrics=[desired], behaviour=behaviour, bounds=bounds)


def replicas(glance: Glance) -> list[Replica]:
    """What the collector's queries give of the pods that do not drain; gone samples are gone pods."""
    kept = [pages for pages in glance.history if pages and pages[-1].pod not in glance.draining]
    return [_replica(pages, glance.now) for pages in kept if pages[-1].at >= glance.now - _PEAK_SECONDS]


def _replica(pages: Sequence[Page], now: float) -> Replica:
    recent = [page.values for page in pages if page.at >= now - _PEAK_SECONDS]
    grown = pages[-1].values - pages[0].values
    prompts = grown[Counter.PROMPT_TOKENS]
    return Replica(
        used=int(max(values[KV_USED] for values in recent)),
        waiting=int(max(values[WAITING] for values in recent)),
        prompt=_ratio(prompts, grown[Counter.ARRIVED]),
        output=_ratio(grown[Counter.GENERATED_TOKENS], grown[Counter.FINISHED]),
        hit=_ratio(grown[Counter.PROMPT_TOKENS_CACHED], prompts),
    )


def _ratio(of: float, to: float) -> float:
    return float(of / to) if to > 0 else 0.0


def _length(output: float) -> str:
    return "short" if output < 100 else "medium" if output < 500 else "long"


def _median(values: Sequence[int]) -> int:
    if not values:
        return 0
    ordered, half = sorted(values), len(values) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) // 2
