"""The serving port: which service a request is for, whether it may, and what it gets when it is refused.

`/{namespace}/{service}/v1/…` names a service; a bare `/v1/…` is resolved by the model, if only one service serves
it. Nothing but the three endpoints of the table is ever passed to a worker.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Iterable
from typing import Any, Final

from aiohttp import web

from penstock_contract.names import HEADER_REQUEST_ID
from penstock_gateway import errors, inquiry
from penstock_gateway.bodies import Bodies
from penstock_gateway.directory import Directory, Service
from penstock_gateway.errors import ClientGoneError, Refusal
from penstock_gateway.exchange import Exchange
from penstock_gateway.inquiry import Inquiry
from penstock_gateway.keys import Keys
from penstock_gateway.relay import Relay
from penstock_gateway.sla import End

_MODELS: Final = "/v1/models"
_ENDPOINTS: Final = {"/v1/chat/completions": "POST", "/v1/completions": "POST", _MODELS: "GET"}
_NOT_PASSED_ON: Final = frozenset(
    name.encode()
    for name in (
        "host", "connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "proxy-connection",
        "proxy-authorization", "expect", "content-length", "content-encoding", "accept-encoding", HEADER_REQUEST_ID,
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
        draining: connections are closed after the answer they carry.
    """

    def __init__(self, directory: Directory, relay: Relay, *, keys: Keys | None, bodies: Bodies) -> None:
        self._directory = directory
        self._relay = relay
        self._keys = keys
        self._bodies = bodies
        self.active = 0
        self.draining = False

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, whatever happens."""
        arrived = time.monotonic()
        request_id = request.headers.get(HEADER_REQUEST_ID) or uuid.uuid4().hex
        self.active += 1
        try:
            return await self._answer(request, request_id=request_id, arrived=arrived)
        except Refusal as refusal:
            return self._closing(refuse(refusal, request_id))
        except ClientGoneError:
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=499)  # seen by nobody
        except Exception:  # noqa: BLE001 - a mistake of ours is a 500 to its client and a log line, nothing more
            _log.exception("event=request_failed request_id=%s path=%s", request_id, request.path)
            return self._closing(refuse(errors.internal(), request_id))
        finally:
            self.active -= 1

    async def _answer(self, request: web.BaseRequest, *, request_id: str, arrived: float) -> web.StreamResponse:
        path, _, _ = request.raw_path.partition("?")
        endpoint, key = split(path)
        if self._keys is not None and not self._keys.accept(request.headers.get("Authorization")):
            raise errors.unauthorized()
        if endpoint is None:
            raise errors.no_such_path(request.method, path)
        if request.method != _ENDPOINTS[endpoint]:
            raise errors.method_not_allowed(request.method, path, _ENDPOINTS[endpoint])
        if endpoint == _MODELS:
            services = self._directory.services if key is None else [self._service(key)]
            return self._closing(web.json_response(models(services), headers={HEADER_REQUEST_ID: request_id}))
        service = None if key is None else self._service(key)
        try:
            body = await self._bodies.read(request)
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
                head=self._head_on(request, request_id),
                body=body,
                request_id=request_id,
                arrived=arrived,
                closing=self.draining,
            )
            del body  # a stream that has begun needs it no more
            return self._closing(await self._forward(exchange, asked, request))
        finally:
            self._bodies.free(size)

    async def _forward(self, exchange: Exchange, asked: Inquiry, request: web.BaseRequest) -> web.StreamResponse:
        """Have it answered, and count how it went."""
        service = exchange.service
        service.stats.arrive(asked.prompt_tokens)
        try:
            return await self._relay.forward(exchange, request)
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

    def _head_on(self, request: web.BaseRequest, request_id: str) -> bytes:
        """Header lines for the worker: the client's, but for those of its connection and our key."""
        dropped = _NOT_PASSED_ON if "Connection" not in request.headers else _NOT_PASSED_ON | nominated(request)
        lines = [
            b"%b: %b\r\n" % (name, value)
            for name, value in request.raw_headers
            if (lower := name.lower()) not in dropped and (self._keys is None or lower != b"authorization")
        ]
        lines.append(f"{HEADER_REQUEST_ID}: {request_id}\r\n".encode("utf-8", "surrogateescape"))
        return b"".join(lines)

    def _closing(self, response: web.StreamResponse) -> web.StreamResponse:
        if self.draining and not response.prepared:
            response.force_close()
        return response


def split(path: str) -> tuple[str | None, tuple[str, str] | None]:
    """The endpoint a path names, and namespace and service if it does; (None, …) if it names none."""
    if path in _ENDPOINTS:
        return path, None
    parts = path.split("/", 3)
    if len(parts) == 4 and "/" + parts[3] in _ENDPOINTS:
        return "/" + parts[3], (parts[1], parts[2])
    return None, None


def nominated(request: web.BaseRequest) -> frozenset[bytes]:
    """Names of headers, in lower case, that `Connection` declares to be meant for us only."""
    names = ",".join(request.headers.getall("Connection"))
    return frozenset(name.strip().lower().encode(errors="surrogateescape") for name in names.split(","))


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


def refuse(refusal: Refusal, request_id: str) -> web.Response:
    """The OpenAI error reply."""
    headers = {HEADER_REQUEST_ID: request_id}
    if refusal.retry_after is not None:
        headers["Retry-After"] = str(refusal.retry_after)
    if refusal.status == web.HTTPUnauthorized.status_code:
        headers["WWW-Authenticate"] = "Bearer"
    return web.json_response(refusal.body(), status=refusal.status, headers=headers)
