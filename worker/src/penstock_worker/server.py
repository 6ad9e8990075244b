"""The two listeners: the serving port with API, probes and metrics, and the admin port with drain.

Errors leave as OpenAI error bodies, whatever raised them. A client that goes away cancels its handler
(`handler_cancellation` of the runner), which aborts its requests in the engine. `x-request-id` is passed through.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any, Final

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from penstock_contract import names
from penstock_worker import api, metrics
from penstock_worker.errors import RequestError
from penstock_worker.protocol import error_body, parse
from penstock_worker.replica import Replica

MAX_BODY_BYTES: Final = 64 << 20
_log = logging.getLogger(__name__)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class DrainRequest(BaseModel):
    """Body of `POST /drain`; the drain ends by itself after `timeout_seconds`, if given."""

    model_config = ConfigDict(extra="ignore")
    timeout_seconds: float | None = Field(default=None, gt=0, le=86400)


def serving_app(replica: Replica) -> web.Application:
    """The application of the serving port."""
    app = web.Application(middlewares=[_errors], client_max_size=MAX_BODY_BYTES)
    app.on_response_prepare.append(_request_id)
    app.add_routes([*api.routes(replica), *_probes(replica)])
    return app


def admin_app(replica: Replica) -> web.Application:
    """The application of the admin port: `GET`, `POST` and `DELETE /drain`."""
    lifecycle = replica.lifecycle

    def state() -> web.Response:
        return web.json_response(
            {"draining": lifecycle.draining, "running": replica.running, "waiting": replica.waiting}
        )

    async def show(_request: web.Request) -> web.Response:
        return state()

    async def start(request: web.Request) -> web.Response:
        body = parse(DrainRequest, await api.read_json(request) if request.can_read_body else {})
        lifecycle.drain(body.timeout_seconds)
        return state()

    async def cancel(_request: web.Request) -> web.Response:
        if not lifecycle.undrain():
            raise RequestError("The worker is terminating; this drain cannot be cancelled.", status=409)
        return state()

    app = web.Application(middlewares=[_errors])
    app.add_routes([web.get("/drain", show), web.post("/drain", start), web.delete("/drain", cancel)])
    return app


def _probes(replica: Replica) -> list[web.RouteDef]:
    lifecycle = replica.lifecycle

    def state(*, ok: bool) -> web.Response:
        body: dict[str, Any] = {"status": lifecycle.phase, "model": replica.model_name}
        if replica.profile is not None:
            body["emulated"] = replica.profile.name
        return web.json_response(body, status=200 if ok else 503, headers=None if ok else {"Retry-After": "1"})

    async def health(_request: web.Request) -> web.Response:
        return state(ok=not replica.failed)

    async def ready(_request: web.Request) -> web.Response:
        return state(ok=lifecycle.phase == "ready" and not replica.failed)

    async def exposition(_request: web.Request) -> web.Response:
        return web.Response(body=metrics.render(replica), headers={"Content-Type": metrics.CONTENT_TYPE})

    async def show_version(_request: web.Request) -> web.Response:
        return web.json_response({"version": version("penstock")})

    return [
        web.get("/health", health),
        web.get("/ready", ready),
        web.get("/metrics", exposition),
        web.get("/version", show_version),
    ]


async def _request_id(request: web.Request, response: web.StreamResponse) -> None:
    given = request.headers.get(names.HEADER_REQUEST_ID)
    response.headers[names.HEADER_REQUEST_ID] = given or uuid.uuid4().hex


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except RequestError as error:
        return _refusal(error)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return _refusal(RequestError(f"{error.reason}: {request.method} {request.path}", status=error.status))
    except ConnectionResetError:
        raise  # the client is gone, nobody to answer
    except Exception:  # noqa: BLE001 - a handler's mistake is a 500 to its client and a log line, nothing more
        _log.exception("event=request_failed method=%s path=%s", request.method, request.path)
        return _refusal(RequestError("Internal error; see the worker's log.", status=500, kind="internal_error"))


def _refusal(error: RequestError) -> web.Response:
    response = web.json_response(error_body(error), status=error.status)
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
        response.force_close()  # a kept connection would bring the retry back here
    return response
