"""The serving port's connections, and how long a client may keep one without asking for anything.

aiohttp closes a connection that is idle between requests. What it lets stand for as long is one that never brings a
whole head: that is closed sooner here, since it is either broken or an attempt to use up connections.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

_LOOKS: Final = 4  # within the time for a head
_SERVING: Final = math.inf


class Line(web.RequestHandler):
    """A client's connection.

    Attributes:
        waiting_since: when it was opened or the first bytes of a head came; None between requests, infinity while one
            is served.
    """

    __slots__ = ("waiting_since",)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        self.waiting_since: float | None = self._loop.time()
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Bytes of a request."""
        if self.waiting_since is None:
            self.waiting_since = self._loop.time()
        super().data_received(data)


class Listener(web.Server):
    """Makes a `Line` of each connection.

    Args:
        handle: answers a request.
        head_seconds: longest time for a head to come.
        idle_seconds: longest time between requests.
    """

    def __init__(
        self,
        handle: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        *,
        head_seconds: float,
        idle_seconds: float,
    ) -> None:
        self._handle = handle
        self._head_seconds = head_seconds
        # A client that goes away cancels its handler, which closes the connection to the worker.
        super().__init__(self._serve, handler_cancellation=True, access_log=None, keepalive_timeout=idle_seconds)

    def __call__(self) -> web.RequestHandler:
        """The protocol of a new connection."""
        return Line(self, loop=self._loop, **self._kwargs)

    async def run(self) -> None:
        """Close connections that bring no head, until cancelled."""
        while True:
            await asyncio.sleep(self._head_seconds / _LOOKS)
            oldest = self._loop.time() - self._head_seconds
            for line in self.connections:
                if isinstance(line, Line) and line.waiting_since is not None and line.waiting_since < oldest:
                    line.force_close()

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        line = request.protocol
        assert isinstance(line, Line)
        line.waiting_since = _SERVING
        try:
            return await self._handle(request)
        finally:
            line.waiting_since = None
