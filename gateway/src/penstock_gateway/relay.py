"""Sends an exchange to workers until one answers, and the answer to the client, byte by byte.

A request goes to another worker only while nothing of an answer was sent to its client. A worker that refuses
(connection refused, 503 while it loads or drains) did nothing, so that costs patience only, up to the hold deadline;
one that took the request and broke may have been broken by it, so that is tried `_MOST_BROKEN` times. A worker that
takes a request and stays silent is not cut off by a deadline of its own, since a long queue is legal: `prober`
finds out whether the worker still lives, and aborts the attempt if not.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Mapping
from typing import Final

import aiohttp
from aiohttp import web
from multidict import CIMultiDict

from penstock_contract.names import HEADER_REQUEST_ID
from penstock_gateway import errors
from penstock_gateway.errors import BrokenError, ClientGoneError, NotTakenError
from penstock_gateway.exchange import Attempt, Exchange
from penstock_gateway.meter import Meter, completion_tokens
from penstock_gateway.sla import End

_MOST_BROKEN: Final = 3
_MOST_ATTEMPTS: Final = 50
_WHOLE_BYTES: Final = 1 << 20
_CONNECT_SECONDS: Final = 2.0
_LAST_WRITE_SECONDS: Final = 5.0
# Below that of the servers behind us (uvicorn: 5 s), or requests meet connections that are just being closed.
_KEEPALIVE_SECONDS: Final = 4.0
_NOT_PASSED_BACK: Final = frozenset(
    {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "proxy-connection", HEADER_REQUEST_ID}
)
_log = logging.getLogger(__name__)


def open_session() -> aiohttp.ClientSession:
    """The session for all workers: no limits of its own, no cookies, bodies as they come."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEPALIVE_SECONDS),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS),
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
    )


