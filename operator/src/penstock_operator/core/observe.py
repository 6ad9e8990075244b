"""From a service's children and the answers of one tick to the observation that the policy sees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from penstock_operator.core import pods as worker_pods
from penstock_operator.core.handover import foreign_scaler
from penstock_operator.core.scaling.signals import Key, View, generated, reporting, signal
from penstock_operator.core.scaling.types import Observation
from penstock_operator.core.status import replacing

Manifest = dict[str, Any]


def observe(key: Key, *, deployment: Manifest, pods: Sequence[Manifest], view: View) -> Observation:
    """The observation of one service.

    Args:
        key: (namespace, name) of the service.
        deployment: live Deployment.
        pods: its pods, also those on their way out.
        view: answers of the metrics source at this tick.
    """
    live = worker_pods.live(pods)
    running = signal(view, "running", key)
    return Observation(
        replicas=int(deployment.get("spec", {}).get("replicas", 1)),
        ready=sum(worker_pods.is_ready(pod) for pod in live),
        unschedulable=len(worker_pods.unschedulable(live)),
        rolling_out=replacing(deployment),
        foreign_scaler=foreign_scaler(deployment),
        rate_window_seconds=view.window_seconds,
        arrivals=signal(view, "arrivals", key),
        prompt_tokens=signal(view, "prompt_tokens", key),
        generated_tokens=generated(view, key, running=running),
        finished=signal(view, "finished", key),
        waiting=signal(view, "waiting", key),
        running=running,
        reporting=reporting(view, key),
        source_error=view.error,
    )
