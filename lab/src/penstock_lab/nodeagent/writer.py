"""Reports one pod's status to the API server: only changes, always the newest, again until the server has it.

Others write there too: the node lifecycle controller makes every pod of a silent node not Ready and leaves it to the
kubelet to take that back. So what the server shows is compared with what was reported, and reported again.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from penstock_lab.kube import UNREACHABLE, Kube, KubeError
from penstock_lab.nodeagent.resources import PODS
from penstock_lab.nodeagent.status import CONDITIONS

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
        self._version = 0
        self._dirty = asyncio.Event()

    def touch(self) -> None:
        """Something that the status shows may have changed."""
        self._dirty.set()

    def observe(self, pod: dict[str, Any]) -> None:
        """Take note of the pod as the server has it, which may be older than what was last written."""
        shown, version = pod.get("status", {}), int(pod["metadata"]["resourceVersion"])
        if version > self._version and _essence(shown) != _essence(self._written):
            self._written = shown
        self.touch()

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
                self._version = await self._write(status)
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

    async def _write(self, status: dict[str, Any]) -> int:
        """Return the version that the pod got by it."""
        sandbox = self._sandbox
        body = {"metadata": {"uid": sandbox.uid}, "status": status}
        pod = await self._kube.patch(
            PODS, sandbox.name, body, namespace=sandbox.namespace, sub="status", kind="strategic"
        )
        return int(pod["metadata"]["resourceVersion"])


def _essence(status: dict[str, Any]) -> dict[str, str]:
    """What others may have changed: the phase and the truth of the conditions that a node agent writes."""
    conditions = {entry["type"]: entry["status"] for entry in status.get("conditions", ())}
    return {"phase": status.get("phase", "")} | {kind: conditions.get(kind, "") for kind in CONDITIONS}
