"""Which replicas go when a service shrinks, and what has to happen before they may.

A ReplicaSet removes pods that are not ready first, then those with the lowest deletion cost. So the victims are chosen
in that order: what does not serve, then what already drains, then what has the least to do. A ready victim is drained:
it is marked, routers stop sending to it, and only when it is idle (or its time is up) is it removed. Until then the
plan may change: load that returns unmarks it, and nothing was lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SETTLE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Candidate:
    """One pod that is not on its way out.

    Attributes:
        name: of the pod.
        ready: it serves.
        scheduled: it is bound to a node.
        created: RFC 3339 time of creation.
        draining_since: Unix seconds of the mark; None without one.
        work: requests running and waiting in it; None when it could not be asked.
    """

    name: str
    ready: bool
    scheduled: bool
    created: str
    draining_since: float | None = None
    work: float | None = None


@dataclass(frozen=True, slots=True)
class DrainPlan:
    """What to do now.

    Attributes:
        replicas: what to write to `/scale`.
        mark: pods to mark as draining.
        unmark: pods that shall serve again.
        remove: pods that may go; they get the lowest deletion cost before `/scale`.
    """

    replicas: int
    mark: tuple[str, ...] = ()
    unmark: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()


def plan(
    candidates: Sequence[Candidate], *, current: int, wanted: int, now: float, timeout_seconds: float
) -> DrainPlan:
    """The next step from `current` to `wanted` replicas.

    Args:
        candidates: all live pods of the service.
        current: `spec.replicas` of the Deployment.
        wanted: decided count.
        now: Unix seconds.
        timeout_seconds: longest drain of one pod.
    """
    draining = {pod.name for pod in candidates if pod.draining_since is not None}
    if wanted >= current:
        return DrainPlan(replicas=wanted, unmark=tuple(sorted(draining)))
    not_created = max(0, current - len(candidates))
    surplus = current - wanted
    victims = sorted(candidates, key=_order)[: max(0, surplus - not_created)]
    remove = [pod.name for pod in victims if _may_go(pod, now=now, timeout_seconds=timeout_seconds)]
    chosen = {pod.name for pod in victims}
    return DrainPlan(
        replicas=current - min(surplus, not_created) - len(remove),
        mark=tuple(pod.name for pod in victims if pod.ready and pod.draining_since is None),
        unmark=tuple(sorted(draining - chosen)),
        remove=tuple(remove),
    )


def _order(pod: Candidate) -> tuple[bool, bool, bool, float, float, str]:
    newest_first = -float("".join(char for char in pod.created if char.isdigit()) or 0)
    work = float("inf") if pod.work is None else pod.work
    return (pod.ready, pod.scheduled, pod.draining_since is None, work, newest_first, pod.name)


def _may_go(pod: Candidate, *, now: float, timeout_seconds: float) -> bool:
    if not pod.ready:
        return True
    if pod.draining_since is None:
        return False
    age = now - pod.draining_since
    return age >= timeout_seconds or (pod.work == 0 and age >= SETTLE_SECONDS)
