"""Processes of a cluster: how they die with their supervisor, and how a lost one is found again.

A process belongs to a cluster because its environment says so (`PENSTOCK_CLUSTER=<id>`), which children inherit and
no crash can erase. Names, process groups and pid files all can lie after a crash; the environment cannot.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from typing import TYPE_CHECKING, Final

import psutil

from penstock_lab.cluster.settings import CLUSTER_ENV

if TYPE_CHECKING:
    from collections.abc import Callable

_PR_SET_PDEATHSIG: Final = 1
_POLL_SECONDS: Final = 0.02
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


def dies_with_parent(signal_number: signal.Signals) -> Callable[[], None]:
    """What a child runs before exec so that the kernel signals it when its parent is gone.

    The kernel watches the parent's *thread*: call `Popen` from a thread that lives as long as the child should.
    """
    parent = os.getpid()

    def before_exec() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, int(signal_number), 0, 0, 0)
        if os.getppid() != parent:  # it died between fork and prctl
            os._exit(1)

    return before_exec


def start_time(pid: int) -> float | None:
    """When a process started, in seconds since the epoch; None when it is gone (or a zombie)."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return process.create_time()
    except psutil.Error:
        return None


def find(cluster_id_prefix: str, *, variable: str = CLUSTER_ENV) -> list[psutil.Process]:
    """Every live process whose environment names a cluster with this id prefix, this process excepted."""
    found = []
    for process in psutil.process_iter():
        try:
            value = process.environ().get(variable, "")
            if value.startswith(cluster_id_prefix) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):
            continue  # somebody else's, or gone meanwhile
    return [process for process in found if process.pid != os.getpid()]


def sweep(cluster_id_prefix: str, *, variable: str = CLUSTER_ENV, deadline_seconds: float = 10.0) -> int:
    """Kill what is left of a cluster and wait until it is gone.

    Returns:
        How many processes were killed.
    """
    killed: set[int] = set()
    end = time.monotonic() + deadline_seconds
    while (left := find(cluster_id_prefix, variable=variable)) and time.monotonic() < end:
        for process in left:
            killed.add(process.pid)
            try:
                process.kill()
            except psutil.Error:
                continue
        for process in left:
            await_end(process, deadline_seconds=1.0)
    return len(killed)


def await_end(process: psutil.Process, *, deadline_seconds: float) -> bool:
    """Wait for the end of any process, child or not; whether it came.

    A zombie has ended: in a container, nobody may ever collect it.
    """
    end = time.monotonic() + deadline_seconds
    while time.monotonic() < end:
        try:
            if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.Error:
            return True
        time.sleep(_POLL_SECONDS)
    return False
