"""Processes that are measured: started so that none outlives the benchmark, CPU and memory sampled from /proc.

CPU is kept as a timeline, so that the cost of a span can be asked for after its ends are known from the audit log.
"""

from __future__ import annotations

import asyncio
import bisect
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import psutil

from penstock_lab.cluster.processes import dies_with_parent

_PERIOD_SECONDS = 0.25
_STOP_SECONDS = 15.0


def now() -> float:
    """Unix seconds, the clock of the audit log."""
    return datetime.now(UTC).timestamp()


class BenchmarkError(Exception):
    """The run cannot go on; the message says why."""


class Child:
    """A Python module in a process of its own; a context manager that ends it."""

    def __init__(self, module: str, *, env: Mapping[str, str], log: Path) -> None:
        self.log = log
        self.started_at = now()
        with log.open("ab") as sink:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module],
                env=os.environ | dict(env),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                start_new_session=True,  # Ctrl-C is for the benchmark, which then ends its children in order
                preexec_fn=dies_with_parent(signal.SIGKILL),  # noqa: PLW1509 - no thread runs before the fork
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def check(self) -> None:
        """Raise when it has ended.

        Raises:
            BenchmarkError: it has; the message holds the end of its log.
        """
        if self._process.poll() is not None:
            tail = "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-8:])
            ended = f"a process ended with code {self._process.returncode}"
            raise BenchmarkError(f"{ended}; the end of {self.log}:\n{tail}")

    def stop(self) -> None:
        """SIGTERM, SIGKILL past a deadline; returns once it is gone."""
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Timeline:
    """CPU seconds over time of named processes, and of the whole machine."""

    def __init__(self) -> None:
        self._processes: dict[str, psutil.Process] = {}
        self._samples: dict[str, list[tuple[float, float]]] = {}

    def add(self, name: str, pid: int) -> None:
        """Measure a process under a name from now on; a name may be given to another process later."""
        self._processes[name] = psutil.Process(pid)
        self._samples[name] = []
        self.sample()

    def sample(self) -> None:
        """Take one sample of everything."""
        at = now()
        for name, process in self._processes.items():
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                self._samples[name].append((at, times.user + times.system))
        machine = psutil.cpu_times()
        # Guest time is part of user time; iowait and steal are not work done here.
        busy = machine.user + machine.nice + machine.system + machine.irq + machine.softirq
        self._samples.setdefault("machine", []).append((at, busy))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Sample on a period while the block runs."""
        task = asyncio.create_task(self._forever())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def seconds(self, name: str, start: float, end: float) -> float:
        """CPU seconds that a process used between two times."""
        return self._at(name, end) - self._at(name, start)

    def usage(self, start: float, end: float) -> dict[str, float]:
        """CPU seconds of every name between two times; `others` is the machine less what is measured here."""
        found = {name: self.seconds(name, start, end) for name in self._samples if self._samples[name]}
        found["others"] = max(0.0, found["machine"] - sum(value for name, value in found.items() if name != "machine"))
        return found

    def memory(self, name: str) -> dict[str, float]:
        """Resident MiB now and at most so far."""
        status = Path(f"/proc/{self._processes[name].pid}/status").read_text(encoding="ascii")
        fields = dict(line.split(":", 1) for line in status.splitlines())
        return {
            "rss_mib": int(fields["VmRSS"].split()[0]) / 1024,
            "peak_rss_mib": int(fields["VmHWM"].split()[0]) / 1024,
        }

    async def _forever(self) -> None:
        while True:
            await asyncio.sleep(_PERIOD_SECONDS)
            self.sample()

    def _at(self, name: str, at: float) -> float:
        samples = self._samples[name]
        index = bisect.bisect_left(samples, (at, 0.0))
        if index == 0:
            return samples[0][1]
        if index == len(samples):
            return samples[-1][1]
        (before, low), (after, high) = samples[index - 1], samples[index]
        return low + (high - low) * (at - before) / (after - before)


def machine() -> dict[str, Any]:
    """What it ran on."""
    return {
        "cores": psutil.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "load_average": os.getloadavg(),
    }
