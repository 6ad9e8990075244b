"""What worker pods tell: why they do not run, and how long they took to start."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from penstock_contract import names
from penstock_operator.core.victims import Candidate

Manifest = dict[str, Any]
_IMAGE_REASONS = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")
_RANK = ("WorkerCrashed", "ImagePullFailed", "Unschedulable")


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a pod does not serve: a condition reason and a sentence."""

    reason: str
    message: str


def live(pods: Sequence[Manifest]) -> list[Manifest]:
    """Pods that are not on their way out."""
    return [
        pod
        for pod in pods
        if not pod["metadata"].get("deletionTimestamp")
        and pod.get("status", {}).get("phase") not in ("Succeeded", "Failed")
    ]


def is_ready(pod: Manifest) -> bool:
    """True when the Ready condition is True."""
    return _condition(pod, "Ready").get("status") == "True"


def candidates(pods: Sequence[Manifest], work: Mapping[str, float | None]) -> list[Candidate]:
    """The live pods as candidates for removal.

    Args:
        pods: of one service.
        work: requests running and waiting by pod name, as far as asked.
    """
    return [
        Candidate(
            name=pod["metadata"]["name"],
            ready=is_ready(pod),
            scheduled=_condition(pod, "PodScheduled").get("status") == "True",
            created=str(pod["metadata"].get("creationTimestamp") or ""),
            draining_since=_draining_since(pod),
            work=work.get(pod["metadata"]["name"]),
            sentenced=names.POD_DELETION_COST in (pod["metadata"].get("annotations") or {}),
        )
        for pod in live(pods)
    ]


def marks(pods: Sequence[Manifest]) -> list[float]:
    """Unix seconds since when pods drain, of those that do."""
    return [since for pod in pods if (since := _draining_since(pod)) is not None]


def _draining_since(pod: Manifest) -> float | None:
    mark = (pod["metadata"].get("annotations") or {}).get(names.DRAINING)
    if mark is None:
        return None
    try:
        return datetime.fromisoformat(mark).timestamp()
    except ValueError:
        return 0.0  # marked by hand with something else: its time is up already


def unschedulable(pods: Sequence[Manifest]) -> list[Manifest]:
    """Pods that the scheduler finds no node for."""
    return [
        pod
        for pod in live(pods)
        if (scheduled := _condition(pod, "PodScheduled")).get("status") == "False"
        and scheduled.get("reason") == "Unschedulable"
    ]


def scheduled(pods: Sequence[Manifest]) -> int:
    """Pods that hold their accelerators: bound to a node and not gone, draining ones included."""
    return sum(
        _condition(pod, "PodScheduled").get("status") == "True"
        and pod.get("status", {}).get("phase") not in ("Succeeded", "Failed")
        for pod in pods
    )


def worst_trouble(pods: Sequence[Manifest]) -> Trouble | None:
    """The most telling trouble among the pods, or None; the same for the same pods in any order."""
    found = [trouble for pod in live(pods) if (trouble := _trouble(pod)) is not None]
    return min(found, key=lambda item: (_RANK.index(item.reason), item.message), default=None)


def _trouble(pod: Manifest) -> Trouble | None:
    if is_ready(pod):
        return None
    scheduled = _condition(pod, "PodScheduled")
    if scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable":
        return Trouble("Unschedulable", f"no node has room: {scheduled.get('message', '')}")
    for status in pod.get("status", {}).get("containerStatuses") or []:
        waiting = status.get("state", {}).get("waiting") or {}
        if waiting.get("reason") in _IMAGE_REASONS:
            message = f"image {status.get('image')}: {waiting.get('message') or waiting['reason']}"
            return Trouble("ImagePullFailed", message)
        ended = status.get("state", {}).get("terminated") or status.get("lastState", {}).get("terminated")
        if ended and (ended.get("exitCode") or waiting.get("reason") == "CrashLoopBackOff"):
            return Trouble("WorkerCrashed", f"worker exited with code {ended.get('exitCode')}: {_last_line(ended)}")
    return None


def _last_line(ended: Manifest) -> str:
    lines = [line for line in str(ended.get("message") or "").splitlines() if line.strip()]
    return lines[-1].strip() if lines else str(ended.get("reason") or "no message")


def _condition(pod: Manifest, kind: str) -> Manifest:
    for condition in pod.get("status", {}).get("conditions") or []:
        if condition.get("type") == kind:
            return dict(condition)
    return {}


@dataclass(frozen=True, slots=True)
class Startup:
    """Start-up time of one pod in seconds, in the two parts that differ: waiting for a node, and loading."""

    to_scheduled: float
    to_ready: float


def startup(pod: Manifest) -> Startup | None:
    """Measured start-up of a ready pod that never restarted, else None (its Ready time would be a later one)."""
    statuses = pod.get("status", {}).get("containerStatuses") or []
    if not is_ready(pod) or any(status.get("restartCount") for status in statuses):
        return None
    created = pod["metadata"].get("creationTimestamp")
    scheduled = _condition(pod, "PodScheduled").get("lastTransitionTime")
    ready = _condition(pod, "Ready").get("lastTransitionTime")
    if not (created and scheduled and ready):
        return None
    return Startup(to_scheduled=_seconds(created, scheduled), to_ready=_seconds(scheduled, ready))


def startup_p90(pods: Sequence[Manifest], *, longest: float) -> float | None:
    """90th percentile of created-to-ready over the pods, in seconds; None when none was measured.

    Args:
        pods: of one service.
        longest: start-up time-out in seconds; more is no start-up, but a pod that was unready for a while later on.
    """
    seen = sorted(one.to_scheduled + one.to_ready for pod in live(pods) if (one := startup(pod)) is not None)
    seen = [seconds for seconds in seen if seconds <= longest]
    return seen[math.ceil(0.9 * len(seen)) - 1] if seen else None


def starting_ages(pods: Sequence[Manifest], *, now: float) -> tuple[float, ...]:
    """Seconds since the creation of each live pod that has a node and is not ready."""
    return tuple(
        max(0.0, now - datetime.fromisoformat(pod["metadata"]["creationTimestamp"]).timestamp())
        for pod in live(pods)
        if not is_ready(pod)
        and _condition(pod, "PodScheduled").get("status") == "True"
        and pod["metadata"].get("creationTimestamp")
    )


def _seconds(start: str, end: str) -> float:
    return max(0.0, (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds())
