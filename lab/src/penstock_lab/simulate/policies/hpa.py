"""The Kubernetes HorizontalPodAutoscaler (`rivals.md` §5.1).

Source: kubernetes `pkg/controller/podautoscaler/{replica_calculator,horizontal}.go`, autoscaling/v2 defaults: sync
every 15 s, tolerance 0.1, down only to the highest recommendation of the last 300 s, up at once by the larger of 4 pods
and 100 % of what there was 15 s ago, down by 100 %. Metrics are external ones: an AverageValue counts every pod that is
asked for, so pods that still load damp nothing but the tolerance. A metric that is missing allows no smaller count;
none at all holds. From 0 replicas with a minimum above it the controller is switched off; here it goes to the minimum.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from penstock_lab.simulate.policies.base import ANY, Bounds, Glance
from penstock_lab.simulate.policies.window import Window
from penstock_lab.simulate.scrapes import KV_USED, WAITING

_PERIOD_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Rate:
    """A limit of speed: the larger of pods and per cent in a period; None in both = no limit."""

    pods: int | None = None
    percent: float | None = None
    seconds: float = 15.0


@dataclass(frozen=True, slots=True)
class Behaviour:
    """`spec.behavior`, and the controller's tolerance.

    Attributes:
        tolerance: a ratio that is this near to 1 changes nothing.
        stabilization_seconds: of scale-down.
        up: limit of speed.
        down: limit of speed.
    """

    tolerance: float = 0.1
    stabilization_seconds: float = 300.0
    up: Rate = Rate(pods=4, percent=100.0)
    down: Rate = Rate(percent=100.0)


USUAL = Behaviour()


@dataclass(frozen=True, slots=True)
class Metric:
    """One entry of `spec.metrics`.

    Attributes:
        read: its value; None when the metrics API has none.
        target: of it.
        average: AverageValue (per pod) when true, else Value.
    """

    read: Callable[[Glance], float | None]
    target: float
    average: bool = True


def running_and_waiting(glance: Glance) -> float | None:
    """Requests in the replicas and in front of them."""
    if glance.scraped.observed_at is None and glance.current:
        return None
    return glance.scraped.running + glance.scraped.waiting + glance.door.held


def waiting_only(glance: Glance) -> float | None:
    """Requests that wait."""
    if glance.scraped.observed_at is None and glance.current:
        return None
    return glance.scraped.waiting + glance.door.held


def running_only(glance: Glance) -> float | None:
    """Requests in the batches."""
    return None if glance.scraped.observed_at is None and glance.current else glance.scraped.running


def saturation(kv_tokens: int) -> Callable[[Glance], float | None]:
    """Of the llm-d endpoint picker: mean over pods of the worse of waiting / 5 and cache use / 0.8; no pod counts 1."""

    def read(glance: Glance) -> float | None:
        each = [
            max(page.values[WAITING] / 5.0, page.values[KV_USED] / kv_tokens / 0.8)
            for page in glance.staying(glance.pages)
        ]
        return float(sum(each) / len(each)) if each else 1.0

    return read


class HorizontalPodAutoscaler:
    """Scales to metric / target. To be tuned: the target, as a share of the sequences a replica can run."""

    period_seconds = _PERIOD_SECONDS
    GRID: ClassVar[Mapping[str, Sequence[float]]] = {
        "share": (0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32),
        "stabilization_seconds": (60.0, 300.0, 600.0),
    }

    def __init__(
        self,
        *,
        target: float = 16.0,
        metrics: Sequence[Metric] | None = None,
        bounds: Bounds = ANY,
        behaviour: Behaviour = USUAL,
        name: str = "hpa",
    ) -> None:
        """An autoscaler of one service.

        Args:
            target: running and waiting requests per replica, when `metrics` are not given (16 as in llm-d's guide).
            metrics: what to scale on.
            bounds: least and most replicas.
            behaviour: `spec.behavior`.
            name: in results.
        """
        self.name = name
        self._metrics = list(metrics) if metrics is not None else [Metric(running_and_waiting, target)]
        self._bounds = bounds
        self._behaviour = behaviour
        self._recommended = Window(behaviour.stabilization_seconds)
        longest = max(behaviour.up.seconds, behaviour.down.seconds)
        self._up, self._down = Window(longest), Window(longest)

    def desired(self, glance: Glance) -> int:
        """One sync of the controller."""
        values = [metric.read(glance) for metric in self._metrics]
        return self.sync(values, current=glance.current, ready=glance.serving, now=glance.now)

    def sync(self, values: Sequence[float | None], *, current: int, ready: int, now: float) -> int:
        """The count that one sync sets, from a value (or None) for each metric."""
        if not len(self._recommended):
            self._recommended.add(now, current)
        proposals = [
            self.proposal(metric, value, current=current, ready=ready)
            for metric, value in zip(self._metrics, values, strict=True)
            if value is not None
        ]
        if not proposals or (len(proposals) < len(values) and max(proposals) < current):
            return self._bounds.clamp(current)
        return self.normalized(max(proposals), current=current, now=now)

    def proposal(self, metric: Metric, value: float, *, current: int, ready: int) -> int:
        """Replicas that one metric asks for (`GetExternalPerPodMetricReplicas`, `GetExternalMetricReplicas`)."""
        ratio = value / (metric.target * max(1, current)) if metric.average else value / metric.target
        if abs(ratio - 1.0) <= self._behaviour.tolerance:
            return current
        return math.ceil(value / metric.target * (1 if metric.average else ready))

    def normalized(self, wanted: int, *, current: int, now: float) -> int:
        """After stabilisation, limits of speed and bounds (`normalizeDesiredReplicasWithBehaviors`)."""
        self._recommended.add(now, wanted)
        if wanted < current:
            wanted = min(current, int(max(self._recommended.values())))
        limited = self._limited(wanted, current, now)
        count = self._bounds.clamp(limited)
        if count > current:
            self._up.add(now, count - current)
        elif count < current:
            self._down.add(now, current - count)
        return count

    def _limited(self, wanted: int, current: int, now: float) -> int:
        """Limits hold against the count at the start of the period: changes within it are taken back first."""
        rules = self._behaviour
        if wanted > current:
            return int(min(wanted, max(current, _most(rules.up, self._before(current, now - rules.up.seconds)))))
        if wanted < current:
            return int(max(wanted, min(current, _least(rules.down, self._before(current, now - rules.down.seconds)))))
        return wanted

    def _before(self, current: int, since: float) -> float:
        """The count at a time: a change that is exactly as old lies before it."""
        added = sum(value for at, value in self._up.items() if at > since)
        return current - added + sum(value for at, value in self._down.items() if at > since)


def _most(rate: Rate, start: float) -> float:
    limits = [start + rate.pods] if rate.pods is not None else []
    if rate.percent is not None:
        limits.append(math.ceil(start * (1 + rate.percent / 100)))
    return max(limits, default=math.inf)


def _least(rate: Rate, start: float) -> float:
    limits = [start - rate.pods] if rate.pods is not None else []
    if rate.percent is not None:
        limits.append(math.floor(start * (1 - rate.percent / 100)))
    return min(limits, default=-math.inf)
