"""Kept connections to workers: one request at a time on each, and a request that is given up ends its connection.

A worker may close a kept connection in the moment that a request is written to it. That request is sent again only
if the worker's end of it closed in order without acknowledging a byte: then nobody there has read it. A worker that
may have read it may have been killed by it, and is reported as broken.

aiohttp's client does this too, for twice the price of a request and of a chunk (`docs/evidence/gateway.md`).
"""

from __future__ import annotations

import asyncio
import select
import struct
import termios
import time
from collections import deque
from fcntl import ioctl
from typing import Final, cast

from penstock_gateway.errors import NotTakenError
from penstock_gateway.reply import Reply

_CONNECT_SECONDS: Final = 2.0
# Below that of the servers behind us (uvicorn: 5 s), or requests meet connections that are just being closed.
_KEEP_SECONDS: Final = 4.0
_INT: Final = struct.Struct("i")


class Connection(asyncio.Protocol):
    """A connection to a worker; carries one request at a time."""

    def __init__(self, upstream: Upstream, host: str) -> None:
        self._upstream = upstream
        self._transport: asyncio.Transport | None = None
        self._reply: Reply | None = None
        self._paused = False
        self._poll = select.poll()
        self._loop = asyncio.get_running_loop()  # each look for it is a system call
        self._descriptor = -1
        self._size = 0  # of the request
        self._unread = False  # it came to a closed connection
        self.host = host
        self.idle_since = 0.0

    @property
    def usable(self) -> bool:
        """Still open."""
        return self._transport is not None and not self._transport.is_closing()

    @property
    def silent(self) -> bool:
        """Nothing has come that the event loop has not seen yet, such as the end of the connection."""
        return not self._poll.poll(0)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        self._transport = cast("asyncio.Transport", transport)
        self._descriptor = transport.get_extra_info("socket").fileno()
        self._poll.register(self._descriptor, select.POLLIN | select.POLLRDHUP)

    def data_received(self, data: bytes) -> None:
        """Bytes for the reply; unasked ones end the connection."""
        if self._reply is None:
            self.abort()
        else:
            self._reply.feed(data)

    def eof_received(self) -> None:
        """The worker has closed it, with an acknowledgement of what had come; the loop closes it here."""
        if self._transport is not None and self._reply is not None:
            self._unread = self._unacknowledged() + self._transport.get_write_buffer_size() >= self._size

    def connection_lost(self, error: Exception | None) -> None:
        """Gone."""
        self._transport = None
        if self._reply is not None:
            self._reply.lost(error, unread=self._unread)

    def ask(self, message: bytes) -> Reply:
        """Send a request."""
        assert self._transport is not None
        self._reply = Reply(self, self._loop)
        self._size = len(message)
        self._transport.write(message)
        return self._reply

    def pause(self) -> None:
        """Stop reading."""
        if not self._paused and self.usable:
            assert self._transport is not None
            self._transport.pause_reading()
            self._paused = True

    def resume(self) -> None:
        """Read again."""
        if self._paused and self.usable:
            assert self._transport is not None
            self._transport.resume_reading()
        self._paused = False

    def abort(self) -> None:
        """End it at once."""
        if self._transport is not None:
            self._transport.abort()

    def done(self, reply: Reply) -> None:
        """The request is over: back to the idle ones, or away."""
        if self._reply is not reply:
            return
        self._reply = None
        self.resume()
        if reply.reusable and self.usable:
            self._upstream.put_back(self)
        else:
            self.abort()

    def _unacknowledged(self) -> int:
        """Bytes that the kernel was given and the worker's has not acknowledged; 0 where it does not tell."""
        try:
            (count,) = _INT.unpack(ioctl(self._descriptor, termios.TIOCOUTQ, bytes(_INT.size)))
        except OSError:
            return 0
        return int(count)


class Upstream:
    """Kept connections to all workers."""

    def __init__(self) -> None:
        self._idle: dict[str, deque[Connection]] = {}
        self._sweep: asyncio.TimerHandle | None = None

    async def send(self, host: str, port: int, message: bytes) -> Reply:
        """Send a request and wait for the head of the answer; the reply must be closed.

        Raises:
            NotTakenError: no connection, or it ended before the worker can have read anything.
            BrokenError: the connection ended before the head of the answer; the worker may have begun.
        """
        connection = self._take(host)
        if connection is not None:
            try:
                return await _head(connection.ask(message))
            except NotTakenError:
                pass  # it was closed for idleness while we wrote; a new one will tell
        connection = await self._connect(host, port)
        return await _head(connection.ask(message))

    def put_back(self, connection: Connection) -> None:
        """Keep a connection for the next request."""
        connection.idle_since = time.monotonic()
        self._idle.setdefault(connection.host, deque()).append(connection)
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(_KEEP_SECONDS, self._tidy)

    def close(self) -> None:
        """Close all that are idle."""
        if self._sweep is not None:
            self._sweep.cancel()
        for connections in self._idle.values():
            for connection in connections:
                connection.abort()
        self._idle.clear()

    def _take(self, host: str) -> Connection | None:
        idle = self._idle.get(host)
        while idle:
            connection = idle.pop()  # the one used last: the others may become old
            if connection.usable and time.monotonic() - connection.idle_since < _KEEP_SECONDS and connection.silent:
                return connection
            connection.abort()
        return None

    def _tidy(self) -> None:
        self._sweep = None
        oldest = time.monotonic() - _KEEP_SECONDS
        for host, idle in list(self._idle.items()):
            while idle and (idle[0].idle_since < oldest or not idle[0].usable):
                idle.popleft().abort()
            if not idle:
                del self._idle[host]
        if self._idle:
            self._sweep = asyncio.get_running_loop().call_later(_KEEP_SECONDS / 4, self._tidy)

    async def _connect(self, host: str, port: int) -> Connection:
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                _transport, connection = await asyncio.get_running_loop().create_connection(
                    lambda: Connection(self, host), host, port
                )
        except TimeoutError as error:
            raise NotTakenError(f"no connection to {host} within {_CONNECT_SECONDS:g} s") from error
        except OSError as error:
            raise NotTakenError(str(error)) from error
        return connection


async def _head(reply: Reply) -> Reply:
    """The reply, once its head has come."""
    try:
        await reply.head()
    except BaseException:
        reply.close()
        raise
    return reply
