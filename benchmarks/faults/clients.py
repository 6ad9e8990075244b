"""Clients that come all at once, and clients that vanish."""

from __future__ import annotations

import asyncio
import statistics

import aiohttp

from penstock_contract.names import HEADER_REQUEST_ID
from penstock_lab.load.schedule import Lengths, Phase, Planned

from . import traffic
from .result import Result, conclude
from .traffic import Answer, End, Traffic
from .world import Object, World

CONNECTIONS = 2000
_SHORT = Lengths(prompt=(4, 8), output=(8, 8))
_ROUNDS = 5
_STREAMS = 12


async def storm(world: World) -> Result:
    """Two thousand connections in the same moment: answered, or refused in order; none hangs."""
    async with world.service("storm", ready=2, routing={"maxHeldRequests": 300, "holdTimeoutSeconds": 60}) as name:
        item = Planned(0.0, "storm", (5, 6, 7, 8), 8)
        pick = world.pick(name)
        loop = asyncio.get_running_loop()
        async with traffic.session() as client:
            start = loop.time()
            tasks = [
                traffic.ask(client, pick(), item, request_id=f"{name}-{number}", due=start)
                for number in range(CONNECTIONS)
            ]
            answers = list(await asyncio.gather(*tasks))
            took = loop.time() - start
        async with Traffic(pick, name, (Phase("after", 3.0, 8.0),), lengths=_SHORT) as after:
            calm = await after.ended()
        refused = [answer for answer in answers if answer.end is End.REFUSED]
        codes = sorted({answer.detail.split(" ", 1)[0] for answer in refused})
        seen = f"over in {took:.0f} s; refused with {', '.join(codes) or 'nothing'}; {len(calm)} requests after it"
        problems = [f"{answer.detail}" for answer in calm if answer.end is not End.ANSWERED][:1]
        problems += [f"not refused in order: {answer.detail}" for answer in answers if answer.end is End.TOLD][:1]
        return await conclude(
            world, name, f"storm of {CONNECTIONS:,} connections", [*answers, *calm],
            planned=False, seen=seen, problems=problems,
        )  # fmt: skip


async def vanish(world: World) -> Result:
    """Clients that close their connection in mid-stream: the worker stops working for them."""
    async with world.service("vanish", replicas=1) as name:
        worker = (await world.ready(name))[0]
        times = [await _vanish(world, name, worker, number) for number in range(_ROUNDS)]
        async with Traffic(world.pick(name), name, (Phase("after", 3.0, 8.0),)) as after:
            answers: list[Answer] = await after.ended()
        worst = max(times)
        seen = (
            f"{_ROUNDS} times {_STREAMS} clients vanished in mid-stream (not counted as sent): all slots of the worker "
            f"free after {statistics.median(times):.2f} s (median), {worst:.2f} s at most"
        )
        problems = [] if worst < 0.5 else [f"slots were freed after {worst:.2f} s, not within 0.5 s"]
        return await conclude(world, name, "clients that vanish", answers, planned=False, seen=seen, problems=problems)


async def _vanish(world: World, name: str, worker: Object, number: int) -> float:
    """Seconds from the moment all clients close until the worker runs nothing."""
    loop = asyncio.get_running_loop()
    item = Planned(0.0, "vanish", (5, 6, 7, 8), 600)
    pick = world.pick(name)
    async with traffic.session() as client:

        async def begin(stream: int) -> aiohttp.ClientResponse:
            headers = {HEADER_REQUEST_ID: f"{name}-gone-{number}-{stream}"}
            response = await client.post(f"{pick()}/v1/completions", json=traffic.body(item), headers=headers)
            await response.content.readline()
            return response

        streams = await asyncio.gather(*(begin(stream) for stream in range(_STREAMS)))
        await world.until(lambda: _runs(world, worker, _STREAMS), what="all streams run")
        closed = loop.time()
        for stream in streams:
            stream.close()
    await world.until(lambda: _runs(world, worker, 0), what="nothing runs", every=0.02)
    return loop.time() - closed


async def _runs(world: World, worker: Object, count: int) -> bool:
    return await world.metric(worker, "penstock_worker_requests_running") == count
