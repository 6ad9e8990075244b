"""A real worker process, and its metrics as numbers."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import requests
from prometheus_client.parser import text_string_to_metric_families

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def until(ask: Callable[[], object], what: str, *, seconds: float = 120.0) -> None:
    """Ask until the answer is true; fail with `what` after the deadline."""
    end = time.monotonic() + seconds
    while not ask():
        assert time.monotonic() < end, f"not within {seconds:g} s: {what}"
        time.sleep(0.01)


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on, as far as the kernel knows."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def parse_samples(text: str) -> Samples:
    """Every sample of an exposition by name and sorted labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


class WorkerProcess:
    """`python -m penstock_worker serve` on free loopback ports, as a context manager that leaves nothing behind."""

    def __init__(self, *arguments: str, folder: Path) -> None:
        port, admin_port = free_ports(2)
        self.url = f"http://127.0.0.1:{port}"
        self.admin_url = f"http://127.0.0.1:{admin_port}"
        self.admin_port = admin_port
        self._log = folder / f"worker-{port}.log"
        command = [sys.executable, "-m", "penstock_worker", "serve", "--host=127.0.0.1"]
        command += [f"--port={port}", f"--admin-port={admin_port}", *arguments]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    @property
    def log(self) -> str:
        """What it has written so far, stdout and stderr together."""
        return self._log.read_text()

    def status(self, path: str) -> int:
        """HTTP status of a GET; 0 while nobody listens."""
        try:
            return requests.get(self.url + path, timeout=30).status_code
        except requests.ConnectionError:
            assert self.process.poll() is None, self.log
            return 0

    def wait_listening(self) -> None:
        """Wait for the first answer, which comes before the model is loaded."""
        until(lambda: self.status("/health") == 200, "the worker listens")

    def wait_ready(self) -> None:
        """Wait until the model is loaded."""
        until(lambda: self.status("/ready") == 200, "the worker is ready", seconds=180)

    def complete(self, **body: Any) -> requests.Response:
        """`POST /v1/completions`."""
        return requests.post(f"{self.url}/v1/completions", json=body, timeout=120)

    def scrape(self) -> Samples:
        """All samples of `/metrics`."""
        return parse_samples(requests.get(f"{self.url}/metrics", timeout=30).text)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.process.send_signal(signal.SIGTERM)

    def exit_status(self) -> int:
        """Wait for the end of the process."""
        return self.process.wait(timeout=120)
