"""Starts our programs in a tenth of a second: forks of a process that has imported what they import.

Run as a script it is that process: it reads one JSON request a line and answers with one line. A child becomes what
`python -m MODULE ARGUMENTS` would have made. Children die with it, and it dies with whoever holds its standard input.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

_PR_SET_PDEATHSIG = 1
MODULES = (
    "penstock_worker.cli",
    "penstock_worker.serve",
    "penstock_worker.loader",
    "penstock_worker.text",
    "penstock_gateway.app",
    "uvloop",
)


class Child:
    """A process of the nursery."""

    def __init__(self, nursery: Nursery, pid: int, log: Path) -> None:
        self._nursery = nursery
        self._status: int | None = None
        self._log = log
        self.pid = pid

    @property
    def log(self) -> str:
        """What it wrote so far."""
        return self._log.read_text()

    def status(self) -> int | None:
        """Exit status; minus the signal that ended it; None while it runs."""
        if self._status is None:
            self._status = self._nursery.ask({"poll": self.pid})
        return self._status

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        if self.status() is None:
            os.kill(self.pid, number)

    def wait(self, seconds: float = 120.0) -> int:
        """Exit status, once it has ended."""
        deadline = time.monotonic() + seconds
        while (status := self.status()) is None:
            assert time.monotonic() < deadline, f"it runs on: {self.log}"
            time.sleep(0.01)
        return status


class Nursery:
    """The process that forks, as a context manager."""

    def __init__(self) -> None:
        command = [sys.executable, __file__]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()

    def start(self, module: str, *arguments: str, log: Path, env: Mapping[str, str] | None = None) -> Child:
        """Run `python -m module arguments`."""
        request = {"module": module, "arguments": arguments, "log": str(log), "env": dict(env or {})}
        return Child(self, self.ask(request), log)

    def ask(self, request: dict[str, Any]) -> Any:
        """One request and its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


def _serve() -> dict[str, Any] | None:
    """Answer requests; return one in a child, None at the end."""
    ended: dict[int, int] = {}
    for line in iter(sys.stdin.buffer.readline, b""):
        request = json.loads(line)
        if "poll" in request:
            pid = request["poll"]
            if pid not in ended:
                found, status = os.waitpid(pid, os.WNOHANG)
                if found:
                    ended[pid] = os.waitstatus_to_exitcode(status)
            answer = ended.get(pid)
        else:
            answer = os.fork()
            if not answer:
                return request
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    return None


def _become(request: dict[str, Any]) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.environ.update(request["env"])
    module, arguments = request["module"], request["arguments"]
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _main(modules: Sequence[str]) -> None:
    for module in modules:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()
    request = _serve()
    if request is not None:
        _become(request)


if __name__ == "__main__":
    _main(MODULES)
