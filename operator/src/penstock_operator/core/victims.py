"""Which replicas go when a service shrinks, and what has to happen before they may.

A ReplicaSet removes pods that are not ready first, then those with the lowest deletion cost. So the victims are chosen
in that order: what does not serve, then what already drains, then what has the least to do. A ready victim is drained:
it is marked, routers stop sending to it, and only when it is idle (or its time is up) is it removed. Until then the
plan may change: load that returns unmarks it, and nothing was lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SETTLE_SECONDS = 2.0  # the mark holds whole seconds, and routers need a moment to see it


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
        sentenced: it has the deletion cost that lets a ReplicaSet take it first.
    """

    name: str
    ready: bool
    scheduled: bool
    created: str
    draining_since: float | None = None
    work: float | None = None
    sentenced: bool = False


@dataclass(frozen=True, slots=True)
class DrainPlan:
    """What to do now.

    Attributes:
        replicas: what to write to `/scale`.
        mark: pods to mark as draining.
        unmark: pods that shall serve again, or stay; mark and cost are taken off.
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
    # Counted out already, but still in sight: the ReplicaSet is about to take them, by the cost they were given.
    leaving = sorted(candidates, key=_next_to_go)[: max(0, len(candidates) - current)]
    staying = [pod for pod in candidates if pod not in leaving]
    touched = {pod.name for pod in staying if pod.draining_since is not None or pod.sentenced}
    if wanted >= current:
        return DrainPlan(replicas=wanted, unmark=tuple(sorted(touched)))
    not_created = max(0, current - len(staying))
    surplus = current - wanted
    victims = sorted(staying, key=_order)[: max(0, surplus - not_created)]
    remove = [pod.name for pod in victims if _may_go(pod, now=now, timeout_seconds=timeout_seconds)]
    chosen = {pod.name for pod in victims}
    return DrainPlan(
        replicas=current - min(surplus, not_created) - len(remove),
        mark=tuple(pod.name for pod in victims if pod.ready and pod.draining_since is None),
        unmark=tuple(sorted(touched - chosen)),
        remove=tuple(remove),
    )


def _next_to_go(pod: Candidate) -> tuple[bool, bool, bool, float, str]:
    """As a ReplicaSet orders them: unassigned, not ready, lowest cost, newest (`controller.ActivePodsWithRanks`)."""
    return (pod.scheduled, pod.ready, not pod.sentenced, _newest_first(pod), pod.name)


def _order(pod: Candidate) -> tuple[bool, bool, bool, float, float, str]:
    work = float("inf") if pod.work is None else pod.work
    return (pod.ready, pod.scheduled, pod.draining_since is None, work, _newest_first(pod), pod.name)


def _newest_first(pod: Candidate) -> float:
    return -float("".join(char for char in pod.created if char.isdigit()) or 0)


def _may_go(pod: Candidate, *, now: float, timeout_seconds: float) -> bool:
    if not pod.ready:
        return True
    if pod.draining_since is None:
        return False
    age = now - pod.draining_since
    return age >= timeout_seconds or (pod.work == 0 and age >= SETTLE_SECONDS)
