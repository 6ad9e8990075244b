"""From a service's children and the answers of one tick to the observation that the policy sees."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from penstock_operator.core import pods as worker_pods
from penstock_operator.core.handover import foreign_scaler
from penstock_operator.core.scaling.budget import Missed
from penstock_operator.core.scaling.signals import Key, View, generated, reporting, signal, step_rates
from penstock_operator.core.scaling.types import Observation, Signal, SignalState
from penstock_operator.core.status import replacing

Manifest = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Offered:
    """What the gateways see of one service.

    Attributes:
        requests_per_second: arrival rate over the last seconds; None before two readings.
        prompt_tokens_per_second: the same for prompt tokens.
        held: requests that wait at the gateways for a worker.
        in_flight: requests sent to a worker and not finished.
        window_seconds: time that the rates cover.
        at: Unix seconds of the reading.
        missed: requests judged by each objective.
        prompt_lengths: arrivals per second by the bits of their prompt's length in tokens; empty when not told.
    """

    requests_per_second: float | None
    prompt_tokens_per_second: float | None
    held: float
    in_flight: float
    window_seconds: float
    at: float
    missed: tuple[Missed, ...] = ()
    prompt_lengths: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Door:
    """The gateways' answer for one service: what they see, or why that is not known."""

    offered: Offered | None
    detail: str = ""


def observe(
    key: Key,
    *,
    deployment: Manifest,
    pods: Sequence[Manifest],
    view: View,
    door: Door | None = None,
    startup_timeout_seconds: float = math.inf,
) -> Observation:
    """The observation of one service.

    Args:
        key: (namespace, name) of the service.
        deployment: live Deployment.
        pods: its pods, also those on their way out.
        view: answers of the metrics source at this tick.
        door: the gateways' answer; None when there is no gateway.
        startup_timeout_seconds: a pod that took longer tells nothing of how long a start takes.
    """
    live = worker_pods.live(pods)
    seen = replace(
        from_view(
            key,
            view,
            replicas=int(deployment.get("spec", {}).get("replicas", 1)),
            ready=sum(worker_pods.is_ready(pod) for pod in live),
        ),
        unschedulable=len(worker_pods.unschedulable(live)),
        rolling_out=replacing(deployment),
        foreign_scaler=foreign_scaler(deployment, now=view.now),
        startup_seconds=worker_pods.startup_p90(live, longest=startup_timeout_seconds),
        starting_ages=worker_pods.starting_ages(live, now=view.now),
    )
    return seen if door is None else at_the_door(seen, door)


def from_view(key: Key, view: View, *, replicas: int, ready: int) -> Observation:
    """What the metrics source alone tells of a service that has so many replicas."""
    running = signal(view, "running", key)
    return Observation(
        replicas=replicas,
        ready=ready,
        rate_window_seconds=view.window_seconds,
        scraped_window_seconds=view.window_seconds,
        arrivals=signal(view, "arrivals", key),
        prompt_tokens=signal(view, "prompt_tokens", key),
        generated_tokens=generated(view, key, running=running),
        finished=signal(view, "finished", key),
        waiting=signal(view, "waiting", key),
        running=running,
        reporting=reporting(view, key),
        work=step_rates(view, key),
        kv_use=signal(view, "kv_use", key),
        source_error=view.error,
    )


def standing_in(seen: Observation, *, why: str, trusted: bool) -> Observation:
    """The observation of signals that the workers gave themselves.

    Args:
        seen: with these signals.
        why: what keeps the metrics source from giving them.
        trusted: they may remove replicas. Else they only add: who reports is not known then.
    """
    if trusted:
        return replace(seen, stand_in=why)
    return replace(seen, source_error=why, reporting=Signal(SignalState.ABSENT, detail=why))


def at_the_door(seen: Observation, door: Door) -> Observation:
    """The observation with the demand that the gateways see, which includes what never reached a worker.

    Workers see a request when it is dispatched, in a rush when held ones are released, so the gateways' rate counts.
    Only when nothing at all passes through the gateways do clients talk to the workers themselves.
    """
    if door.offered is None:
        unknown = Signal(SignalState.ABSENT, detail=door.detail)
        return replace(seen, held=unknown, in_flight=unknown)
    offered = door.offered
    return replace(
        seen,
        held=Signal(SignalState.FRESH, offered.held, offered.at),
        in_flight=Signal(SignalState.FRESH, offered.in_flight, offered.at),
        arrivals=_rate(seen.arrivals, offered.requests_per_second, offered),
        prompt_tokens=_rate(seen.prompt_tokens, offered.prompt_tokens_per_second, offered),
        rate_window_seconds=offered.window_seconds or seen.rate_window_seconds,
        missed=offered.missed,
        prompt_lengths=offered.prompt_lengths,
    )


def _rate(scraped: Signal, rate: float | None, offered: Offered) -> Signal:
    if rate is None:
        return scraped
    passed_by = not (rate or offered.held or offered.in_flight)
    if passed_by and scraped.fresh and scraped.value > 0:
        return scraped
    return Signal(SignalState.FRESH, rate, offered.at)
