"""What a browser gets: the page of `web/` at `/`, and `/state.json`, which it reads.

Read-only, and closed: scripts and styles come from here alone, and the page may be shown in no frame of another site.
"""

from __future__ import annotations

from importlib.resources import files

from aiohttp import web
from aiohttp.typedefs import Handler

from penstock_operator.runtime.statepage import Question, StatePage

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_TRUE, _FALSE = ("1", "true"), ("0", "false", "")


def add_to(app: web.Application, page: StatePage) -> None:
    """Add `/`, its files and `/state.json` to the operator's web application."""
    folder = files("penstock_operator") / "web"
    for file in folder.iterdir():
        kind = _TYPES.get(file.name.rpartition(".")[2])
        if kind is not None:
            where = "/" if file.name == "index.html" else f"/{file.name}"
            app.router.add_get(where, _serve(file.read_bytes(), kind))
    app.router.add_get("/state.json", _state(page))


def _serve(body: bytes, kind: str) -> Handler:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=body, content_type=kind, charset="utf-8", headers=_HEADERS)

    return answer


def _state(page: StatePage) -> Handler:
    async def answer(request: web.Request) -> web.Response:
        try:
            question = asked(request.query.get("service"), request.query.get("brief", ""))
        except ValueError as error:
            raise web.HTTPBadRequest(text=str(error), headers=_HEADERS) from error
        body = await page.body(question)
        headers = _HEADERS | {"Cache-Control": "no-store"}
        response = web.Response(body=body, content_type="application/json", headers=headers)
        response.enable_compression()
        return response

    return answer


def asked(service: str | None, brief: str) -> Question:
    """The question of a query string.

    Args:
        service: `namespace/name`; None is all.
        brief: 1 leaves out decisions, history, signals and predictions.

    Raises:
        ValueError: one of them means nothing.
    """
    if brief not in _TRUE + _FALSE:
        raise ValueError(f"brief must be 1 or 0, got {brief!r}")
    if service is None:
        return Question(brief=brief in _TRUE)
    namespace, slash, name = service.partition("/")
    if not (namespace and slash and name) or "/" in name:
        raise ValueError(f"service must be namespace/name, got {service!r}")
    return Question((namespace, name), brief=brief in _TRUE)
