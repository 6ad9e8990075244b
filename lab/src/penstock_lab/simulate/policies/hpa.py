"""The Kubernetes HorizontalPodAutoscaler's algorithm on a metric per pod, and KEDA, which feeds it.

Source: kubernetes `pkg/controller/podautoscaler/{replica_calculator,horizontal}.go`, autoscaling/v2 defaults: sync
every 15 s, tolerance 0.1, down only to the highest recommendation of the last 300 s, up at once by the larger of 4 pods
and 100 % in 15 s, down by 100 % in 15 s.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from penstock_lab.simulate.policies.base import Glance

_PERIOD_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Behaviour:
    """`spec.behavior`, as far as used.

    Attributes:
        tolerance: a ratio nearer to 1 than this changes nothing.
        stabilization_seconds: of scale-down.
        up_pods: most pods added in one period …
        up_percent: … or most per cent, whichever is more.
    """

    tolerance: float = 0.1
    stabilization_seconds: float = 300.0
    up_pods: int = 4
    up_percent: float = 100.0


def running_and_waiting(glance: Glance) -> float:
    """Requests in the replicas and in front of them."""
    return glance.scraped.running + glance.scraped.waiting + glance.door.held


def waiting_only(glance: Glance) -> float:
    """Requests that wait."""
    return glance.scraped.waiting + glance.door.held


class HorizontalPodAutoscaler:
    """Scales to metric / target, an average value per pod."""

    period_seconds = _PERIOD_SECONDS

    def __init__(
        self,
        *,
        target: float,
        metric: Callable[[Glance], float] = running_and_waiting,
        minimum: int = 1,
        behaviour: Behaviour | None = None,
        name: str = "hpa-running+waiting",
    ) -> None:
        self.name = name
        self._target = target
        self._metric = metric
        self._minimum = minimum
        self._behaviour = behaviour or Behaviour()
        self._history: deque[tuple[float, int]] = deque()

    def desired(self, glance: Glance) -> int:
        """One sync of the controller."""
        current, rules = glance.replicas, self._behaviour
        if glance.scraped.observed_at is None and not glance.door.held:
            return current  # no metric: the controller skips the sync
        value = self._metric(glance)
        ratio = value / (self._target * max(1, current))
        wanted = current if abs(ratio - 1.0) <= rules.tolerance else math.ceil(value / self._target)
        wanted = max(self._minimum, wanted)
        self._history.append((glance.now, wanted))
        while self._history[0][0] < glance.now - rules.stabilization_seconds:
            self._history.popleft()
        if wanted < current:
            return min(current, max(count for _, count in self._history))
        most = max(current + rules.up_pods, math.ceil(current * (1 + rules.up_percent / 100)))
        return min(wanted, most)


def keda_waiting(*, target: float = 5.0, minimum: int = 1) -> HorizontalPodAutoscaler:
    """KEDA with the Prometheus scaler on `sum(vllm:num_requests_waiting)`, threshold 5, as in vLLM production-stack.

    KEDA itself activates between 0 and 1 and leaves the rest to an HPA on the average value.
    """
    return HorizontalPodAutoscaler(target=target, metric=waiting_only, minimum=minimum, name="keda-waiting")
