"""KEDA: activation between 0 and 1, and a generated HPA from 1 on (`rivals.md` §5.1, §1.5).

Source: kedacore/keda `pkg/scaling/executor/scale_scaledobjects.go` and `pkg/scalers/prometheus_scaler.go`; the trigger
is vLLM production-stack's: `sum(vllm:num_requests_waiting)`, threshold 5, polled every 15 s, cooldown 360 s. Requests
that the gateway holds wait as well. `ignoreNullValues` is true by default upstream, and so here: a query that finds
nothing is 0, and scales down. `fallback` is not ported: it needs a query that fails, and ours finds nothing instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from penstock_lab.simulate.policies.base import ANY, Bounds, Glance
from penstock_lab.simulate.policies.hpa import USUAL, Behaviour, HorizontalPodAutoscaler, Metric, waiting_only


class Keda:
    """A ScaledObject. To be tuned: the threshold of waiting requests per replica, and how long a peak is remembered."""

    period_seconds = 15.0
    GRID: ClassVar[Mapping[str, Sequence[float]]] = {
        "target": (0.1, 0.25, 0.5, 1.0, 5.0, 20.0),
        "stabilization_seconds": (300.0, 900.0, 1800.0),
    }

    def __init__(
        self,
        *,
        target: float = 5.0,
        metrics: Sequence[Metric] | None = None,
        bounds: Bounds = ANY,
        behaviour: Behaviour = USUAL,
        cooldown_seconds: float = 360.0,
        activation: float = 0.0,
        ignore_null: bool = True,
        name: str = "keda",
    ) -> None:
        """A ScaledObject of one service.

        Args:
            target: waiting requests per replica, when `metrics` are not given.
            metrics: triggers in place of it.
            bounds: `minReplicaCount` and `maxReplicaCount`.
            behaviour: of the generated HPA.
            cooldown_seconds: without activity until it goes to the minimum, when that is 0.
            activation: a trigger above it is active.
            ignore_null: take an empty answer for 0.
            name: in results.
        """
        self.name = name
        self._metrics = list(metrics) if metrics is not None else [Metric(waiting_only, target)]
        self._bounds = bounds
        self._cooldown = cooldown_seconds
        self._activation = activation
        self._ignore_null = ignore_null
        self._active_at: float | None = None
        within = Bounds(max(1, bounds.minimum), max(1, bounds.maximum))
        self._hpa = HorizontalPodAutoscaler(metrics=self._metrics, bounds=within, behaviour=behaviour)

    def desired(self, glance: Glance) -> int:
        """One poll of the executor and one sync of the HPA."""
        values = [metric.read(glance) for metric in self._metrics]
        if self._ignore_null:
            values = [0.0 if value is None else value for value in values]
        active = any(value is not None and value > self._activation for value in values)
        if active:
            self._active_at = glance.now
        if glance.current == 0:
            return self._bounds.clamp(max(1, self._bounds.minimum)) if active else self._bounds.minimum
        failed = any(value is None for value in values)
        idle = self._active_at is None or glance.now - self._active_at >= self._cooldown
        if self._bounds.minimum == 0 and not active and not failed and idle:
            return 0  # without a last activity the cooldown does not hold it, as upstream
        return self._hpa.sync(values, current=glance.current, ready=glance.serving, now=glance.now)
