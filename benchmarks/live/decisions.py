"""What the operator said of our service while the load ran: its decisions, and the load and capacity it believed in."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp

from .watch import Watch

_PORT = 8080
_EVERY_SECONDS = 2.5
_KEPT = ("load", "capacity", "conditions", "signals")


@asynccontextmanager
async def recorded(address: str, service: str, watch: Watch, path: Path) -> AsyncIterator[None]:
    """Write each new decision to a file of JSON lines, with its second, until the block is left.

    Args:
        address: of the operator's pod.
        service: namespace/name.
        watch: whose clock is used.
        path: of the file.
    """
    task = asyncio.create_task(_follow(f"http://{address}:{_PORT}/state.json?service={service}", watch, path))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _follow(url: str, watch: Watch, path: Path) -> None:
    seen: float | None = None
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
        while True:
            with suppress(aiohttp.ClientError, TimeoutError, OSError):
                async with session.get(url) as answer:
                    found: list[dict[str, Any]] = (await answer.json())["services"]
                decision = found[0].get("decision") if found else None
                if decision is not None and decision["at"] != seen:
                    seen = decision["at"]
                    line = {"second": watch.now, "decision": decision} | {key: found[0].get(key) for key in _KEPT}
                    with path.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(line) + "\n")
            await asyncio.sleep(_EVERY_SECONDS)
