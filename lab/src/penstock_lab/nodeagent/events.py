"""Events about pods, as `kubectl describe pod` shows them: few, counted instead of repeated, never in the way.

Posting only queues; one task sends. Equal events are one object whose `count` rises, at most once per
`_REPEAT_SECONDS`; with the API server away a bounded number wait and further ones are dropped, as in a kubelet.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from penstock_lab.kube import UNREACHABLE, Kube, KubeError
from penstock_lab.nodeagent.record import timestamp
from penstock_lab.nodeagent.resources import EVENTS

if TYPE_CHECKING:
    from collections.abc import Hashable

EventType = Literal["Normal", "Warning"]

_LOG: Final = logging.getLogger(__name__)
_COMPONENT: Final = "penstock-nodeagent"
_QUEUE: Final = 1000
_REMEMBERED: Final = 2000
_REPEAT_SECONDS: Final = 5.0
_RETRIES: Final = 5


@dataclass(slots=True)
class _Posted:
    name: str
    namespace: str
    count: int
    sent_at: float


class EventRecorder:
    """Posts events; `run` sends them."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._queue: asyncio.Queue[tuple[Hashable, dict[str, Any]]] = asyncio.Queue(_QUEUE)
        self._posted: OrderedDict[Hashable, _Posted] = OrderedDict()

    def post(
        self,
        pod: dict[str, Any],
        kind: EventType,
        reason: str,
        message: str,
        *,
        host: str,
        container: str | None = None,
    ) -> None:
        """Queue an event about a pod, or about one of its containers."""
        metadata = pod["metadata"]
        involved = {"apiVersion": "v1", "kind": "Pod"} | {
            key: metadata[key] for key in ("name", "namespace", "uid", "resourceVersion")
        }
        if container is not None:
            involved["fieldPath"] = f"spec.containers{{{container}}}"
        now = timestamp()
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{metadata['name']}.{uuid.uuid4().hex[:16]}", "namespace": metadata["namespace"]},
            "involvedObject": involved,
            "type": kind,
            "reason": reason,
            "message": message[:1024],
            "source": {"component": _COMPONENT, "host": host},
            "reportingComponent": _COMPONENT,
            "reportingInstance": host,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        try:
            self._queue.put_nowait(((metadata["uid"], container, reason, message), event))
        except asyncio.QueueFull:
            return

    async def run(self) -> None:
        """Send what is posted until cancelled."""
        while True:
            key, event = await self._queue.get()
            try:
                await self._send(key, event)
            except KubeError as error:
                # A namespace that is going away refuses events; nothing is lost that anybody could read.
                _LOG.debug("event.refused %s", error)
            except UNREACHABLE:
                await self._retry(key, event)
            finally:
                self._queue.task_done()

    async def drain(self) -> None:
        """Wait until everything posted so far has been sent or given up."""
        await self._queue.join()

    async def _retry(self, key: Hashable, event: dict[str, Any]) -> None:
        for attempt in range(_RETRIES):
            await asyncio.sleep(0.2 * 2**attempt)
            try:
                return await self._send(key, event)
            except UNREACHABLE:
                continue
            except KubeError:
                return None
        return None

    async def _send(self, key: Hashable, event: dict[str, Any]) -> None:
        now = asyncio.get_running_loop().time()
        if (known := self._posted.get(key)) is None:
            namespace = event["metadata"]["namespace"]
            await self._kube.create(EVENTS, event, namespace=namespace)
            self._posted[key] = _Posted(event["metadata"]["name"], namespace, 1, now)
            if len(self._posted) > _REMEMBERED:
                self._posted.popitem(last=False)
            return
        known.count += 1
        if now - known.sent_at < _REPEAT_SECONDS:
            return
        known.sent_at = now
        body = {"count": known.count, "lastTimestamp": event["lastTimestamp"]}
        await self._kube.patch(EVENTS, known.name, body, namespace=known.namespace)
