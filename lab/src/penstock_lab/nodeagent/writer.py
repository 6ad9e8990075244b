"""Reports one pod's status to the API server: only changes, always the newest, again until the server has it."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from penstock_lab.kube import UNREACHABLE, Kube, KubeError
from penstock_lab.nodeagent.resources import PODS

if TYPE_CHECKING:
    from collections.abc import Callable

    from penstock_lab.nodeagent.sandbox import Sandbox

_LOG: Final = logging.getLogger(__name__)
_FIRST_RETRY_SECONDS: Final = 0.2
_LAST_RETRY_SECONDS: Final = 5.0
_GONE: Final = (404, 409)  # no such pod, or another one of this name: nobody to report to


class StatusWriter:
    """Keeps the API server's view of one pod up to date.

    Args:
        kube: The API server.
        sandbox: The pod.
        compute: Returns the status as it is now, given the last one that the server has.
    """

    def __init__(self, *, kube: Kube, sandbox: Sandbox, compute: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self._kube = kube
        self._sandbox = sandbox
        self._compute = compute
        self._written: dict[str, Any] = sandbox.pod.get("status", {})
        self._dirty = asyncio.Event()

    def touch(self) -> None:
        """Something that the status shows may have changed."""
        self._dirty.set()

    async def run(self) -> None:
        """Write changes until cancelled."""
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            await self.flush()

    async def flush(self) -> None:
        """Write the status as it is now, with as many attempts as it takes; return also when the pod is gone."""
        delay = _FIRST_RETRY_SECONDS
        while True:
            status = self._compute(self._written)
            if status == self._written:
                return
            try:
                await self._write(status)
            except KubeError as error:
                if error.status in _GONE:
                    return
                _LOG.warning("status.refused pod=%s error=%s", self._sandbox.name, error)
            except UNREACHABLE:
                pass
            else:
                self._written = status
                return
            await asyncio.sleep(delay)
            delay = min(2 * delay, _LAST_RETRY_SECONDS)

    async def _write(self, status: dict[str, Any]) -> None:
        sandbox = self._sandbox
        body = {"metadata": {"uid": sandbox.uid}, "status": status}
        await self._kube.patch(PODS, sandbox.name, body, namespace=sandbox.namespace, sub="status", kind="strategic")
