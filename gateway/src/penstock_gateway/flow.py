"""The way of an answer's bytes from the worker's socket to the client's, and nothing held in between.

Each read is counted and written on at once. A client that does not keep up fills its socket's buffer; then the worker
is read no further until that has drained, so that a slow reader costs a fixed amount of memory.
"""

from __future__ import annotations

import time

from aiohttp import web

from penstock_gateway.exchange import Attempt, Exchange
from penstock_gateway.reply import Reply


class Flow:
    """One answer on its way."""

    __slots__ = ("_attempt", "_choked", "_framed", "_meter", "_protocol", "_reply", "_request", "_worker")

    def __init__(self, exchange: Exchange, attempt: Attempt, reply: Reply, request: web.BaseRequest) -> None:
        self._attempt = attempt
        self._worker = attempt.worker
        self._meter = exchange.meter
        self._reply = reply
        self._request = request
        self._protocol = request.protocol
        self._framed = False
        self._choked = False

    async def run(self, response: web.StreamResponse, first: bytes) -> None:
        """Pass everything on, from the first bytes, which were read already.

        Raises:
            OSError: the client is gone.
            BrokenError: the worker is.
        """
        attempt, reply = self._attempt, self._reply
        attempt.writing_since = self._note(first)
        # aiohttp writes the head with the first bytes; what follows goes to its transport without a detour.
        await response.prepare(self._request)
        await response.write(first)
        attempt.writing_since = None
        self._framed = response.headers.get("Transfer-Encoding") == "chunked"
        reply.flow(self._take)
        while self._choked or not reply.ended:
            if self._choked:
                attempt.writing_since = time.monotonic()
                await self._request.writer.drain()
                attempt.writing_since = None
                self._choked = False
                reply.resume()
            else:
                await reply.wait()
        await response.write_eof()

    def _take(self, data: bytes) -> None:
        self._note(data)
        protocol = self._protocol
        transport = protocol.transport
        if transport is None or transport.is_closing():
            return  # the request is being cancelled
        transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self._framed else data)
        if protocol.writing_paused:
            self._choked = True
            self._reply.pause()
            self._reply.wake()

    def _note(self, data: bytes) -> float:
        self._worker.heard_at = now = time.monotonic()
        self._attempt.progress(0 if self._meter is None else self._meter.feed(data, now))
        return now
