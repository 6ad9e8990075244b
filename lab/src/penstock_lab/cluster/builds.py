"""Building a binary from its pinned source: `go build` in `lab/tools/<module>`, whose `go.sum` fixes every byte."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from penstock_lab.cluster.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Callable

    from penstock_lab.cluster.catalog import Tool

MODULES: Final = Path(__file__).resolve().parents[3] / "tools"
REPORT_SECONDS: Final = 20.0
_TAIL: Final = 8


class BuildError(ClusterError):
    """A build could not be made."""


def build(tool: Tool, target: Path, *, report: Callable[[str], None], modules: Path = MODULES) -> None:
    """Compile `tool` to `target`, reporting every now and then.

    Raises:
        BuildError: No Go, no checkout, or the compiler failed.
    """
    folder = modules / tool.module
    if not (folder / "go.mod").is_file():
        raise BuildError(f"needs a checkout of the repository: there is no {folder / 'go.mod'}")
    go = shutil.which("go")
    if go is None:
        raise BuildError("there is no `go` on PATH (Go 1.26 or newer: https://go.dev/dl/)")
    report(f"{tool.name} {tool.version}: building from source, usually {_duration(tool.build_seconds)} on two cores")
    began = time.monotonic()
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        process = subprocess.Popen(
            command(tool, target, go=go),
            cwd=folder,
            env={**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "", "GOWORK": "off"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            _follow(process, tool, report=report, began=began)
        except BaseException:  # Ctrl-C too must not leave a compiler behind
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        if process.returncode != 0:
            output.seek(0)
            tail = "\n    ".join(output.read().splitlines()[-_TAIL:])
            raise BuildError(f"`go build` failed with exit code {process.returncode}:\n    {tail}")
    report(f"{tool.name} {tool.version}: built in {_duration(time.monotonic() - began)}")


def command(tool: Tool, target: Path, *, go: str) -> list[str]:
    """The command line that compiles `tool`."""
    linker = " ".join(["-s", "-w", *(f"-X {variable}" for variable in tool.variables)])
    tags = ["-tags", tool.tags] if tool.tags else []
    return [go, "build", "-trimpath", "-buildvcs=false", *tags, "-ldflags", linker, "-o", str(target), tool.package]


def _follow(process: subprocess.Popen[bytes], tool: Tool, *, report: Callable[[str], None], began: float) -> None:
    while True:
        try:
            process.wait(REPORT_SECONDS)
        except subprocess.TimeoutExpired:
            report(f"{tool.name} {tool.version}: still building, {_duration(time.monotonic() - began)} so far")
        else:
            return


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
