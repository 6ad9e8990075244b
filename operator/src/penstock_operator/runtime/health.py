"""`/livez`, `/readyz` and `/metrics`. No probe calls the API server: an outage there must not restart the operator."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from penstock_operator.runtime.metrics import Metrics

Problem = str | None


def application(*, live: Callable[[], Problem], ready: Callable[[], Problem], metrics: Metrics) -> web.Application:
    """The web application.

    Args:
        live: why the process should be restarted, or None.
        ready: why it is not ready, or None.
        metrics: what `/metrics` serves.
    """

    def probe(problem: Callable[[], Problem]) -> Callable[[web.Request], object]:
        async def answer(_request: web.Request) -> web.Response:
            text = problem()
            return web.Response(status=503 if text else 200, text=text or "ok")

        return answer

    async def scrape(_request: web.Request) -> web.Response:
        # In a thread: with thousands of services it takes a second, for which the loop would see no event.
        body = await asyncio.to_thread(generate_latest, metrics.registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.router.add_get("/livez", probe(live))  # type: ignore[arg-type]  # aiohttp's handler type is an awaitable alias
    app.router.add_get("/readyz", probe(ready))  # type: ignore[arg-type]  # the same
    app.router.add_get("/metrics", scrape)
    return app
