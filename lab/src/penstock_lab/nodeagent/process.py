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
    """A started process, the leader of its session and process group.

    Args:
        pid: Its id.
        end: Will hold its exit status, negative for a signal. Whoever resolves it has killed what was left of the
            process group before the id was given free.
    """

    def __init__(self, pid: int, end: asyncio.Future[int]) -> None:
        self.pid = pid
        self._end = end

    @property
    def returncode(self) -> int | None:
        """The exit status, negative for a signal, None while it runs."""
        return self._end.result() if self._end.done() else None

    async def wait(self) -> int:
        """Wait for the end and return the exit status, negative for a signal; any number of tasks may wait."""
        return await asyncio.shield(self._end)

    def signal_group(self, number: signal.Signals) -> None:
        """Send a signal to the whole process group; nothing happens when it is gone."""
        if not self._end.done():
            _signal_group(self.pid, number)


def execute(argv: Sequence[str], *, env: Mapping[str, str], folder: Path, output: int, nice: int = 0) -> Process:
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
            preexec_fn=child_setup(nice),  # noqa: PLW1509 - the agent forks from its only thread
        )
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise StartError(f'exec: "{argv[0]}": {getattr(error, "strerror", None) or error}') from error
    return Process(popen.pid, watch(popen))


def watch(popen: subprocess.Popen[bytes]) -> asyncio.Future[int]:
    """Return a future for the exit status of a process that leads its group; the group ends with it."""
    loop = asyncio.get_running_loop()
    end: asyncio.Future[int] = loop.create_future()
    descriptor = os.pidfd_open(popen.pid)

    def on_exit() -> None:
        loop.remove_reader(descriptor)
        os.close(descriptor)
        # The group outlives its leader: take the rest along before the id can be used again.
        _signal_group(popen.pid, signal.SIGKILL)
        end.set_result(popen.wait())

    loop.add_reader(descriptor, on_exit)
    return end


def _signal_group(pid: int, number: signal.Signals) -> None:
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        return


def child_setup(nice: int = 0) -> Callable[[], None]:
    """Return what a child runs before exec: die with this process, and weigh less than others if `nice`."""
    parent = os.getpid()

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
