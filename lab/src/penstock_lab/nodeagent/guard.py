"""The process that cleans up after the agent, whatever way the agent ends (see `strays`)."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from penstock_lab.nodeagent import strays

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Guard:
    """A running guard. It acts when `close` is called or this process dies."""

    def __init__(self, *, marks: Sequence[str], environment: Mapping[str, str]) -> None:
        self._popen = subprocess.Popen(
            [sys.executable, "-I", "-S", strays.__file__, *marks],
            env=dict(environment),
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def close(self) -> None:
        """Let the guard do its work and wait for its end."""
        self._popen.communicate()