class Relay:
    """Forwards exchanges over one session."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def forward(self, exchange: Exchange, request: web.BaseRequest) -> web.StreamResponse:
        """Have the exchange answered.

        Raises:
            Refusal: nobody answered it.
        """
        broken = 0
        pool = exchange.service.pool
        while True:
            worker = await pool.acquire(exchange.ticket, again=exchange.attempts > 0)
            exchange.attempts += 1
            attempt = Attempt(worker, work=exchange.ticket.work, prompt_work=exchange.prompt_work)
            worker.attempts.add(attempt)
            exchange.service.stats.in_flight += 1
            try:
                async with attempt.scope:
                    return await self._attempt(exchange, attempt, request)
            except NotTakenError as error:
                pool.rest(worker)
                _log.info("event=not_taken worker=%s request_id=%s error=%s", worker.name, exchange.request_id, error)
            except (BrokenError, TimeoutError) as error:
                if attempt.slow_reader:
                    raise ClientGoneError("it does not read") from error
                _log.warning(
                    "event=broken worker=%s request_id=%s begun=%s error=%r",
                    worker.name, exchange.request_id, exchange.response is not None, error,
                )  # fmt: skip
                if exchange.response is not None:
                    return await _cut_off(exchange, exchange.response, request)
                broken += 1
                pool.rest(worker)
            finally:
                worker.attempts.discard(attempt)
                exchange.service.stats.in_flight -= 1
                pool.release(worker, exchange.ticket, work_left=attempt.work_left)
            if broken >= _MOST_BROKEN:
                raise errors.broken(broken)
            if exchange.attempts >= _MOST_ATTEMPTS:
                raise errors.unreachable(exchange.attempts)

    async def _attempt(self, exchange: Exchange, attempt: Attempt, request: web.BaseRequest) -> web.StreamResponse:
        worker = attempt.worker
        exchange.sent_at = worker.heard_at = time.monotonic()
        try:
            upstream = await self._session.post(
                worker.url(exchange.path), data=exchange.body, headers=exchange.headers, allow_redirects=False
            )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise NotTakenError(str(error)) from error
        except (aiohttp.ClientError, OSError) as error:
            raise BrokenError(repr(error)) from error
        complete = False
        try:
            worker.heard_at = time.monotonic()
            if upstream.status == web.HTTPServiceUnavailable.status_code:
                raise NotTakenError("the worker answered 503")
            worker.rests = 0
            response = await self._answer(exchange, attempt, upstream, request)
            complete = True
        finally:
            # What has not come to its end is closed: the worker then stops working on it.
            if complete:
                upstream.release()
            else:
                upstream.close()
        return response

    async def _answer(
        self, exchange: Exchange, attempt: Attempt, upstream: aiohttp.ClientResponse, request: web.BaseRequest
    ) -> web.StreamResponse:
        exchange.report(upstream.headers)
        headers = _headers_back(upstream.headers, exchange.request_id)
        length = upstream.content_length
        if length is not None and length <= _WHOLE_BYTES:
            try:
                body = await upstream.read()
            except (aiohttp.ClientError, OSError) as error:
                raise BrokenError(repr(error)) from error
            _settle(exchange, upstream.status, completion_tokens(body))
            return web.Response(status=upstream.status, headers=headers, body=body)
        first = await _read(upstream)
        exchange.body = b""
        response = exchange.response = web.StreamResponse(status=upstream.status, headers=headers)
        if exchange.closing:
            response.force_close()
        if upstream.content_type == "text/event-stream":
            exchange.meter = Meter()
        await _start(response, request, attempt)
        await _pass_on(exchange, attempt, response, upstream, first)
        meter = exchange.meter
        _settle(exchange, upstream.status, None if meter is None else meter.tokens())
        if meter is not None and meter.failed:
            exchange.finish(End.FAILED, errors.STREAM_BROKEN)
        return response


async def _start(response: web.StreamResponse, request: web.BaseRequest, attempt: Attempt) -> None:
    attempt.writing_since = time.monotonic()
    try:
        await response.prepare(request)
    except OSError as error:
        raise ClientGoneError(repr(error)) from error


async def _pass_on(
    exchange: Exchange,
    attempt: Attempt,
    response: web.StreamResponse,
    upstream: aiohttp.ClientResponse,
    chunk: bytes,
) -> None:
    """Pass on everything, from the first chunk that was read already."""
    meter, worker = exchange.meter, attempt.worker
    while chunk:
        worker.heard_at = now = time.monotonic()
        attempt.progress(0 if meter is None else meter.feed(chunk, now))
        attempt.writing_since = now
        try:
            await response.write(chunk)
        except OSError as error:
            raise ClientGoneError(repr(error)) from error
        attempt.writing_since = None
        chunk = await _read(upstream)
    try:
        await response.write_eof()
    except OSError as error:
        raise ClientGoneError(repr(error)) from error


async def _read(upstream: aiohttp.ClientResponse) -> bytes:
    """What has come by now, or the next that comes; empty at the end."""
    try:
        return await upstream.content.readany()
    except (aiohttp.ClientError, OSError) as error:
        raise BrokenError(repr(error)) from error


async def _cut_off(exchange: Exchange, response: web.StreamResponse, request: web.BaseRequest) -> web.StreamResponse:
    """End an answer that cannot be finished so that nobody takes it for whole: an error event, no last chunk."""
    refusal = errors.stream_broken()
    exchange.finish(End.FAILED, refusal.reason)
    try:
        if exchange.meter is not None and exchange.meter.at_line_start:
            async with asyncio.timeout(_LAST_WRITE_SECONDS):
                await response.write(b"\ndata: " + json.dumps(refusal.body()).encode() + b"\n\n")
    except (OSError, TimeoutError):
        pass
    if request.transport is not None:
        request.transport.close()  # after what is buffered
    return response


def _settle(exchange: Exchange, status: int, tokens: int | None) -> None:
    """Note the end of an answer that came in full."""
    if status < 400:
        exchange.count(tokens)
        exchange.finish(End.ANSWERED)
    elif status >= 500 or status == web.HTTPTooManyRequests.status_code:
        exchange.finish(End.FAILED, errors.UPSTREAM_ERROR)
    else:
        exchange.finish(End.EXCUSED)


def _headers_back(found: Mapping[str, str], request_id: str) -> CIMultiDict[str]:
    headers = CIMultiDict((name, value) for name, value in found.items() if name.lower() not in _NOT_PASSED_BACK)
    headers[HEADER_REQUEST_ID] = request_id
    return headers
