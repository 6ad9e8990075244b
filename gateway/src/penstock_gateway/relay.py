"""Sends an exchange to workers until one answers, and the answer to the client, byte by byte.

A request goes to another worker only while nothing of an answer was sent to its client. A worker that refuses
(connection refused, 503 while it loads or drains) did nothing, so that costs patience only, up to the hold deadline;
one that may have read the request and broke may have been broken by it, so that is tried `_MOST_BROKEN` times, and
each time is logged, since the request may be executed again. A worker that
takes a request and stays silent is not cut off by a deadline of its own, since a long queue is legal: `prober`
finds out whether the worker still lives, and aborts the attempt if not.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from http import HTTPStatus
from typing import Final

from penstock_contract import names
from penstock_gateway import errors
from penstock_gateway.call import Call, date_line, id_line
from penstock_gateway.errors import BrokenError, ClientGoneError, NotTakenError, Refusal
from penstock_gateway.exchange import Attempt, Exchange
from penstock_gateway.flow import Flow
from penstock_gateway.meter import Meter, completion_tokens
from penstock_gateway.reply import Reply
from penstock_gateway.sla import End
from penstock_gateway.upstream import Upstream

_MOST_BROKEN: Final = 3
_WHOLE_BYTES: Final = 1 << 20
_log = logging.getLogger(__name__)


class Relay:
    """Forwards exchanges."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def forward(self, exchange: Exchange, call: Call) -> None:
        """Have the exchange answered.

        Raises:
            Refusal: nobody answered it.
        """
        broken = 0
        pool = exchange.service.pool
        while True:
            try:
                worker = await pool.acquire(exchange.ticket, again=exchange.attempts > 0)
            except Refusal as refusal:
                if refusal.reason == errors.HOLD_TIMEOUT and exchange.attempts:
                    raise errors.unreachable(exchange.attempts, pool.hold_seconds) from refusal
                raise
            exchange.attempts += 1
            attempt = Attempt(worker, call.task, work=exchange.ticket.work, prompt_work=exchange.prompt_work)
            worker.attempts.add(attempt)
            exchange.service.stats.in_flight += 1
            try:
                await self._attempt(exchange, attempt, call)
            except NotTakenError as error:
                pool.rest(worker)
                _log.info("event=not_taken worker=%s request_id=%s error=%s", worker.name, exchange.request_id, error)
            except BrokenError as error:
                _log.warning(
                    "event=broken worker=%s request_id=%s begun=%s error=%r",
                    worker.name, exchange.request_id, exchange.begun, error,
                )  # fmt: skip
                if exchange.begun:
                    await _cut_off(exchange, call)
                    return
                broken += 1
                pool.rest(worker)
            else:
                return
            finally:
                worker.attempts.discard(attempt)
                exchange.service.stats.in_flight -= 1
                pool.release(worker, exchange.ticket, work_left=attempt.work_left)
            if broken >= _MOST_BROKEN:
                raise errors.broken(broken)

    async def _attempt(self, exchange: Exchange, attempt: Attempt, call: Call) -> None:
        worker = attempt.worker
        exchange.sent_at = worker.heard_at = time.monotonic()
        reply: Reply | None = None
        try:
            reply = await self._upstream.send(worker.host, names.HTTP_PORT, exchange.message(worker.host))
            worker.heard_at = time.monotonic()
            if reply.status == HTTPStatus.SERVICE_UNAVAILABLE:
                raise NotTakenError("the worker answered 503")
            worker.rests = 0
            await _answer(exchange, attempt, reply, call)
        except asyncio.CancelledError as error:
            if not attempt.cancelled():
                raise
            if attempt.slow_reader:
                raise ClientGoneError("it does not read") from error
            raise BrokenError("the worker is gone or silent") from error
        finally:
            if reply is not None:
                reply.close()  # if it has not come to its end, the worker stops working on it


async def _answer(exchange: Exchange, attempt: Attempt, reply: Reply, call: Call) -> None:
    exchange.report(reply.top.fields)
    head = reply.top.lines + id_line(exchange.request_id)
    if b"date" not in reply.top.fields:
        head += date_line()
    if reply.length is not None and reply.length <= _WHOLE_BYTES:
        body = await reply.read()
        _settle(exchange, reply.status, completion_tokens(body))
        call.respond(reply.top.reason, head, body)
        return
    first = await reply.piece()
    exchange.body = b""
    exchange.begun = True
    if reply.top.fields.get(b"content-type", b"").startswith(b"text/event-stream"):
        exchange.meter = Meter()
    await Flow(exchange, attempt, reply, call).run(head, first)
    meter = exchange.meter
    _settle(exchange, reply.status, None if meter is None else meter.finish(exact=exchange.exact))
    if meter is not None and meter.failed:
        exchange.finish(End.FAILED, errors.STREAM_BROKEN)


async def _cut_off(exchange: Exchange, call: Call) -> None:
    """End an answer that cannot be finished so that nobody takes it for whole: an error event, no last chunk."""
    refusal = errors.stream_ended() if exchange.service.pool.closed is errors.shut_down else errors.stream_broken()
    exchange.finish(End.FAILED, refusal.reason)
    if exchange.meter is not None and exchange.meter.at_line_start:
        call.write(b"\ndata: " + json.dumps(refusal.body()).encode() + b"\n\n")
    call.cut()


def _settle(exchange: Exchange, status: int, tokens: int | None) -> None:
    """Note the end of an answer that came in full."""
    if status < 400:
        exchange.count(tokens)
        exchange.finish(End.ANSWERED)
    elif status >= 500 or status == HTTPStatus.TOO_MANY_REQUESTS:
        exchange.finish(End.FAILED, errors.UPSTREAM_ERROR)
    else:
        exchange.finish(End.EXCUSED)
