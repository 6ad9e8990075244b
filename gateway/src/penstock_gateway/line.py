"""A client's connection: which request is next, and how the connection ends.

Each request is answered by a task of its own, one after the other. A client that goes away cancels the task, which
closes the connection to the worker. A request that is answered before its body has come is the last one: the rest of
the body is read and let go for a while, since the answer might be lost if the connection were closed under it.

aiohttp's server does this too, for a quarter of what a request costs altogether (`docs/evidence/gateway.md`).
"""

from __future__ import annotations

import asyncio
import math
import socket
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, Protocol, cast

from penstock_gateway.call import Call
from penstock_gateway.incoming import Requests

_SERVING: Final = math.inf
_MOST_NEXT: Final = 16  # requests of one connection that wait for the one before
_REST_SECONDS: Final = 10.0  # for the rest of a body whose request is answered already


class Port(Protocol):
    """Where connections come in.

    Attributes:
        handle: answers a request.
        lines: that are open.
        closing: connections are closed after the answer that they carry.
    """

    handle: Callable[[Call], Awaitable[None]]
    lines: set[Line]
    closing: bool


class Line(asyncio.Protocol):
    """A client's connection.

    Attributes:
        waiting_since: when it was opened or closed, or the first bytes of a head came; None between requests,
            infinity while one is served.
        idle_since: when the last answer was sent.
        choked: the client does not keep up with what is written.
    """

    __slots__ = (
        "_drained", "_loop", "_next", "_paused", "_port", "_requests", "_rest", "_serving", "_transport", "_unsent",
        "choked", "idle_since", "waiting_since",
    )  # fmt: skip

    def __init__(self, port: Port, loop: asyncio.AbstractEventLoop) -> None:
        self._port = port
        self._loop = loop
        self._requests = Requests(self, loop, self._take)
        self._transport: asyncio.Transport | None = None
        self._serving: Call | None = None
        self._next: deque[Call] = deque()
        self._rest: asyncio.TimerHandle | None = None
        self._drained: asyncio.Future[None] | None = None
        self._paused = False
        self._unsent = 0  # bytes that waited for the client when it was last due
        self.choked = False
        self.waiting_since: float | None = loop.time()
        self.idle_since = 0.0

    @property
    def open(self) -> bool:
        """Something can still be sent."""
        return self._transport is not None and not self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        self._transport = cast("asyncio.Transport", transport)
        found = transport.get_extra_info("socket")
        found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # a client's host may vanish
        self._port.lines.add(self)

    def connection_lost(self, _error: Exception | None) -> None:
        """The client is gone."""
        self._transport = None
        self._port.lines.discard(self)
        self._next.clear()
        self._requests.forget()
        if self._rest is not None:
            self._rest.cancel()
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        call, self._serving = self._serving, None
        if call is not None and call.task is not None:
            call.task.cancel()
            call.task = None

    def eof_received(self) -> None:
        """The client sends nothing more; that is how most of them leave."""
        self.close()

    def data_received(self, data: bytes) -> None:
        """Bytes of requests."""
        if self.waiting_since is None:
            self.waiting_since = self._loop.time()
        self._requests.feed(data)
        if self._rest is not None and self._serving is not None and self._serving.ended:
            self.close()

    def pause_writing(self) -> None:
        """The client does not keep up."""
        self.choked = True

    def resume_writing(self) -> None:
        """It does again."""
        self.choked = False
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def look(self, now: float, *, head_before: float, idle_before: float) -> None:
        """Close it if it was opened, began a head or was to close before a time, or is idle since before one."""
        if self.waiting_since is None:
            if self.idle_since < idle_before:
                self.close()
            return
        if self.waiting_since >= head_before:
            return
        unsent = 0 if self._transport is None else self._transport.get_write_buffer_size()
        if unsent and (not self._unsent or unsent < self._unsent):
            self._unsent, self.waiting_since = unsent, now  # it is being read, however slowly
        elif self.open:
            self.close()
        else:
            self.abort()

    def last(self) -> None:
        """The answers that have not begun are the last of this connection."""
        for call in (self._requests.coming, self._serving, *self._next):
            if call is not None and not call.begun:
                call.keep = False

    def leave(self) -> None:
        """Close it unless it carries an answer."""
        if self._serving is None:
            self.close()

    # What a call does

    def write(self, data: bytes) -> None:
        """Send bytes, or keep them until they can be sent."""
        if self._transport is not None:
            self._transport.write(data)

    def pause(self) -> None:
        """Read no more for now."""
        if not self._paused and self._transport is not None and self.open:
            self._transport.pause_reading()
            self._paused = True

    def resume(self) -> None:
        """Read on."""
        if self._paused and self._transport is not None and self.open:
            self._transport.resume_reading()
        self._paused = False

    async def drained(self) -> None:
        """Wait until it is choked no more, or gone."""
        if self.choked and self._transport is not None:
            self._drained = self._loop.create_future()
            try:
                await self._drained
            finally:
                self._drained = None

    def close(self) -> None:
        """End it after what is buffered, for which there is as long as for a head."""
        self._requests.deaf = True
        self.waiting_since = self._loop.time()
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """End it at once."""
        if self._transport is not None:
            self._transport.abort()

    # One request after the other

    def _take(self, call: Call) -> None:
        call.keep = call.keep and not self._port.closing
        if self._serving is None:
            self._serve(call)
            return
        self._next.append(call)
        if len(self._next) >= _MOST_NEXT:
            self.pause()

    def _serve(self, call: Call) -> None:
        self.waiting_since = _SERVING
        self._serving = call
        call.task = self._loop.create_task(self._answer(call))

    async def _answer(self, call: Call) -> None:
        try:
            await self._port.handle(call)
        finally:
            call.task = None
        if self.choked:
            self.waiting_since = self._loop.time()
            await self.drained()
        self._over(call)

    def _over(self, call: Call) -> None:
        """A request is answered, or will not be."""
        if not call.answered:
            self.close()
        if not self.open:
            self.waiting_since = self._loop.time()  # to be gone
            return
        if not call.ended:
            # Closed now, the answer might be lost with the bytes that nobody read.
            call.spoil()
            self._rest = self._loop.call_later(_REST_SECONDS, self.close)
            if self._requests.deaf and self._transport is not None:
                self._transport.write_eof()
            return
        self._serving = None
        self.idle_since = self._loop.time()
        self.waiting_since = None if self._requests.coming is None else self.idle_since
        if not call.keep:
            self.close()
            return
        if self._next:
            self._serve(self._next.popleft())
        self.resume()  # nobody may have read the last body
