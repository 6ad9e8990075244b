"""What containers wrote: the node agent's files `<namespace>_<pod>_<container>.log`.

Kubernetes names hold no underscore, so a file name has one reading only.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

POLL_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class PodLog:
    """The log file of one container."""

    namespace: str
    pod: str
    container: str
    path: Path


def find_logs(
    folder: Path, *, pod: str | None = None, namespace: str | None = None, container: str | None = None
) -> list[PodLog]:
    """The log files in `folder`, of one pod, namespace or container only if they are given."""
    found = []
    for path in sorted(folder.glob("*.log")):
        match path.stem.split("_"):
            case [its_namespace, its_pod, its_container]:
                found.append(PodLog(its_namespace, its_pod, its_container, path))
    return [
        log
        for log in found
        if pod in (None, log.pod) and namespace in (None, log.namespace) and container in (None, log.container)
    ]


def follow(logs: list[PodLog], *, following: bool) -> Iterator[str]:
    """The lines of some logs, each marked with its container when there are several; for ever when `following`."""
    marked = len(logs) > 1
    offsets = dict.fromkeys((log.path for log in logs), 0)
    while True:
        quiet = True
        for log in logs:
            lines, offsets[log.path] = _read_from(log.path, offsets[log.path], whole_lines=following)
            quiet &= not lines
            for line in lines:
                yield f"[{log.container}] {line}" if marked else line
        if not following:
            return
        if quiet:
            time.sleep(POLL_SECONDS)


def _read_from(path: Path, offset: int, *, whole_lines: bool) -> tuple[list[str], int]:
    """The lines from an offset on, and the offset after them; an unfinished last line may be left for later."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read()
    except FileNotFoundError:
        return [], offset
    if whole_lines:
        data = data[: data.rfind(b"\n") + 1]
    return data.decode(errors="replace").splitlines(), offset + len(data)
