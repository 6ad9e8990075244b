"""`pods.json` in the state folder: which pods there are, their addresses, process ids and log files."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Journal:
    """Writes the file soon after `touch`, once for any number of touches."""

    def __init__(self, path: Path, describe: Callable[[], list[dict[str, Any]]]) -> None:
        self._path = path
        self._describe = describe
        self._pending: asyncio.TimerHandle | None = None

    def touch(self) -> None:
        """Something that the file tells has changed."""
        if self._pending is None:
            self._pending = asyncio.get_running_loop().call_later(0.05, self.write)

    def write(self) -> None:
        """Write the file now; readers see the old or the new one."""
        if self._pending is not None:
            self._pending.cancel()
            self._pending = None
        fresh = self._path.with_suffix(".new")
        fresh.write_text(json.dumps(self._describe(), indent=1))
        fresh.replace(self._path)
