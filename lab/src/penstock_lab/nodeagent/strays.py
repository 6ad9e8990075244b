"""Finding and killing processes by marks in their environment, and the guard that does so when the agent dies.

A mark such as `PENSTOCK_POD_UID=…` is inherited by everything a container starts and, unlike a process group, cannot be
left by `setsid`. Started as a script (`python -I -S strays.py MARK…`) this file is the guard: it waits for the end
of its standard input, which the agent holds open, and then kills every marked process. It uses the standard library
only and imports nothing of the package, so that it starts in milliseconds and costs little memory.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path

_PAUSE_SECONDS = 0.02


def find(marks: Iterable[str]) -> list[int]:
    """Return the ids of live processes that bear every mark.

    A mark is `NAME=value`, or `NAME=` for any value. Processes of other users are invisible and left alone.
    """
    wanted = [mark.encode() for mark in marks]
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return [pid for pid in pids if pid != os.getpid() and _bears(pid, wanted)]


def kill(marks: Iterable[str]) -> int:
    """Send SIGKILL once to every process that bears all marks; return how many there were."""
    pids = find(marks)
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    return len(pids)


async def end(marks: Iterable[str]) -> None:
    """Kill until no process bears all marks: one that forks while it is looked for is found the next time."""
    from asyncio import sleep  # noqa: PLC0415 - the guard must not load it

    while kill(marks):  # noqa: ASYNC110 - the kernel has no event for this
        await sleep(_PAUSE_SECONDS)


def _bears(pid: int, marks: list[bytes]) -> bool:
    try:
        entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
    return all(
        any(entry == mark or (mark.endswith(b"=") and entry.startswith(mark)) for entry in entries) for mark in marks
    )


def _guard(marks: list[str]) -> None:
    """Wait for the end of standard input, then kill until nothing marked is left."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while os.read(0, 4096):
        pass
    while kill(marks):
        time.sleep(_PAUSE_SECONDS)


if __name__ == "__main__":
    _guard(sys.argv[1:])
