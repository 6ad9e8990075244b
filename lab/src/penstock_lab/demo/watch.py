"""What the demo sees while it runs: replicas over time, read from the API server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from penstock_contract import names
from penstock_lab.kube import UNREACHABLE, Kube, KubeError, Object, Resource

SERVICES = Resource(names.API_VERSION, names.PLURAL)
DEPLOYMENTS = Resource("apps/v1", "deployments")
EVENTS = Resource("v1", "events")
_PERIOD_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Point:
    """Replicas at one time, in seconds from the start of the load."""

    at: float
    desired: int
    ready: int
    pods: int

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)


async def follow(
    kube: Kube,
    *,
    namespace: str,
    service: str,
    start: float,
    on_point: Callable[[Point], None],
    on_change: Callable[[Point], None],
) -> None:
    """Sample once a second until cancelled.

    Args:
        kube: client.
        namespace: of the service.
        service: its name.
        start: loop time of the start of the load.
        on_point: called with each sample.
        on_change: called with each point that differs from the one before.
    """
    loop = asyncio.get_running_loop()
    last: Point | None = None
    while True:
        with suppress(*UNREACHABLE, KubeError):
            deployment = await kube.get(DEPLOYMENTS, service, namespace=namespace)
            point = _point(deployment, at=round(loop.time() - start, 1))
            if last is None or (point.desired, point.ready) != (last.desired, last.ready):
                on_change(point)
            on_point(point)
            last = point
        await asyncio.sleep(_PERIOD_SECONDS)


def _point(deployment: Object, *, at: float) -> Point:
    status = deployment.get("status", {})
    return Point(
        at=at,
        desired=int(deployment["spec"].get("replicas", 0)),
        ready=int(status.get("readyReplicas") or 0),
        pods=int(status.get("replicas") or 0) + int(status.get("terminatingReplicas") or 0),
    )


async def condition(kube: Kube, *, namespace: str, service: str, kind: str) -> str:
    """Status of one condition of a service: True, False or Unknown."""
    try:
        found = await kube.get(SERVICES, service, namespace=namespace)
    except KubeError:
        return "Unknown"
    for item in found.get("status", {}).get("conditions", []):
        if item["type"] == kind:
            return str(item["status"])
    return "Unknown"


async def decisions(kube: Kube, *, namespace: str, service: str) -> list[dict[str, str]]:
    """The scaling decisions, oldest first, from the events of the service."""
    listed = await kube.list(EVENTS, namespace=namespace, fieldSelector=f"involvedObject.name={service}")
    found = [item for item in listed["items"] if item["reason"] in ("ScaledUp", "ScaledDown")]
    found.sort(key=lambda item: (item["firstTimestamp"], item["metadata"]["creationTimestamp"]))
    return [{"at": item["firstTimestamp"], "event": item["reason"], "message": item["message"]} for item in found]
