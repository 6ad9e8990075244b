"""One operating-system process of a container: started as the leader of its own session, awaited through a pidfd.

The kernel kills the process when the agent dies (PR_SET_PDEATHSIG), so not even a SIGKILL of the agent leaves it
behind; what the process itself has started is the guard's business (`strays`). Exits are awaited on the event loop
without a thread per process.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
from typing import TYPE_CHECKING, Final

from penstock_lab.nodeagent.errors import StartError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

_PR_SET_PDEATHSIG: Final = 1
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


class Process:
    """A started process. `wait` may be awaited by any number of tasks."""

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self._popen = popen
        self._pidfd = os.pidfd_open(popen.pid)
        loop = asyncio.get_running_loop()
        self._exit: asyncio.Future[int] = loop.create_future()
        loop.add_reader(self._pidfd, self._on_exit)

    @classmethod
    def start(cls, argv: Sequence[str], *, env: Mapping[str, str], folder: Path, output: int, nice: int = 0) -> Process:
        """Start `argv`; both its output streams go to the file descriptor `output`.

        Raises:
            StartError: the program is missing or cannot be executed.
        """
        try:
            popen = subprocess.Popen(
                argv,
                env=dict(env),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_child_setup(os.getpid(), nice),  # noqa: PLW1509 - the agent forks from its only thread
            )
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            raise StartError(f'exec: "{argv[0]}": {getattr(error, "strerror", None) or error}') from error
        return cls(popen)

    @property
    def pid(self) -> int:
        """The process id, which is also that of its session and process group."""
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        """The exit status, negative for a signal, None while it runs."""
        return self._exit.result() if self._exit.done() else None

    async def wait(self) -> int:
        """Wait for the end and return the exit status, negative for a signal."""
        return await asyncio.shield(self._exit)

    def signal_group(self, number: signal.Signals) -> None:
        """Send a signal to the whole process group; nothing happens when it is gone."""
        try:
            os.killpg(self._popen.pid, number)
        except (ProcessLookupError, PermissionError):
            return

    def _on_exit(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        # The group outlives its leader: take the rest along before the id can be used again.
        self.signal_group(signal.SIGKILL)
        self._exit.set_result(self._popen.wait())


def _child_setup(parent: int, nice: int) -> Callable[[], None]:
    def setup() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # the agent died before the call above
            os._exit(1)
        if nice:
            os.nice(nice)
            _nice_autogroup(nice)

    return setup


def _nice_autogroup(nice: int) -> None:
    """Weigh the session too: where the kernel groups tasks by session, `nice` acts only within one."""
    try:
        group = os.open("/proc/self/autogroup", os.O_WRONLY)
    except OSError:
        return
    try:
        os.write(group, str(nice).encode())
    except OSError:
        pass  # refused or rate-limited: a weight is a wish
    finally:
        os.close(group)
