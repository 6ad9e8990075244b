"""The operator as a process of its own against a local cluster, as it runs on a developer's machine."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.error import URLError
from urllib.request import urlopen

from penstock_lab.cluster.local import LocalCluster

_START_SECONDS = 30.0
_STOP_SECONDS = 10.0
_POLL_SECONDS = 0.1


class OperatorError(Exception):
    """The operator did not start; the message names its log."""


class OperatorProcess:
    """One operator process; a context manager that starts and stops it.

    `environment` holds further variables, which go before its own: another Prometheus, a single namespace.

    Attributes:
        log: file that its output is appended to.
        url: base URL of its health and metrics endpoints.
    """

    def __init__(
        self,
        cluster: LocalCluster,
        *,
        log: Path,
        tick_seconds: float = 2.0,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._cluster = cluster
        self._environment = dict(environment or {})
        self._tick_seconds = tick_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self.log = log
        self.url = ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def returncode(self) -> int | None:
        """Exit code, or None while it runs."""
        return None if self._process is None else self._process.poll()

    def start(self) -> None:
        """Start it and wait until it is ready.

        Raises:
            OperatorError: it ended or was not ready in time.
        """
        port = _free_port()
        self.url = f"http://127.0.0.1:{port}"
        env = (
            os.environ
            | {
                "KUBECONFIG": str(self._cluster.kubeconfig),
                "PENSTOCK_PROMETHEUS_URL": self._cluster.prometheus_url,
                "PENSTOCK_TICK_SECONDS": str(self._tick_seconds),
                "PENSTOCK_BIND_ADDRESS": "127.0.0.1",
                "PENSTOCK_LISTEN_PORT": str(port),
            }
            | self._environment
        )
        with self.log.open("ab") as sink:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "penstock_operator"], env=env, stdout=sink, stderr=sink
            )
        deadline = time.monotonic() + _START_SECONDS
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise OperatorError(f"the operator did not start; see {self.log}")
            time.sleep(_POLL_SECONDS)

    def stop(self, *, kill: bool = False) -> None:
        """Stop it with SIGTERM, or with SIGKILL when `kill`."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def metrics(self) -> str:
        """What `/metrics` serves now."""
        with urlopen(f"{self.url}/metrics", timeout=5) as answer:  # noqa: S310 - a loopback URL made here
            return str(answer.read().decode())

    def _ready(self) -> bool:
        try:
            with urlopen(f"{self.url}/readyz", timeout=1) as answer:  # noqa: S310 - as above
                return bool(answer.status == 200)
        except (URLError, OSError):
            return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
