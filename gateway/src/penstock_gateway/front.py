"""The serving port: which service a request is for, whether it may, and what it gets when it is refused.

`/{namespace}/{service}/v1/…` names a service; a bare `/v1/…` is resolved by the model, if only one service serves
it. Nothing but the three endpoints of the table is ever passed to a worker.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Final

from penstock_contract.names import HEADER_REQUEST_ID
from penstock_gateway import errors, inquiry
from penstock_gateway.bodies import Bodies
from penstock_gateway.call import Call, date_line, id_line
from penstock_gateway.directory import Directory, Service
from penstock_gateway.errors import ClientGoneError, Refusal
from penstock_gateway.exchange import Exchange
from penstock_gateway.inquiry import Inquiry
from penstock_gateway.keys import Keys
from penstock_gateway.relay import Relay
from penstock_gateway.sla import End

_MODELS: Final = "/v1/models"
_ENDPOINTS: Final = {"/v1/chat/completions": "POST", "/v1/completions": "POST", _MODELS: "GET"}
_REQUEST_ID: Final = HEADER_REQUEST_ID.lower().encode()
_NOT_PASSED_ON: Final = frozenset(
    (
        b"host", b"connection", b"keep-alive", b"transfer-encoding", b"te", b"trailer", b"upgrade", b"proxy-connection",
        b"proxy-authorization", b"expect", b"content-length", b"content-encoding", b"accept-encoding", _REQUEST_ID,
    )
)  # fmt: skip
_log = logging.getLogger(__name__)


class Front:
    """Handler of the serving port.

    Args:
        directory: services and workers.
        relay: to the workers.
        keys: that clients must have; None = none.
        bodies: memory for those of requests.

    Attributes:
        active: requests being served.
    """

    def __init__(self, directory: Directory, relay: Relay, *, keys: Keys | None, bodies: Bodies) -> None:
        self._directory = directory
        self._relay = relay
        self._keys = keys
        self._bodies = bodies
        self._not_passed_on = _NOT_PASSED_ON if keys is None else _NOT_PASSED_ON | {b"authorization"}
        self._names = random.Random()
        self.active = 0

    async def handle(self, call: Call) -> None:
        """Answer one request, whatever happens."""
        arrived = time.monotonic()
        given = call.header(_REQUEST_ID)
        request_id = _text(given) if given else f"{self._names.getrandbits(128):032x}"
        self.active += 1
        try:
            await self._answer(call, request_id=request_id, arrived=arrived)
        except Refusal as refusal:
            refuse(call, refusal, request_id)
        except ClientGoneError:
            call.abort()
        except Exception:  # noqa: BLE001 - a mistake of ours is a 500 to its client and a log line, nothing more
            _log.exception("event=request_failed request_id=%s path=%r", request_id, call.target)
            if call.begun:
                call.abort()
            else:
                refuse(call, errors.internal(), request_id)
        finally:
            self.active -= 1

    async def _answer(self, call: Call, *, request_id: str, arrived: float) -> None:
        if call.error is not None:
            raise call.error
        path = _text(call.target.partition(b"?")[0])
        endpoint, key = split(path)
        if self._keys is not None and not self._keys.accept(_text(call.header(b"authorization") or b"")):
            raise errors.unauthorized()
        if endpoint is None:
            raise errors.no_such_path(call.method, path)
        if call.method != _ENDPOINTS[endpoint]:
            raise errors.method_not_allowed(call.method, path, _ENDPOINTS[endpoint])
        if endpoint == _MODELS:
            services = self._directory.services if key is None else [self._service(key)]
            respond(call, 200, models(services), request_id)
            return
        service = None if key is None else self._service(key)
        try:
            body = await self._bodies.read(call)
        except Refusal as refusal:
            if service is not None and refusal.reason is not None:
                service.stats.refuse(service.objectives, refusal.reason)
            raise
        size = len(body)
        try:
            asked = inquiry.read(body)
            exchange = Exchange(
                service or self._resolve(asked),
                asked,
                path=endpoint,
                head=self._head_on(call, request_id),
                body=body,
                request_id=request_id,
                arrived=arrived,
            )
            del body  # a stream that has begun needs it no more
            await self._forward(exchange, asked, call)
        finally:
            self._bodies.free(size)

    async def _forward(self, exchange: Exchange, asked: Inquiry, call: Call) -> None:
        """Have it answered, and count how it went."""
        service = exchange.service
        service.stats.arrive(asked.prompt_tokens)
        try:
            await self._relay.forward(exchange, call)
        except Refusal as refusal:
            exchange.finish(End.FAILED, refusal.reason)
            raise
        except (asyncio.CancelledError, ClientGoneError):
            exchange.finish(End.ABANDONED, errors.CLIENT_CLOSED)
            raise
        except Exception:
            exchange.finish(End.FAILED, errors.INTERNAL)
            raise
        finally:
            timings = exchange.timings(time.monotonic())
            service.stats.finish(service.objectives, timings, exchange.end, exchange.reason)
            if exchange.end is End.ANSWERED and timings.tpot is not None and not exchange.choked:
                service.pool.pacer.hear(exchange.ticket.beside, timings.tpot)

    def _service(self, key: tuple[str, str]) -> Service:
        found = self._directory.service(*key)
        if found is None:
            raise errors.no_such_service(*key)
        return found

    def _resolve(self, asked: Inquiry) -> Service:
        if asked.model is None:
            raise Refusal("`model` is missing; name a model or use /{namespace}/{service}/v1.", param="model")
        found = self._directory.serving(asked.model)
        if len(found) != 1:
            known = (service.model for service in self._directory.services)
            raise errors.model_not_resolved(asked.model, (f"/{one.path}/v1" for one in found), known)
        return found[0]

    def _head_on(self, call: Call, request_id: str) -> bytes:
        """Header lines for the worker: the client's, but for those of its connection and our key."""
        dropped = self._not_passed_on
        if call.header(b"connection") is not None:
            dropped |= nominated(call)
        lines = [b"%b: %b\r\n" % header for header in call.headers if header[0].lower() not in dropped]
        lines.append(id_line(request_id))
        return b"".join(lines)


