"""The termination message of a container: what it wrote for the purpose, or the end of its log.

Source of the limits: https://kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure/
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pathlib import Path

_WRITTEN_BYTES: Final = 4096
_LOG_BYTES: Final = 2048
_LOG_LINES: Final = 80


def termination_message(
    container: dict[str, Any], *, exit_code: int, written: Path, log_file: Path, log_offset: int
) -> str:
    """Return the message for a run that has ended, empty if there is none.

    Args:
        container: The container's spec; its `terminationMessagePolicy` decides about the log.
        exit_code: How the run ended.
        written: The container's termination message file.
        log_file: The container's log over all runs.
        log_offset: Where in it this run began, in bytes.
    """
    try:
        message = written.read_bytes()[:_WRITTEN_BYTES].decode(errors="replace")
    except OSError:
        message = ""
    if message or exit_code == 0 or container.get("terminationMessagePolicy") != "FallbackToLogsOnError":
        return message
    return _tail(log_file, log_offset)


def _tail(log_file: Path, offset: int) -> str:
    with log_file.open("rb") as log:
        size = log.seek(0, 2)
        log.seek(max(offset, size - _LOG_BYTES))
        return "\n".join(log.read().decode(errors="replace").splitlines()[-_LOG_LINES:])
