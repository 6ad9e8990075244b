"""A client's connection: which of its bytes are a request, and which request is next.

llhttp (by httptools) tells where requests begin and end; each becomes a `Call` that a task of its own answers, one
after the other. A client that goes away cancels the task, which closes the connection to the worker. A request that
is answered before its body has come is the last one: the rest of the body is read and let go for a while, since the
answer might be lost if the connection were closed under it.

aiohttp's server does this too, for a quarter of what a request costs altogether (`docs/evidence/gateway.md`).
"""

from __future__ import annotations

import asyncio
import math
import socket
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, Protocol, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from penstock_gateway import errors
from penstock_gateway.call import Call
from penstock_gateway.errors import Refusal

_SERVING: Final = math.inf
_MOST_HEAD_BYTES: Final = 1 << 16
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
        "_call", "_deaf", "_drained", "_head_bytes", "_loop", "_next", "_parser", "_paused", "_port", "_rest",
        "_serving", "_transport", "choked", "idle_since", "waiting_since",
    )  # fmt: skip

    def __init__(self, port: Port, loop: asyncio.AbstractEventLoop) -> None:
        self._port = port
        self._loop = loop
        self._parser = HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._call: Call | None = None  # that is coming in
        self._head_bytes = 0
        self._serving: Call | None = None
        self._next: deque[Call] = deque()
        self._rest: asyncio.TimerHandle | None = None
        self._drained: asyncio.Future[None] | None = None
        self._paused = False
        self._deaf = False  # what still comes is not looked at
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
        self._deaf = True
        del self._parser  # which knows this line: neither would go before the garbage collector comes
        if self._rest is not None:
            self._rest.cancel()
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        if self._serving is not None and self._serving.task is not None:
            self._serving.task.cancel()

    def data_received(self, data: bytes) -> None:
        """Bytes of requests."""
        if self._deaf:
            return
        if self.waiting_since is None:
            self.waiting_since = self._loop.time()
        while data:
            data = self._parse(data)

    def pause_writing(self) -> None:
        """The client does not keep up."""
        self.choked = True

    def resume_writing(self) -> None:
        """It does again."""
        self.choked = False
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def look(self, *, head_before: float, idle_before: float) -> None:
        """Close it if it was opened or began a head before a time, or is idle since before one."""
        if self.waiting_since is None:
            if self.idle_since < idle_before:
                self.close()
        elif self.waiting_since < head_before:
            if self.open:
                self.close()
            else:
                self.abort()  # what is buffered is taken by nobody

    def last(self) -> None:
        """The answers that have not begun are the last of this connection."""
        for call in (self._call, self._serving, *self._next):
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
        self._deaf = True
        self.waiting_since = self._loop.time()
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """End it at once."""
        if self._transport is not None:
            self._transport.abort()

    # What the parser tells

    def on_message_begin(self) -> None:
        """A request begins."""
        self._call = Call(self, self._loop)
        self._head_bytes = 0

    def on_url(self, url: bytes) -> None:
        """Its target, or more of it."""
        assert self._call is not None
        self._call.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer, which nobody needs."""
        assert self._call is not None
        if not self._call.method:
            self._call.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head has come."""
        call = self._call
        assert call is not None
        call.method = self._parser.get_method().decode()
        call.chunks = self._parser.get_http_version() == "1.1"
        call.keep = self._parser.should_keep_alive() and not self._port.closing
        self._take(call)

    def on_body(self, body: bytes) -> None:
        """Some of its body."""
        assert self._call is not None
        self._call.feed(body)

    def on_message_complete(self) -> None:
        """All of it has come."""
        call, self._call = self._call, None
        assert call is not None
        call.end()
        if self._rest is not None:
            self.close()

    def _parse(self, data: bytes) -> bytes:
        """Have it parsed; what is left of it."""
        if self._call is not None and not self._call.method:
            self._head_bytes += len(data)
            if self._head_bytes > _MOST_HEAD_BYTES:
                self._misunderstood(errors.head_too_large(_MOST_HEAD_BYTES))
                return b""
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade as upgrade:  # to a protocol that is not spoken here: the request counts as it is
            self._parser = HttpRequestParser(self)
            return data[upgrade.args[0] :]
        except HttpParserError as error:
            self._misunderstood(errors.not_http(str(error)))
        return b""

    def _misunderstood(self, error: Refusal) -> None:
        """Nothing more can be understood on this connection; who asked is told."""
        self._deaf = True
        call = self._call
        if call is not None and call.method:
            call.fail(error)
            return
        call = Call(self, self._loop)
        call.error = error
        self._take(call)

    # One request after the other

    def _take(self, call: Call) -> None:
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
            return
        if not call.ended:
            # Closed now, the answer might be lost with the bytes that nobody read.
            call.spoil()
            self._rest = self._loop.call_later(_REST_SECONDS, self.close)
            if self._deaf and self._transport is not None:
                self._transport.write_eof()
            return
        self._serving = None
        self.idle_since = self._loop.time()
        self.waiting_since = None if self._call is None else self.idle_since
        if not call.keep:
            self.close()
        elif self._next:
            self._serve(self._next.popleft())
            self.resume()
