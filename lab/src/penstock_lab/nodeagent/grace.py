"""A deadline for an orderly end that may begin at any time and, once begun, only moves closer."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable


class Grace:
    """Whether something has been asked to end, and until when it may take its time (event loop clock)."""

    def __init__(self) -> None:
        self._deadline: float | None = None
        self._moved = asyncio.Event()
        self.begun = asyncio.Event()

    def begin(self, seconds: float) -> None:
        """Ask for the end within `seconds` from now; a later call can only shorten the time."""
        deadline = asyncio.get_running_loop().time() + max(seconds, 0.0)
        if self._deadline is None or deadline < self._deadline:
            self._deadline = deadline
            self._moved.set()
        self.begun.set()

    @property
    def left(self) -> float:
        """Seconds left; infinite before the beginning."""
        if self._deadline is None:
            return float("inf")
        return max(0.0, self._deadline - asyncio.get_running_loop().time())

    async def over(self) -> None:
        """Wait until the deadline has passed, wherever it moves meanwhile."""
        await self.begun.wait()
        while self.left > 0:
            self._moved.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._moved.wait(), self.left)


async def first(*awaitables: Awaitable[object]) -> None:
    """Wait until one of several is done, then cancel the others; an error of the first one is raised."""
    tasks = [asyncio.ensure_future(awaitable) for awaitable in awaitables]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
