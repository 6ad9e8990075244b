"""One request as it comes from a client, and the answer that it gets: the HTTP that the serving port needs.

The body is handed on piece by piece, or at once if it came with the head. An answer is either whole, written in one
go, or a stream of which every piece is written when it is there. Header lines of an answer are bytes and go out as
they are.
"""

from __future__ import annotations

import asyncio
import time
from email.utils import formatdate
from functools import lru_cache
from typing import Final, Protocol

from penstock_contract.names import HEADER_REQUEST_ID
from penstock_gateway.errors import ClientGoneError, Refusal

_MOST_BUFFERED_BYTES: Final = 1 << 17
_BODILESS: Final = (b"204", b"304")


class Client(Protocol):
    """The connection that a request comes on."""

    @property
    def open(self) -> bool:
        """Something can still be sent."""

    @property
    def choked(self) -> bool:
        """The client does not keep up with what is written."""

    def write(self, data: bytes) -> None:
        """Send bytes, or keep them until they can be sent."""

    def pause(self) -> None:
        """Read no more from the client for now."""

    def resume(self) -> None:
        """Read on."""

    async def drained(self) -> None:
        """Wait until it is choked no more."""

    def close(self) -> None:
        """End it after what is buffered."""

    def abort(self) -> None:
        """End it at once."""


class Call:
    """A request and its answer.

    Attributes:
        method: in capitals.
        target: path and query as they came.
        headers: names and values as they came.
        keep: the connection can carry another request after the answer.
        chunks: the client understands chunks, which came with HTTP/1.1.
        error: what is wrong with the request, if something is.
        task: that serves it.
        ended: the body has come in full.
        begun: something of the answer was sent.
        answered: all of it was.
    """

    __slots__ = (
        "_client", "_framed", "_loop", "_pieces", "_size", "_spoiled", "_waiter", "answered", "begun", "chunks",
        "ended", "error", "headers", "keep", "method", "target", "task",
    )  # fmt: skip

    def __init__(self, client: Client, loop: asyncio.AbstractEventLoop) -> None:
        self._client = client
        self._loop = loop
        self._pieces: list[bytes] = []
        self._size = 0
        self._spoiled = False  # what comes of the body is wanted by nobody
        self._waiter: asyncio.Future[None] | None = None
        self._framed = False
        self.method = ""
        self.target = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.keep = False
        self.chunks = True
        self.error: Refusal | None = None
        self.task: asyncio.Task[None] | None = None
        self.ended = False
        self.begun = False
        self.answered = False

    def header(self, name: bytes) -> bytes | None:
        """Value of the first header of a name, which is given in lower case."""
        for found, value in self.headers:
            if len(found) == len(name) and found.lower() == name:
                return value
        return None

    # The body

    def feed(self, data: bytes) -> None:
        """Some of the body has come."""
        if self._spoiled:
            return
        self._pieces.append(data)
        self._size += len(data)
        if self._size > _MOST_BUFFERED_BYTES:
            self._client.pause()
        self._wake()

    def end(self) -> None:
        """All of the body has come."""
        self.ended = True
        self._wake()

    def fail(self, error: Refusal) -> None:
        """The rest of it cannot be understood."""
        self.error = error
        self.keep = False
        self._wake()

    async def piece(self) -> bytes:
        """What has come of the body by now, or the next that comes; empty at the end.

        Raises:
            Refusal: the body is not HTTP.
        """
        while not self._pieces and not self.ended:
            if self.error is not None:
                raise self.error
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        found = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        if self._size > _MOST_BUFFERED_BYTES:
            self._client.resume()
        self._size = 0
        return found

    def spoil(self) -> None:
        """What has come and comes of the body is let go."""
        self._spoiled = True
        self._pieces.clear()
        self._client.resume()

    def invite(self) -> None:
        """Tell a client that waits for it to send the body."""
        self._client.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # The answer

    @property
    def open(self) -> bool:
        """The client is still there."""
        return self._client.open

    @property
    def choked(self) -> bool:
        """The client does not keep up."""
        return self._client.choked

    def respond(self, status: bytes, head: bytes, body: bytes) -> None:
        """Send a whole answer.

        Args:
            status: code and reason.
            head: header lines, but for those of length and connection.
            body: of the answer.
        """
        length = b"" if status[:3] in _BODILESS else b"Content-Length: %d\r\n" % len(body)
        if self.method == "HEAD" or not length:
            body = b""
        self.begun = self.answered = True
        self._client.write(b"HTTP/1.1 %b\r\n%b%b%b\r\n%b" % (status, head, length, self._connection(), body))

    def begin(self, status: bytes, head: bytes, first: bytes, *, length: int | None) -> None:
        """Send the head of a stream and what there is of it.

        Args:
            status: code and reason.
            head: header lines, but for those of length and connection.
            first: bytes of the body.
            length: of the whole body, if it is known.
        """
        self._framed = length is None and self.chunks
        if length is not None:
            framing = b"Content-Length: %d\r\n" % length
        elif self._framed:
            framing = b"Transfer-Encoding: chunked\r\n"
        else:
            framing = b""
            self.keep = False  # the end of the connection is that of the answer
        self.begun = True
        start = b"HTTP/1.1 %b\r\n%b%b%b\r\n" % (status, head, framing, self._connection())
        self._client.write(start + self._frame(first) if first else start)

    def write(self, data: bytes) -> None:
        """Send more of a stream; nothing if the client is gone."""
        if data and self._client.open:
            self._client.write(self._frame(data))

    def finish(self) -> None:
        """The stream has ended."""
        self.answered = True
        if self._framed and self._client.open:
            self._client.write(b"0\r\n\r\n")

    async def drain(self) -> None:
        """Wait until the client keeps up again.

        Raises:
            ClientGoneError: it is gone.
        """
        await self._client.drained()
        if not self._client.open:
            raise ClientGoneError("the client left")

    def cut(self) -> None:
        """End the connection after what was sent, so that nobody takes the answer for whole."""
        self._client.close()

    def abort(self) -> None:
        """End the connection at once."""
        self._client.abort()

    def _frame(self, data: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(data), data) if self._framed else data

    def _connection(self) -> bytes:
        self.keep = self.keep and self.ended  # what comes of the body later would be taken for a request
        if not self.keep:
            return b"Connection: close\r\n"
        return b"" if self.chunks else b"Connection: keep-alive\r\n"


def date_line() -> bytes:
    """The header line that says when."""
    return _date(int(time.monotonic()))


@lru_cache(maxsize=1)
def _date(_second: int) -> bytes:
    return f"Date: {formatdate(usegmt=True)}\r\n".encode()


def id_line(request_id: str) -> bytes:
    """The header line that names a request."""
    return f"{HEADER_REQUEST_ID}: {request_id}\r\n".encode(errors="surrogateescape")
