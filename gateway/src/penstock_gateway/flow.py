"""The way of an answer's bytes from the worker's socket to the client's, and nothing held in between.

Each read is counted and written on at once. A client that does not keep up fills its socket's buffer; then the worker
is read no further until that has drained, so that a slow reader costs a fixed amount of memory.
"""

from __future__ import annotations

import time

from penstock_gateway.call import Call
from penstock_gateway.exchange import Attempt, Exchange
from penstock_gateway.reply import Reply


class Flow:
    """One answer on its way."""

    __slots__ = ("_attempt", "_call", "_choked", "_exchange", "_meter", "_reply", "_worker")

    def __init__(self, exchange: Exchange, attempt: Attempt, reply: Reply, call: Call) -> None:
        self._attempt = attempt
        self._exchange = exchange
        self._worker = attempt.worker
        self._meter = exchange.meter
        self._reply = reply
        self._call = call
        self._choked = False

    async def run(self, head: bytes, first: bytes) -> None:
        """Pass everything on, from the head and the first bytes, which were read already.

        Raises:
            ClientGoneError: the client is gone.
            BrokenError: the worker is.
        """
        attempt, reply, call = self._attempt, self._reply, self._call
        self._note(first)
        call.begin(reply.top.reason, head, first, length=reply.length)
        self._choked = call.choked
        reply.flow(self._take)
        while self._choked or not reply.ended:
            if self._choked:
                self._exchange.choked = True
                reply.pause()
                attempt.writing_since = time.monotonic()
                await call.drain()
                attempt.writing_since = None
                self._choked = False
                reply.resume()
            else:
                await reply.wait()
        call.finish()

    def _take(self, data: bytes) -> None:
        self._note(data)
        call = self._call
        call.write(data)
        if call.choked:
            self._choked = True
            self._reply.pause()
            self._reply.wake()

    def _note(self, data: bytes) -> None:
        self._worker.heard_at = now = time.monotonic()
        self._attempt.progress(0 if self._meter is None else self._meter.feed(data, now))
