"""The admin port: probes, metrics, and the demand that the operator reads each tick.

No probe asks the API server: while it is away the gateway goes on serving what it knows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from penstock_gateway import metrics
from penstock_gateway.directory import Service


def application(*, services: Callable[[], Iterable[Service]], not_ready: Callable[[], str | None]) -> web.Application:
    """The application of the admin port.

    Args:
        services: all known ones.
        not_ready: why no requests should be sent here, or None.
    """

    async def live(_request: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def ready(_request: web.Request) -> web.Response:
        problem = not_ready()
        return web.Response(status=503 if problem else 200, text=problem or "ok")

    async def scrape(_request: web.Request) -> web.Response:
        return web.Response(body=await metrics.render(services()), headers={"Content-Type": metrics.CONTENT_TYPE})

    async def show_demand(_request: web.Request) -> web.Response:
        return web.json_response(demand(services()))

    app = web.Application()
    app.add_routes(
        [
            web.get("/livez", live),
            web.get("/readyz", ready),
            web.get("/metrics", scrape),
            web.get("/demand", show_demand),
        ]
    )
    return app


def demand(services: Iterable[Service]) -> dict[str, Any]:
    """What each service is asked for: totals since the gateway saw it first, and what is held and running now.

    `most_per_worker` is what a worker gets of this gateway at a time so that tokens come in time; null = what it runs.
    """
    return {
        "at": datetime.now(UTC).timestamp(),
        "services": {
            service.path: {
                "arrived": service.stats.arrived,
                "prompt_tokens": service.stats.prompt_tokens,
                "prompt_lengths": service.stats.prompt_lengths,
                "objectives": [
                    {"metric": metric, "percentile": percentile, "met": met, "missed": missed}
                    for (metric, percentile), (met, missed) in service.stats.objectives.items()
                ],
                "held": service.pool.held,
                "oldest_held_seconds": round(service.pool.oldest_held_seconds, 3),
                "in_flight": service.stats.in_flight,
                "most_per_worker": service.pool.pacer.most if math.isfinite(service.pool.pacer.most) else None,
            }
            for service in services
        },
    }
