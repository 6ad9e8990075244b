"""The Nodes that the agent stands for: registered once, kept alive by a Lease each.

As a kubelet does, the agent renews the Lease every ten seconds and writes the Node's status only when it is not what
it should be, which happens after the control plane has missed the node for a while. A Node that somebody deletes
stays deleted until the agent starts again.
"""

from __future__ import annotations

import asyncio
import logging
import platform
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from penstock_lab.kube import UNREACHABLE, Kube, KubeError
from penstock_lab.nodeagent.record import timestamp
from penstock_lab.nodeagent.resources import LEASES, NODES
from penstock_lab.nodeagent.sandbox import NodeInfo

if TYPE_CHECKING:
    from penstock_lab.nodeagent.addresses import AddressPool
    from penstock_lab.nodeagent.settings import Settings

_LOG: Final = logging.getLogger(__name__)
_NAMESPACE: Final = "kube-node-lease"
_RENEW_SECONDS: Final = 10.0
_RETRY_SECONDS: Final = 0.5
_LEASE_SECONDS: Final = 40
_STOP_SECONDS: Final = 2.0
_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}
_PRESSURES: Final = ("MemoryPressure", "DiskPressure", "PIDPressure")


class Nodes:
    """All Nodes of one agent."""

    def __init__(self, *, kube: Kube, settings: Settings, addresses: AddressPool) -> None:
        self._kube = kube
        self.infos = {
            name: NodeInfo(name=name, address=addresses.node(index), capacity=settings.node_capacity)
            for index, name in enumerate(f"node-{number + 1}" for number in range(settings.nodes))
        }

    async def register(self) -> None:
        """Make every Node exist and be Ready, waiting for the API server as long as it takes."""
        await asyncio.gather(*(self._insist(info, register=True) for info in self.infos.values()))
        _LOG.info("nodes.registered count=%d", len(self.infos))

    async def keep_alive(self) -> None:
        """Renew leases and repair statuses until cancelled."""
        while True:
            await asyncio.sleep(_RENEW_SECONDS)
            await asyncio.gather(*(self._insist(info, register=False) for info in self.infos.values()))

    async def mark_stopped(self) -> None:
        """Say that the nodes take no pods any more, if the API server can still be told."""
        conditions = [_condition("Ready", "False", "NodeAgentStopped", "the node agent has ended")]
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await asyncio.gather(*(self._patch_status(name, {"conditions": conditions}) for name in self.infos))
        except (KubeError, *UNREACHABLE) as error:
            _LOG.info("nodes.not_told error=%r", error)

    async def _insist(self, info: NodeInfo, *, register: bool) -> None:
        while True:
            try:
                if register:
                    await self._register(info)
                await self._renew(info)
                return await self._repair(info)
            except KubeError as error:
                _LOG.warning("node.refused node=%s error=%s", info.name, error)
            except UNREACHABLE:
                pass  # the control plane notices by itself, and so does the watch, which says so
            await asyncio.sleep(_RETRY_SECONDS)

    async def _register(self, info: NodeInfo) -> None:
        body = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": info.name, "labels": _labels(info.name)},
            "status": _status(info),
        }
        try:
            await self._kube.create(NODES, body)
        except KubeError as error:
            if error.status != 409:
                raise
            await self._patch_status(info.name, _status(info))

    async def _repair(self, info: NodeInfo) -> None:
        try:
            node = await self._kube.get(NODES, info.name)
        except KubeError as error:
            if error.status == 404:
                return
            raise
        status = {entry["type"]: entry["status"] for entry in node["status"].get("conditions", ())}
        if status.get("Ready") != "True" or any(status.get(kind) != "False" for kind in _PRESSURES):
            _LOG.info("node.repaired node=%s conditions=%s", info.name, status)
            await self._patch_status(info.name, _status(info))

    async def _patch_status(self, name: str, status: dict[str, Any]) -> None:
        await self._kube.patch(NODES, name, {"status": status}, sub="status", kind="strategic")

    async def _renew(self, info: NodeInfo) -> None:
        spec = {
            "holderIdentity": info.name,
            "leaseDurationSeconds": _LEASE_SECONDS,
            "renewTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        }
        try:
            await self._kube.patch(LEASES, info.name, {"spec": spec}, namespace=_NAMESPACE)
        except KubeError as error:
            if error.status != 404:
                raise
            metadata = {"name": info.name, "namespace": _NAMESPACE}
            body = {"apiVersion": LEASES.api_version, "kind": "Lease", "metadata": metadata, "spec": spec}
            await self._kube.create(LEASES, body, namespace=_NAMESPACE)


def _labels(name: str) -> dict[str, str]:
    return {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": _architecture(),
    }


def _architecture() -> str:
    return _ARCHITECTURES.get(platform.machine(), platform.machine())


def _status(info: NodeInfo) -> dict[str, Any]:
    unknown = dict.fromkeys(("machineID", "systemUUID", "bootID", "kubeProxyVersion"), "")
    return {
        "capacity": info.capacity,
        "allocatable": info.capacity,
        "addresses": [
            {"type": "InternalIP", "address": info.address},
            {"type": "Hostname", "address": info.name},
        ],
        "conditions": [
            *(_condition(kind, "False", "NotMeasured", "processes share this machine") for kind in _PRESSURES),
            _condition("Ready", "True", "NodeAgentReady", "the node agent runs pods as local processes"),
        ],
        "nodeInfo": unknown
        | {
            "kernelVersion": platform.release(),
            "osImage": platform.platform(),
            "containerRuntimeVersion": "process://penstock",
            "kubeletVersion": "penstock-nodeagent",
            "operatingSystem": "linux",
            "architecture": _architecture(),
        },
    }


def _condition(kind: str, status: str, reason: str, message: str) -> dict[str, str]:
    now = timestamp()
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastHeartbeatTime": now,
        "lastTransitionTime": now,
    }
