"""The serving port: takes connections, closes those that bring nothing, and lets all go at the end.

A connection that brings no whole head for a while is closed, since it is either broken or an attempt to use up
connections; so is one that asks for nothing for long.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from penstock_gateway.call import Call
from penstock_gateway.line import Line

_LOOKS: Final = 4  # within the time for a head
_LOOK_SECONDS: Final = 0.05
_BACKLOG: Final = 4096


class Listener:
    """Makes a `Line` of each connection.

    Args:
        handle: answers a request.
        head_seconds: longest time for a head to come.
        idle_seconds: longest time between requests.

    Attributes:
        handle: as given.
        lines: connections that are open.
        closing: connections are closed after the answer that they carry.
    """

    def __init__(self, handle: Callable[[Call], Awaitable[None]], *, head_seconds: float, idle_seconds: float) -> None:
        self.handle = handle
        self._head_seconds = head_seconds
        self._idle_seconds = idle_seconds
        self.lines: set[Line] = set()
        self.closing = False
        self._loop = asyncio.get_running_loop()
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; return the port.

        Raises:
            OSError: it cannot.
        """
        self._server = await self._loop.create_server(lambda: Line(self, self._loop), host, port, backlog=_BACKLOG)
        return int(self._server.sockets[0].getsockname()[1])

    async def run(self) -> None:
        """Close connections that bring nothing, until cancelled."""
        while True:
            await asyncio.sleep(min(self._head_seconds, self._idle_seconds) / _LOOKS)
            now = self._loop.time()
            for line in list(self.lines):
                line.look(now, head_before=now - self._head_seconds, idle_before=now - self._idle_seconds)

    def drain(self) -> None:
        """Let every connection go after the answer that it carries, or the next."""
        self.closing = True
        for line in self.lines:
            line.last()

    async def close(self, *, seconds: float) -> None:
        """Listen no more, and end all connections, those that carry an answer after so many seconds."""
        if self._server is not None:
            self._server.close()
        for line in list(self.lines):
            line.leave()
        end = self._loop.time() + seconds
        while self.lines and self._loop.time() < end:  # noqa: ASYNC110 - at the end of the process
            await asyncio.sleep(_LOOK_SECONDS)
        for line in list(self.lines):
            line.abort()
        await asyncio.sleep(0)  # the loop tells them
