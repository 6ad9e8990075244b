"""Bringing a supervisor to life, joining one that lives, and making sure that one is gone."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from typing import TYPE_CHECKING, Any, Final

import psutil

from penstock_lab.cluster import processes
from penstock_lab.cluster.control import DETACH, ask
from penstock_lab.cluster.errors import ClusterError, NotRunningError, StartError
from penstock_lab.cluster.files import last_lines
from penstock_lab.cluster.folder import FolderLock, empty, make_root
from penstock_lab.cluster.settings import SUPERVISOR_ENV
from penstock_lab.cluster.spec import id_prefix

if TYPE_CHECKING:
    from collections.abc import Callable

    from penstock_lab.cluster.spec import ClusterSpec, Layout

DOWN_SECONDS: Final = 60.0
_ACKNOWLEDGE_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.05


class Leash:
    """A supervisor that this process started: it lives until let go, released to live on, or this process ends."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def detach(self) -> None:
        """Let the cluster outlive this process."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            self._process.stdin.write(f"{DETACH}\n".encode())
            self._process.stdin.close()

    def wait(self) -> None:
        """Wait for the end of the supervisor."""
        self._process.wait()

    def let_go(self) -> None:
        """Have the supervisor take everything down, and wait for its end."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        try:
            self._process.wait(DOWN_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def launch(spec: ClusterSpec, layout: Layout, *, report: Callable[[str], None]) -> Leash | None:
    """Start a supervisor and wait until its cluster is ready.

    Returns:
        None when another supervisor has the state folder.

    Raises:
        StartError: The cluster did not get ready; nothing is left of it.
    """
    make_root(layout)
    log = layout.root / "supervisor.log"
    with log.open("ab") as errors:
        process = subprocess.Popen(
            [spec.python, "-P", "-m", "penstock_lab.cluster.supervisor"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, SUPERVISOR_ENV: spec.cluster_id},
            start_new_session=True,
        )
    leash = Leash(process)
    try:
        outcome = _follow(process, spec, report=report)
    except BaseException:  # Ctrl-C above all
        leash.let_go()
        raise
    if outcome == "ready":
        return leash
    tail = last_lines(log, count=5)
    leash.let_go()
    if outcome == "busy":
        return None
    raise StartError(outcome or "the supervisor ended without a word:\n  " + "\n  ".join(tail))


def _follow(process: subprocess.Popen[bytes], spec: ClusterSpec, *, report: Callable[[str], None]) -> str:
    """Pass the supervisor's progress on until it is `ready` or `busy`; else return its error."""
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(f"{spec.to_json()}\n".encode())
        process.stdin.flush()
    for line in process.stdout:
        match json.loads(line):
            case {"event": "ready" | "busy" as outcome}:
                return str(outcome)
            case {"event": "failed", "error": error}:
                return str(error)
            case {"event": "started", "component": name, "seconds": seconds}:
                report(f"{name} ready ({seconds:.1f} s)")
            case {"event": "cleaned", "processes": count}:
                noun = "process" if count == 1 else "processes"
                report(f"killed {count} {noun} that an earlier cluster {spec.name} had left")
    return ""


def attach(layout: Layout, *, deadline: float) -> dict[str, Any] | None:
    """Describe the cluster that runs in a state folder, waiting until it is ready; None when none does.

    Args:
        layout: Of the state folder.
        deadline: On `time.monotonic`'s clock.
    """
    while time.monotonic() < deadline:
        try:
            description = ask(layout, {"op": "describe"})
        except NotRunningError:
            return None
        if description["ready"]:
            return description
        time.sleep(_POLL_SECONDS)
    raise StartError(f"the cluster in {layout.root} is being started by another process, but does not get ready")


def take_down(layout: Layout, *, keep_logs: bool) -> bool:
    """End whatever runs or ever ran in a state folder, in order if its supervisor lives, and remove its data.

    Returns:
        Whether there was anything.
    """
    supervisor = _recorded_supervisor(layout)
    asked = False
    with contextlib.suppress(ClusterError):
        ask(layout, {"op": "shutdown"}, timeout_seconds=_ACKNOWLEDGE_SECONDS)
        asked = True
    if supervisor is not None and not (asked and processes.await_end(supervisor, deadline_seconds=DOWN_SECONDS)):
        with contextlib.suppress(psutil.Error):
            supervisor.kill()
    prefix = id_prefix(layout.root)
    swept = processes.sweep(prefix, variable=SUPERVISOR_ENV) + processes.sweep(prefix)
    left = layout.state.exists()
    if layout.root.exists() and (lock := FolderLock.acquire(layout)):
        empty(layout, keep={layout.logs.name} if keep_logs else set())
        lock.release(remove=True)
    return asked or supervisor is not None or swept > 0 or left


def _recorded_supervisor(layout: Layout) -> psutil.Process | None:
    """The supervisor that the state file speaks of, if that process still lives."""
    try:
        record = json.loads(layout.state.read_text())["supervisor"]
        if processes.start_time(record["pid"]) == record["started_at"]:
            return psutil.Process(record["pid"])
    except (OSError, ValueError, KeyError, psutil.Error):
        pass
    return None
