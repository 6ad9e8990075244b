"""One pod on this machine, from binding to deletion.

Order: address, volumes, init containers one after the other, containers side by side; then, when all of them have
ended for good or the pod is being deleted, the final status and, for a deleted pod, the DELETE without grace that
removes the object. The address is given back only when no process of the pod is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
from typing import TYPE_CHECKING, Any, Final

from penstock_lab.kube import UNREACHABLE, KubeError
from penstock_lab.nodeagent.container import Container
from penstock_lab.nodeagent.errors import ConfigError, MountError, UnsupportedPodError
from penstock_lab.nodeagent.grace import Grace, first
from penstock_lab.nodeagent.payload import PayloadReader
from penstock_lab.nodeagent.record import ContainerRecord, timestamp
from penstock_lab.nodeagent.resources import PODS
from penstock_lab.nodeagent.sandbox import NodeInfo, Sandbox
from penstock_lab.nodeagent.status import PodView, pod_status
from penstock_lab.nodeagent.tokens import Tokens
from penstock_lab.nodeagent.volumes import Volumes
from penstock_lab.nodeagent.writer import StatusWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from penstock_lab.nodeagent.events import EventType
    from penstock_lab.nodeagent.launch import Machine

_LOG: Final = logging.getLogger(__name__)
_REFRESH_SECONDS: Final = 20.0
_RETRY_SECONDS: Final = 1.0
_VANISHED_GRACE_SECONDS: Final = 1.0
_HAND_OVER_SECONDS: Final = 2.0


class PodRunner:
    """Runs one pod; `run` returns when it is over. `vanished` says that the object is gone."""

    def __init__(self, *, pod: dict[str, Any], node: NodeInfo, machine: Machine, changed: Callable[[], None]) -> None:
        settings = machine.settings
        spec, status = pod["spec"], pod.get("status", {})
        folder = settings.state_dir / "pods" / pod["metadata"]["uid"]
        self._machine = machine
        self._changed = changed
        self._sandbox = Sandbox(pod=pod, node=node, address="", folder=folder, logs=settings.state_dir / "logs")
        self._started_at = status.get("startTime") or timestamp()
        self._init = _records(spec.get("initContainers", ()), status.get("initContainerStatuses", ()))
        self._main = _records(spec["containers"], status.get("containerStatuses", ()))
        self._grace = Grace()
        self.vanished = False
        self._ended = False
        self._stopping = False
        self._refusal = ""
        self._writer = StatusWriter(kube=machine.kube, sandbox=self._sandbox, compute=self._status)

    def update(self, pod: dict[str, Any]) -> None:
        """Take note of a newer version of the pod object."""
        self._sandbox.pod = pod
        if "deletionTimestamp" in pod["metadata"]:
            self._grace.begin(float(pod["metadata"].get("deletionGracePeriodSeconds") or 0))
        self._writer.observe(pod)

    def vanish(self) -> None:
        """The object is gone, by a forced deletion: only the processes are left to be ended."""
        self.vanished = True
        self._grace.begin(_VANISHED_GRACE_SECONDS)

    def stop(self, seconds: float) -> None:
        """The agent ends: end the processes within `seconds`, but leave the object to the next agent."""
        self._stopping = True
        self._grace.begin(min(seconds, float(self._sandbox.spec.get("terminationGracePeriodSeconds", 30))))

    def describe(self) -> dict[str, Any]:
        """Return what `pods.json` says about this pod."""
        sandbox = self._sandbox
        return {
            "namespace": sandbox.namespace,
            "name": sandbox.name,
            "uid": sandbox.uid,
            "node": sandbox.node.name,
            "address": sandbox.address,
            "containers": [
                {"name": record.name, "pid": record.pid, "log": str(sandbox.log_file(record.name))}
                for record in [*self._init, *self._main]
            ],
        }

    async def run(self) -> None:
        """Run the pod to its end, and report and clean up after it."""
        sandbox = self._sandbox
        self.update(sandbox.pod)
        if sandbox.pod.get("status", {}).get("phase") not in {"Succeeded", "Failed"}:
            _LOG.info("pod.taken pod=%s_%s node=%s", sandbox.name, sandbox.namespace, sandbox.node.name)
            sandbox.address = self._machine.addresses.take(sandbox.pod.get("status", {}).get("podIP"))
            writing = asyncio.create_task(self._writer.run())
            try:
                await self._live()
            finally:
                self._machine.addresses.free(sandbox.address)
                writing.cancel()
                await asyncio.gather(writing, return_exceptions=True)
        await self._finish()

    async def _live(self) -> None:
        sandbox = self._sandbox
        try:
            _check_supported(sandbox.spec)
            self._touch()
            volumes = await self._mount()
            if volumes is not None:
                refreshing = asyncio.create_task(self._refresh(volumes))
                try:
                    await self._run_containers(volumes)
                finally:
                    refreshing.cancel()
                    await asyncio.gather(refreshing, return_exceptions=True)
        except UnsupportedPodError as error:
            self._refusal = str(error)
            self._event("Warning", error.reason, str(error))
        except Exception as error:  # noqa: BLE001 - a defect here must not leave a status that tells of dead processes
            _LOG.exception("pod.broken pod=%s_%s", sandbox.name, sandbox.namespace)
            self._refusal = f"the node agent failed to run this pod: {error!r}"

    async def _run_containers(self, volumes: Volumes) -> None:
        policy = self._sandbox.spec.get("restartPolicy", "Always")
        for spec, record in zip(self._sandbox.spec.get("initContainers", ()), self._init, strict=True):
            await self._container(spec, record, volumes, "Never" if policy == "Never" else "OnFailure")
            if record.exit_code != 0:
                return
        async with asyncio.TaskGroup() as group:
            for spec, record in zip(self._sandbox.spec["containers"], self._main, strict=True):
                group.create_task(self._container(spec, record, volumes, policy))

    async def _container(self, spec: dict[str, Any], record: ContainerRecord, volumes: Volumes, policy: str) -> None:
        container = Container(
            spec=spec,
            record=record,
            sandbox=self._sandbox,
            volumes=volumes,
            machine=self._machine,
            restart_policy=policy,
            changed=self._touch,
        )
        await container.run(self._grace)

    async def _mount(self) -> Volumes | None:
        """Provide the volumes, retrying until they are there; None when the pod ends first."""
        sandbox, machine = self._sandbox, self._machine
        tokens = Tokens(machine.kube, sandbox)
        reader = PayloadReader(
            sandbox=sandbox,
            configs=machine.configs,
            tokens=tokens,
            root_certificate=machine.kube.connection.ca_data,
        )
        volumes = Volumes(sandbox=sandbox, kube=machine.kube, reader=reader, tokens=tokens)
        while not self._grace.begun.is_set():
            try:
                await volumes.mount()
            except MountError as error:
                self._event("Warning", "FailedMount", str(error))
            except UNREACHABLE as error:
                _LOG.warning("volumes.waiting pod=%s error=%s", sandbox.name, error)
            else:
                return volumes
            await first(self._grace.begun.wait(), asyncio.sleep(_RETRY_SECONDS))
        return None

    async def _refresh(self, volumes: Volumes) -> None:
        while volumes.refreshable:
            await asyncio.sleep(_REFRESH_SECONDS)
            with contextlib.suppress(ConfigError, KubeError, *UNREACHABLE):  # the old files stay; tried again
                await volumes.refresh()

    async def _finish(self) -> None:
        """Report the end, wait to be deleted if that has not happened, and let the object and the folder go."""
        sandbox = self._sandbox
        if self._stopping and "deletionTimestamp" not in sandbox.pod["metadata"]:
            await self._hand_over()
            return
        if not self.vanished and sandbox.address:
            for record in [*self._init, *self._main]:
                record.conclude()
            self._ended = True
            await self._writer.flush()
        await self._grace.begun.wait()
        if not self.vanished and not self._stopping:
            await self._delete()
        if not self._stopping:
            await asyncio.to_thread(shutil.rmtree, sandbox.folder, ignore_errors=True)
            _LOG.info("pod.gone pod=%s_%s", sandbox.name, sandbox.namespace)

    async def _hand_over(self) -> None:
        """Say once that nothing runs; the next agent takes the pod on from there."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._writer.flush(), _HAND_OVER_SECONDS)

    async def _delete(self) -> None:
        sandbox = self._sandbox
        while not self.vanished:
            try:
                return await self._machine.kube.delete(
                    PODS, sandbox.name, namespace=sandbox.namespace, uid=sandbox.uid, grace_seconds=0
                )
            except KubeError as error:
                if error.status in {404, 409}:
                    return None
                _LOG.warning("pod.delete_refused pod=%s error=%s", sandbox.name, error)
            except UNREACHABLE:
                pass
            await asyncio.sleep(_RETRY_SECONDS)
        return None

    def _status(self, previous: dict[str, Any]) -> dict[str, Any]:
        view = PodView(
            pod=self._sandbox.pod,
            init=self._init,
            main=self._main,
            address=self._sandbox.address,
            host=self._sandbox.node.address,
            started_at=self._started_at,
            ended=self._ended,
            refusal=self._refusal,
        )
        return pod_status(view, previous, timestamp())

    def _touch(self) -> None:
        self._writer.touch()
        self._changed()

    def _event(self, kind: EventType, reason: str, message: str) -> None:
        host = self._sandbox.node.name
        self._machine.events.post(self._sandbox.pod, kind, reason, message, host=host)


def _records(specs: Iterable[dict[str, Any]], statuses: Iterable[dict[str, Any]]) -> list[ContainerRecord]:
    """Return a record for each container, carrying on from what an earlier agent reported."""
    reported = {status["name"]: status for status in statuses}
    records = []
    for spec in specs:
        record = ContainerRecord(spec["name"], spec["image"])
        if spec["name"] in reported:
            record.resume(reported[spec["name"]])
        records.append(record)
    return records


def _check_supported(spec: dict[str, Any]) -> None:
    sidecars = [entry["name"] for entry in spec.get("initContainers", ()) if entry.get("restartPolicy") == "Always"]
    if sidecars:
        raise UnsupportedPodError(
            f"initContainers {sidecars} have restartPolicy Always: sidecars are not supported by the node agent; "
            "move them to containers"
        )
