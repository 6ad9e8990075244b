"""Requests in the bytes of a connection: llhttp (by httptools) tells where they begin and end, each becomes a `Call`.

llhttp is strict here: two lengths, a length and chunks, or a line that ends oddly are no request, since somebody else
on the way may have read them differently.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from penstock_gateway import errors
from penstock_gateway.call import Call, Client
from penstock_gateway.errors import Refusal

_MOST_HEAD_BYTES: Final = 1 << 16


class Requests:
    """What comes on one connection.

    Args:
        client: the connection.
        take: called with each request when its head has come, and with one that carries an error instead.

    Attributes:
        coming: the request that is not here in full yet.
        deaf: what still comes is not understood.
    """

    __slots__ = ("_carried", "_client", "_fruitless", "_loop", "_moved", "_parser", "_take", "coming", "deaf")

    def __init__(self, client: Client, loop: asyncio.AbstractEventLoop, take: Callable[[Call], None]) -> None:
        self._client = client
        self._loop = loop
        self._take = take
        self._parser = HttpRequestParser(self)
        self._carried = False  # the body of `coming` is still to be parsed, by a new parser
        self._moved = False  # a request began, or some of a body came
        self._fruitless = 0  # bytes since then
        self.coming: Call | None = None
        self.deaf = False

    def feed(self, data: bytes) -> None:
        """More bytes."""
        while data and not self.deaf:
            data = self._parse(data)

    def forget(self) -> None:
        """The connection is gone: nothing here may keep it in memory until the garbage collector comes."""
        self.deaf = True
        self.coming = None
        del self._parser, self._client, self._take

    def on_message_begin(self) -> None:
        """A request begins."""
        if not self._carried:
            self.coming = Call(self._client, self._loop)
            self._moved = True

    def on_url(self, url: bytes) -> None:
        """Its target, or more of it."""
        if not self._carried and self.coming is not None:
            self.coming.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer, which nobody needs."""
        if self.coming is not None and not self.coming.method:
            self.coming.headers.append((name, value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        """The head has come."""
        if self._carried:
            self._carried = False
            return
        call = self.coming
        assert call is not None
        call.method = self._parser.get_method().decode()
        call.chunks = self._parser.get_http_version() == "1.1"
        call.keep = self._parser.should_keep_alive()
        self._carried = self._parser.should_upgrade() and call.method != "CONNECT" and _framing(call) is not None
        self._take(call)

    def on_body(self, body: bytes) -> None:
        """Some of its body."""
        self._moved = True
        if self.coming is not None:
            self.coming.feed(body)

    def on_message_complete(self) -> None:
        """All of it has come."""
        if self._carried:
            return
        call, self.coming = self.coming, None
        assert call is not None
        call.end()

    def _parse(self, data: bytes) -> bytes:
        """Have it parsed; what is left of it."""
        self._moved = False
        left = b""
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade as upgrade:
            # To a protocol that is not spoken here: the request counts as it is. The parser takes it for one without a
            # body, so another one is told how long that is.
            self._parser = HttpRequestParser(self)
            left = data[upgrade.args[0] :]
            if self._carried and self.coming is not None:
                left = b"POST / HTTP/1.1\r\n%b: %b\r\n\r\n%b" % (*(_framing(self.coming) or (b"", b"")), left)
        except HttpParserError as error:
            self._misunderstood(errors.not_http(str(error)))
            return b""
        self._fruitless = 0 if self._moved else self._fruitless + len(data)
        if self.coming is not None and self._fruitless > _MOST_HEAD_BYTES:  # a head or trailers without an end
            self._misunderstood(errors.head_too_large(_MOST_HEAD_BYTES))
            return b""
        return left

    def _misunderstood(self, error: Refusal) -> None:
        """Nothing more can be understood on this connection; who asked is told."""
        self.deaf = True
        call = self.coming
        if call is not None and call.method:
            call.fail(error)
            return
        call = Call(self._client, self._loop)
        call.error = error
        self._take(call)


def _framing(call: Call) -> tuple[bytes, bytes] | None:
    """The header that tells where the body ends, if there is one."""
    for name in (b"content-length", b"transfer-encoding"):
        value = call.header(name)
        if value is not None:
            return name, value
    return None