def split(path: str) -> tuple[str | None, tuple[str, str] | None]:
    """The endpoint a path names, and namespace and service if it does; (None, …) if it names none."""
    if path in _ENDPOINTS:
        return path, None
    parts = path.split("/", 3)
    if len(parts) == 4 and "/" + parts[3] in _ENDPOINTS:
        return "/" + parts[3], (parts[1], parts[2])
    return None, None


def nominated(call: Call) -> frozenset[bytes]:
    """Names of headers, in lower case, that `Connection` declares to be meant for us only."""
    values = (value for name, value in call.headers if name.lower() == b"connection")
    return frozenset(name.strip().lower() for name in b",".join(values).split(b","))


def models(services: Iterable[Service]) -> dict[str, Any]:
    """The reply to `GET /v1/models`; `root` is the path of a service, for when several serve one name."""
    cards = [
        {
            "id": service.model,
            "object": "model",
            "created": service.created,
            "owned_by": service.key[0],
            "root": f"/{service.path}/v1",
            "max_model_len": service.max_model_len,
        }
        for service in sorted(services, key=lambda one: one.key)
    ]
    return {"object": "list", "data": cards}


def refuse(call: Call, refusal: Refusal, request_id: str) -> None:
    """Answer with the OpenAI error body."""
    more = b""
    if refusal.retry_after is not None:
        more += b"Retry-After: %d\r\n" % refusal.retry_after
    if refusal.status == HTTPStatus.UNAUTHORIZED:
        more += b"WWW-Authenticate: Bearer\r\n"
    respond(call, refusal.status, refusal.body(), request_id, more)


def respond(call: Call, status: int, body: dict[str, Any], request_id: str, more: bytes = b"") -> None:
    """Answer with an object of our own; `more` are header lines."""
    head = b"Content-Type: application/json; charset=utf-8\r\n" + date_line() + more + id_line(request_id)
    call.respond(b"%d %b" % (status, HTTPStatus(status).phrase.encode()), head, json.dumps(body).encode())


def _text(value: bytes) -> str:
    return value.decode(errors="surrogateescape")
