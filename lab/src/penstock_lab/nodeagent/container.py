"""One container of a pod: start, probe, stop, restart with back-off; its record tells the truth at every moment.

What one run does is the business of `run`; here is what lies between runs: what is missing for a start, the restart
policy, the back-off, and the account that the status and the events give of it.
"""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING, Any, Final

from penstock_lab.kube import UNREACHABLE, KubeError
from penstock_lab.nodeagent.backoff import Backoff
from penstock_lab.nodeagent.errors import ConfigError, ImageError, MountError, StartError
from penstock_lab.nodeagent.grace import Grace, first
from penstock_lab.nodeagent.launch import Launch, Machine, prepare
from penstock_lab.nodeagent.messages import termination_message
from penstock_lab.nodeagent.record import ContainerRecord, timestamp, waiting
from penstock_lab.nodeagent.run import Run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from penstock_lab.nodeagent.events import EventType
    from penstock_lab.nodeagent.prober import ProbeKind
    from penstock_lab.nodeagent.process import Process
    from penstock_lab.nodeagent.sandbox import Sandbox
    from penstock_lab.nodeagent.volumes import Volumes

_LOG: Final = logging.getLogger(__name__)
_START_ERROR_CODE: Final = 128


class Container:
    """Runs one container until it has ended for good."""

    def __init__(
        self,
        *,
        spec: dict[str, Any],
        record: ContainerRecord,
        sandbox: Sandbox,
        volumes: Volumes,
        machine: Machine,
        restart_policy: str,
        changed: Callable[[], None],
    ) -> None:
        self._spec = spec
        self._record = record
        self._sandbox = sandbox
        self._volumes = volumes
        self._machine = machine
        self._restart_policy = restart_policy
        self._changed = changed
        self._backoff = Backoff(machine.settings.crash_backoff_seconds)

    async def run(self, grace: Grace) -> None:
        """Run, and restart as the policy says, until the container has ended for good or `grace` begins and is over."""
        if (ended := self._record.state.get("terminated")) is not None:
            if not self._restarts(int(ended["exitCode"])):
                return
            await self._back_off(0.0, grace)
        while not grace.begun.is_set():
            launch = await self._prepare(grace)
            if launch is None:
                return
            begun = asyncio.get_running_loop().time()
            code = await self._run_once(launch, grace)
            if grace.begun.is_set() or not self._restarts(code):
                return
            await self._back_off(asyncio.get_running_loop().time() - begun, grace)

    def started(self) -> None:
        """The container has started up."""
        self._record.started = True
        self._changed()

    def ready(self, value: bool, /) -> None:
        """The container became ready or ceased to be."""
        if self._record.ready != value:
            self._record.ready = value
            self._changed()

    def unhealthy(self, kind: ProbeKind, message: str, /) -> None:
        """A probe failed."""
        self.event("Warning", "Unhealthy", f"{kind} probe failed: {message}")

    def event(self, kind: EventType, reason: str, message: str, /) -> None:
        """Post an Event about this container."""
        self._machine.events.post(
            self._sandbox.pod, kind, reason, message, host=self._sandbox.node.name, container=self._spec["name"]
        )

    async def _prepare(self, grace: Grace) -> Launch | None:
        """Retry until everything for a start is there; None when the pod ends first."""
        delay = self._machine.settings.crash_backoff_seconds
        while not grace.begun.is_set():
            try:
                return await prepare(self._spec, sandbox=self._sandbox, volumes=self._volumes, machine=self._machine)
            except ImageError as error:
                self._report_missing_image(error)
            except (ConfigError, MountError) as error:
                self._wait_for("CreateContainerConfigError", str(error))
                self.event("Warning", "Failed", f"Error: {error}")
            except (KubeError, *UNREACHABLE) as error:
                self._wait_for("CreateContainerConfigError", f"{type(error).__name__}: {error}")
            await first(grace.begun.wait(), asyncio.sleep(delay))
            delay = min(2 * delay, 30 * self._machine.settings.crash_backoff_seconds)
        return None

    def _report_missing_image(self, error: ImageError) -> None:
        image = self._spec["image"]
        if self._record.state.get("waiting", {}).get("reason") in {"ErrImagePull", "ImagePullBackOff"}:
            self._wait_for("ImagePullBackOff", f'Back-off pulling image "{image}": ErrImagePull: {error}')
            self.event("Normal", "BackOff", f'Back-off pulling image "{image}"')
        else:
            self._wait_for("ErrImagePull", str(error))
            self.event("Warning", "Failed", str(error))

    async def _run_once(self, launch: Launch, grace: Grace) -> int:
        """Run the process to its end and return the exit code that the record shows."""
        record, log_file = self._record, self._sandbox.log_file(self._spec["name"])
        launch.termination_log.parent.mkdir(parents=True, exist_ok=True)
        launch.termination_log.write_bytes(b"")
        if record.container_id:
            record.restarts += 1
        record.container_id = f"process://{launch.container_id}"
        record.image_id = f"process://{launch.image.pattern}"
        began = timestamp()
        try:
            process, offset = await self._start(launch, log_file)
        except StartError as error:
            self.event("Warning", "Failed", f"Error: {error}")
            self._ended(_START_ERROR_CODE, reason="StartError", message=str(error), started_at=began)
            return _START_ERROR_CODE
        self._begun(process, began)
        run = Run(
            spec=self._spec,
            process=process,
            launch=launch,
            address=self._sandbox.address,
            session=self._machine.session,
            report=self,
            grace_seconds=float(self._sandbox.spec.get("terminationGracePeriodSeconds", 30)),
        )
        status = await run.end(grace)
        code = status if status >= 0 else 128 - status
        message = termination_message(
            self._spec, exit_code=code, written=launch.termination_log, log_file=log_file, log_offset=offset
        )
        reason = "Completed" if code == 0 else "Error"
        self._ended(code, reason=reason, message=message, started_at=began, number=max(0, -status))
        return code

    async def _start(self, launch: Launch, log_file: Path) -> tuple[Process, int]:
        """Return the started process and where its part of the log begins.

        Raises:
            StartError: the program or the log file cannot be used.
        """
        try:
            log = os.open(log_file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        except OSError as error:
            raise StartError(f"log file: {error}") from error
        try:
            offset = os.fstat(log).st_size
            process = await self._machine.starter.start(launch, log)
        finally:
            os.close(log)
        return process, offset

    def _begun(self, process: Process, began: str) -> None:
        name, record = self._spec["name"], self._record
        self.event("Normal", "Started", f"Started container {name} from image {self._spec['image']}")
        record.state = {"running": {"startedAt": began}}
        record.pid = process.pid
        record.started = record.ready = False
        _LOG.info("container.started pod=%s container=%s pid=%d", self._pod, name, process.pid)
        self._changed()

    def _ended(self, code: int, *, reason: str, message: str, started_at: str, number: int = 0) -> None:
        record = self._record
        ended: dict[str, Any] = {
            "exitCode": code,
            "reason": reason,
            "startedAt": started_at,
            "finishedAt": timestamp(),
            "containerID": record.container_id,
        }
        ended |= {"message": message} if message else {}
        ended |= {"signal": number} if number else {}
        record.state = {"terminated": ended}
        record.pid = None
        record.started = record.ready = False
        _LOG.info("container.ended pod=%s container=%s exit_code=%d", self._pod, record.name, code)
        self._changed()

    def _restarts(self, code: int) -> bool:
        return self._restart_policy == "Always" or (self._restart_policy == "OnFailure" and code != 0)

    async def _back_off(self, ran_seconds: float, grace: Grace) -> None:
        """Move the end into `lastState` and wait as long as the back-off says."""
        record, delay = self._record, self._backoff.after(ran_seconds)
        record.last_state = record.state
        name, uid = record.name, self._sandbox.uid
        if delay == 0.0:
            record.state = waiting("ContainerCreating")
            return
        message = f"back-off {delay:g}s restarting failed container={name} pod={self._pod}({uid})"
        self._wait_for("CrashLoopBackOff", message)
        self.event("Warning", "BackOff", f"Back-off restarting failed container {name} in pod {self._pod}({uid})")
        await first(grace.begun.wait(), asyncio.sleep(delay))

    def _wait_for(self, reason: str, message: str) -> None:
        state = waiting(reason, message)
        if self._record.state != state:
            self._record.state = state
            self._changed()

    @property
    def _pod(self) -> str:
        return f"{self._sandbox.name}_{self._sandbox.namespace}"
