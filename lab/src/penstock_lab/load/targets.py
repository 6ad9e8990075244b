"""Which workers of a service may be sent to: ready pods that neither drain nor end, round robin.

A plain client for a cluster without a gateway. It follows the pods by a watch, so a pod that is deleted leaves the
rotation at once, while it still serves.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Self

from penstock_contract import names
from penstock_lab.kube import UNREACHABLE, Kube, KubeError, Object, Resource

_PODS = Resource("v1", "pods")
_RETRY_SECONDS = 0.2


class ReadyPods:
    """The rotation of one service; an asynchronous context manager that keeps the watch."""

    def __init__(self, kube: Kube, *, namespace: str, service: str) -> None:
        self._kube = kube
        self._namespace = namespace
        self._selector = f"{names.SERVICE}={service}"
        self._addresses: dict[str, str] = {}
        self._next = 0
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._follow(), name="ready-pods")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    @property
    def count(self) -> int:
        """Workers in the rotation."""
        return len(self._addresses)

    async def pick(self) -> str:
        """Base URL of the next worker; waits while there is none."""
        while not self._addresses:
            self._changed.clear()
            await self._changed.wait()
        self._next += 1
        addresses = list(self._addresses.values())
        return f"http://{addresses[self._next % len(addresses)]}:{names.HTTP_PORT}"

    async def _follow(self) -> None:
        while True:
            try:
                listed = await self._kube.list(_PODS, namespace=self._namespace, labelSelector=self._selector)
                self._addresses.clear()
                for pod in listed["items"]:
                    self._take("ADDED", pod)
                version = listed["metadata"]["resourceVersion"]
                async for kind, pod in self._kube.watch(
                    _PODS, resource_version=version, namespace=self._namespace, labelSelector=self._selector
                ):
                    if kind != "BOOKMARK":
                        self._take(kind, pod)
            except (*UNREACHABLE, KubeError):
                await asyncio.sleep(_RETRY_SECONDS)

    def _take(self, kind: str, pod: Object) -> None:
        uid, address = pod["metadata"]["uid"], pod.get("status", {}).get("podIP")
        ready = any(
            item["type"] == "Ready" and item["status"] == "True" for item in pod.get("status", {}).get("conditions", [])
        )
        metadata = pod["metadata"]
        leaving = metadata.get("deletionTimestamp") or names.DRAINING in (metadata.get("annotations") or {})
        if kind != "DELETED" and ready and address and not leaving:
            self._addresses[uid] = address
            self._changed.set()
        else:
            self._addresses.pop(uid, None)
