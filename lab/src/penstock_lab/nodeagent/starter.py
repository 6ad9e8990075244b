"""Starting a container's process: by exec, or, for an image that names modules to preload, as a fork of a zygote.

A fork is used only where it makes the same process: the image's own `python -m MODULE`, and no variable that an
interpreter or a native library reads when it is loaded. Everything else, and everything while a zygote cannot be had,
is executed.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final

from penstock_lab.nodeagent import zygote
from penstock_lab.nodeagent.environment import CLUSTER_MARK, CONTAINER_MARK, POD_MARK
from penstock_lab.nodeagent.process import Process, child_setup, execute, watch

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from penstock_lab.nodeagent.launch import Launch

_LOG: Final = logging.getLogger(__name__)
_READ_AT_LOAD: Final = ("PYTHON", "LD_", "OMP_", "KMP_", "MKL_", "OPENBLAS_", "TORCH", "MALLOC_", "CUDA_")
_MARKS: Final = {POD_MARK: "0" * 36, CONTAINER_MARK: "0" * 32}
_IMPORT_SECONDS: Final = 120.0


class Starter:
    """Starts processes; one zygote per set of preloaded modules, made at its first use.

    Args:
        environment: What zygotes run with.
        cluster_id: Marks them.
        folder: For their logs.
    """

    def __init__(self, *, environment: Mapping[str, str], cluster_id: str, folder: Path) -> None:
        self._environment = {**environment, CLUSTER_MARK: cluster_id, **_MARKS}
        self._folder = folder
        self._zygotes: dict[tuple[str, ...], _Zygote] = {}

    async def start(self, launch: Launch, output: int) -> Process:
        """Start a container's process with its output going to a file descriptor.

        Raises:
            StartError: the program is missing or cannot be executed.
        """
        if _forkable(launch, self._environment):
            process = await self._zygote(launch.image.preload).fork(launch, output)
            if process is not None:
                return process
        return execute(launch.argv, env=launch.environment, folder=launch.folder, output=output, nice=launch.nice)

    def _zygote(self, modules: tuple[str, ...]) -> _Zygote:
        known = self._zygotes.get(modules)
        if known is None or known.ended:
            log = self._folder / "zygote.log"
            known = self._zygotes[modules] = _Zygote(modules, environment=self._environment, log=log)
        return known


class _Zygote:
    """The agent's end of one zygote process."""

    def __init__(self, modules: tuple[str, ...], *, environment: Mapping[str, str], log: Path) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.setblocking(False)
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[bool] = self._loop.create_future()
        self._numbers = itertools.count()
        self._starting: dict[int, asyncio.Future[Process | None]] = {}
        self._ends: dict[int, asyncio.Future[int]] = {}
        self.ended = False
        with theirs, log.open("ab") as errors:
            popen = subprocess.Popen(
                # -P: the folder of the script must not hide modules of the same names.
                [sys.executable, "-P", zygote.__file__, *modules],
                env=dict(environment),
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
                preexec_fn=child_setup(),  # noqa: PLW1509 - the agent forks from its only thread
            )
        self._exit = watch(popen)
        self._loop.add_reader(self._control.fileno(), self._on_message)
        _LOG.info("zygote.started pid=%d modules=%s", popen.pid, ",".join(modules))

    async def fork(self, launch: Launch, output: int) -> Process | None:
        """Return a forked process, or None when this zygote cannot make one."""
        try:
            if not await asyncio.wait_for(asyncio.shield(self._ready), _IMPORT_SECONDS):
                return None
        except TimeoutError:
            return None
        number = next(self._numbers)
        started: asyncio.Future[Process | None] = self._loop.create_future()
        request = {
            "id": number,
            "module": launch.argv[2],
            "argv": launch.argv[2:],
            "environment": dict(launch.environment),
            "marks": list(_MARKS),
            "folder": str(launch.folder),
            "nice": launch.nice,
        }
        self._starting[number] = started
        try:
            socket.send_fds(self._control, [json.dumps(request).encode()], [output])
        except OSError:  # gone, its queue full, or the message too long
            del self._starting[number]
            return None
        return await started

    def _on_message(self) -> None:
        try:
            data = self._control.recv(zygote.MESSAGE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._close()
            return
        message: dict[str, Any] = json.loads(data)
        match message["event"]:
            case "ready":
                self._ready.set_result(True)
            case "started":
                end = self._ends[message["pid"]] = self._loop.create_future()
                started = self._starting.pop(message["id"])
                if not started.cancelled():
                    started.set_result(Process(message["pid"], end))
            case "ended":
                self._ends.pop(message["pid"]).set_result(message["status"])

    def _close(self) -> None:
        """The zygote is gone, and the kernel has killed its children with it."""
        self.ended = True
        self._loop.remove_reader(self._control.fileno())
        self._control.close()
        if not self._ready.done():
            self._ready.set_result(False)
        for started in self._starting.values():
            if not started.done():
                started.set_result(None)
        for end in self._ends.values():
            end.set_result(-signal.SIGKILL)
        self._starting, self._ends = {}, {}
        _LOG.warning("zygote.ended see=zygote.log")


def _forkable(launch: Launch, base: Mapping[str, str]) -> bool:
    if not launch.image.preload or launch.argv[:2] != [sys.executable, "-m"] or len(launch.argv) < 3:
        return False
    environment = launch.environment
    fits = all(len(environment[name].encode()) == len(value) for name, value in _MARKS.items())
    special = {name: value for name, value in environment.items() if name.startswith(_READ_AT_LOAD)}
    special.pop(zygote.UNBUFFERED, None)
    return fits and all(base.get(name) == value for name, value in special.items())
