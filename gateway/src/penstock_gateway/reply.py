"""A worker's answer as it comes: as little HTTP as a proxy needs of it.

The head is parsed, the framing is taken off, and everything else passes as it is. Before an answer flows it is read
piece by piece; once it flows, each read of the socket goes to a sink in the same turn of the event loop, with no task
or queue between.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from penstock_gateway.errors import BrokenError, NotTakenError
from penstock_gateway.head import NO_HEAD, Head, read_head

_MOST_HEAD_BYTES: Final = 1 << 16
_MOST_LINE_BYTES: Final = 1 << 10
_MOST_BUFFERED_BYTES: Final = 1 << 18
_NO_BODY: Final = frozenset({204, 304})


class Carrier(Protocol):
    """The connection that an answer comes on."""

    def pause(self) -> None:
        """Stop reading."""

    def resume(self) -> None:
        """Read again."""

    def abort(self) -> None:
        """End it at once."""

    def done(self, reply: Reply) -> None:
        """The answer has ended or is given up."""


class Reply:
    """The answer to one request, as it comes.

    Attributes:
        status: HTTP status; 0 before the head has come.
        top: the head, once it has come.
        begun: a byte has come.
        ended: all of it has come.
    """

    __slots__ = (
        "_buffer", "_buffered", "_chunked", "_connection", "_error", "_keep", "_left", "_loop", "_pieces", "_sink",
        "_tail", "_trailers", "_until_close", "_waiter", "begun", "ended", "status", "top",
    )  # fmt: skip

    def __init__(self, connection: Carrier, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._connection = connection
        self._loop = loop
        self._buffer = b""  # of what is not complete: the head, or a chunk's size
        self._pieces: deque[bytes] = deque()
        self._buffered = 0
        self._sink: Callable[[bytes], None] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._error: BrokenError | NotTakenError | None = None
        self._chunked = False
        self._until_close = False
        self._keep = False
        self._left = 0  # bytes of the body, or of the chunk
        self._tail = 0  # bytes of the line end after a chunk
        self._trailers = False  # the last chunk has come
        self.status = 0
        self.top = NO_HEAD
        self.begun = False
        self.ended = False

    @property
    def length(self) -> int | None:
        """Bytes of the body, if the head tells."""
        if self.status in _NO_BODY:
            return 0
        return None if self._chunked else self.top.length

    @property
    def reusable(self) -> bool:
        """The connection may carry another request."""
        return self.ended and self._keep

    async def head(self) -> None:
        """Wait for status and headers.

        Raises:
            BrokenError: the connection ended before.
            NotTakenError: it ended before anybody there can have read the request.
        """
        while not self.status:
            await self._wait()

    async def piece(self) -> bytes:
        """What has come of the body by now, or the next that comes; empty at the end.

        Raises:
            BrokenError: the connection ended before the answer did.
        """
        while not self._pieces and not self.ended:
            await self._wait()
        found = b"".join(self._pieces)
        self._pieces.clear()
        self._buffered = 0
        self._connection.resume()
        return found

    async def read(self) -> bytes:
        """The whole body.

        Raises:
            BrokenError: the connection ended before the answer did.
        """
        if self.ended:
            return await self.piece()
        pieces = []
        while piece := await self.piece():
            pieces.append(piece)
        return b"".join(pieces)

    def flow(self, sink: Callable[[bytes], None]) -> None:
        """Give what has come and what will come to a sink, which must not block."""
        self._sink = sink
        if self._pieces:
            sink(b"".join(self._pieces))
            self._pieces.clear()

    async def wait(self) -> None:
        """Wait until it has ended, or until `wake`.

        Raises:
            BrokenError: the connection ended before the answer did.
        """
        if not self.ended:
            await self._wait()

    def wake(self) -> None:
        """End a `wait`."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def pause(self) -> None:
        """Read no more from the worker for now."""
        self._connection.pause()

    def resume(self) -> None:
        """Read on."""
        self._connection.resume()

    def close(self) -> None:
        """Give the connection back if the answer has ended; else end it, and the worker stops working on it."""
        self._connection.done(self)

    def feed(self, data: bytes) -> None:
        """Bytes have come; called by the connection."""
        self.begun = True
        try:
            if not self.status:
                data = self._parse_head(self._buffer + data)
                if not self.status:
                    return
            if self._chunked:
                data = self._unframe(data)
            elif not self._until_close:
                data = self._count(data)
        except ValueError as error:
            self.lost(error)
            self._connection.abort()
            return
        if data:
            self._deliver(data)
        if self.ended:
            self.wake()

    def lost(self, error: Exception | None, *, unread: bool = False) -> None:
        """The connection has ended; called by it, which knows whether the worker can have read the request."""
        if self._until_close and error is None:
            self.ended = True
        elif unread and not self.begun:
            self._error = NotTakenError("the connection was closed before the request came")
        elif not self.ended:
            self._error = BrokenError(f"the worker's connection ended: {error or 'closed'}")
        self.wake()

    def _deliver(self, data: bytes) -> None:
        if self._sink is not None:
            self._sink(data)
            return
        self._pieces.append(data)
        self._buffered += len(data)
        if self._buffered > _MOST_BUFFERED_BYTES:
            self._connection.pause()
        self.wake()

    def _parse_head(self, data: bytes) -> bytes:
        """Take the head off; returns what follows it."""
        while True:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                if len(data) > _MOST_HEAD_BYTES:
                    raise ValueError("the head of the answer is too long")
                self._buffer = data
                return b""
            head = read_head(data[:end])
            data = data[end + 4 :]
            if head.status >= 200:
                break
        self._buffer = b""
        self._set_head(head)
        self.wake()
        return data

    def _set_head(self, head: Head) -> None:
        self._keep = head.keep
        self._chunked = head.chunked
        if not self._chunked:
            bodiless = head.status in _NO_BODY
            self._until_close = head.length is None and not bodiless
            self._left = 0 if bodiless else head.length or 0
            self._keep = self._keep and not self._until_close
            self.ended = not self._left and not self._until_close
        self.top = head
        self.status = head.status

    def _count(self, data: bytes) -> bytes:
        """Take so much as belongs to a body of known length."""
        if len(data) > self._left:
            data = data[: self._left]
            self._keep = False  # more came than was announced
        self._left -= len(data)
        self.ended = not self._left
        return data

    def _unframe(self, data: bytes) -> bytes:
        """Take chunk sizes and line ends off."""
        if self._buffer:
            data, self._buffer = self._buffer + data, b""
        at, end = 0, len(data)
        pieces = []
        while at < end:
            if self._left:
                piece = data[at : at + self._left]
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
            elif self._tail:
                skipped = min(self._tail, end - at)
                at += skipped
                self._tail -= skipped
            else:
                stop = data.find(b"\r\n", at)
                if stop < 0:
                    self._buffer = data[at:]
                    if len(self._buffer) > _MOST_LINE_BYTES:
                        raise ValueError("a line between chunks is too long")
                    break
                line = data[at:stop]
                at = stop + 2
                self._line(line)
                if self.ended:
                    self._keep = self._keep and at == end
                    break
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _line(self, line: bytes) -> None:
        """A line between chunks: the size of the next, or after the last one a trailer, or the empty end."""
        if self._trailers:
            self.ended = not line
            return
        self._left = int(line.partition(b";")[0], 16)
        if self._left < 0:
            raise ValueError("a chunk of negative size")
        self._tail = 2
        self._trailers = not self._left
        if self._trailers:
            self._tail = 0

    async def _wait(self) -> None:
        if self._error is not None:
            raise self._error
        self._waiter = (self._loop or asyncio.get_running_loop()).create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
        if self._error is not None and not self._pieces:
            raise self._error
