"""What became of every pod and of every replica count, by this process's clock, second 0 being the start of the load.

Accelerators are held from the moment a pod is scheduled until it is gone. What is seen before second 0 counts as seen
at its time, which is negative.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from penstock_contract import names
from penstock_lab.kube import UNREACHABLE, Kube, KubeError, Object, Resource

PODS = Resource("v1", "pods")
DEPLOYMENTS = Resource("apps/v1", "deployments")
_RETRY_SECONDS = 0.5


@dataclass(slots=True)
class Life:
    """One pod; times in seconds, None for what has not happened.

    Attributes:
        name: of the pod.
        scheduled: it got a node.
        ready: for the first time.
        ending: it was told to end.
        gone: its object is gone.
    """

    name: str
    scheduled: float | None = None
    ready: float | None = None
    ending: float | None = None
    gone: float | None = None

    def held(self, start: float, end: float) -> float:
        """Seconds between `start` and `end` in which it held its accelerators."""
        if self.scheduled is None:
            return 0.0
        return max(0.0, min(end, end if self.gone is None else self.gone) - max(start, self.scheduled))

    def serves(self, at: float) -> bool:
        """Whether it was ready and not told to end."""
        return self.ready is not None and self.ready <= at and (self.ending is None or at < self.ending)


@dataclass(slots=True)
class Watch:
    """All pods and counts of the services, by namespace.

    Attributes:
        zero: loop time of second 0.
        pods: by namespace and uid.
        counts: (seconds, `spec.replicas`) of each change, by namespace.
    """

    zero: float
    pods: dict[str, dict[str, Life]] = field(default_factory=dict)
    counts: dict[str, list[tuple[float, int]]] = field(default_factory=dict)

    @property
    def now(self) -> float:
        """Seconds from second 0."""
        return asyncio.get_running_loop().time() - self.zero

    def restart(self) -> None:
        """Second 0 is now."""
        shift = self.now
        self.zero += shift
        for life in (life for lives in self.pods.values() for life in lives.values()):
            for name in ("scheduled", "ready", "ending", "gone"):
                value = getattr(life, name)
                setattr(life, name, None if value is None else value - shift)
        self.counts = {key: [(at - shift, count) for at, count in found] for key, found in self.counts.items()}

    def lives(self, namespace: str) -> list[Life]:
        """Pods of a service, in order of their appearance."""
        return list(self.pods.get(namespace, {}).values())

    def serving(self, namespace: str, at: float) -> int:
        """Pods that served at a time."""
        return sum(life.serves(at) for life in self.lives(namespace))

    def asked(self, namespace: str, at: float) -> int:
        """`spec.replicas` at a time."""
        return next((count for when, count in reversed(self.counts.get(namespace, [])) if when <= at), 0)

    def hours(self, namespace: str, end: float) -> float:
        """Hours in which pods held a node from second 0 to `end`."""
        return sum(life.held(0.0, end) for life in self.lives(namespace)) / 3600

    def pod(self, kind: str, found: Object) -> None:
        """An event of a pod."""
        metadata, now = found["metadata"], self.now
        known = self.pods.setdefault(metadata["namespace"], {})
        life = known.setdefault(metadata["uid"], Life(metadata["name"]))
        if life.scheduled is None and found.get("spec", {}).get("nodeName"):
            life.scheduled = now
        if life.ready is None and _is_ready(found):
            life.ready = now
        if life.ending is None and metadata.get("deletionTimestamp"):
            life.ending = now
        if life.gone is None and kind == "DELETED":
            life.ending = now if life.ending is None else life.ending
            life.gone = now

    def deployment(self, _kind: str, found: Object) -> None:
        """An event of a Deployment."""
        known = self.counts.setdefault(found["metadata"]["namespace"], [])
        count = int(found["spec"].get("replicas", 1))
        if not known or known[-1][1] != count:
            known.append((self.now, count))


@asynccontextmanager
async def watching(kube: Kube) -> AsyncIterator[Watch]:
    """Follow pods and Deployments of all services until the block ends."""
    watch = Watch(asyncio.get_running_loop().time())
    tasks = [
        asyncio.create_task(_follow(kube, PODS, watch.pod)),
        asyncio.create_task(_follow(kube, DEPLOYMENTS, watch.deployment)),
    ]
    try:
        yield watch
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _follow(kube: Kube, resource: Resource, take: Callable[[str, Object], None]) -> None:
    selector = names.SERVICE
    known: dict[str, Object] = {}
    while True:
        with suppress(*UNREACHABLE, KubeError):
            listed: dict[str, Any] = await kube.list(resource, labelSelector=selector)
            present = {item["metadata"]["uid"]: item for item in listed["items"]}
            for uid, item in known.items():
                if uid not in present:
                    take("DELETED", item)
            known = present
            for item in listed["items"]:
                take("ADDED", item)
            version = listed["metadata"]["resourceVersion"]
            async for kind, item in kube.watch(resource, resource_version=version, labelSelector=selector):
                if kind == "BOOKMARK":
                    continue
                take(kind, item)
                if kind == "DELETED":
                    known.pop(item["metadata"]["uid"], None)
                else:
                    known[item["metadata"]["uid"]] = item
        await asyncio.sleep(_RETRY_SECONDS)


def _is_ready(pod: Object) -> bool:
    conditions = pod.get("status", {}).get("conditions", ())
    return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)
