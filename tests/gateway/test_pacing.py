"""Requests are held by the time per token: a real gateway before a real worker whose steps grow with its batch."""

from __future__ import annotations

import asyncio
import math

import pytest

from gateway_world import World, eventually
from penstock_gateway.pacing import Pacer

SLOTS, CLIENTS, TOKENS = 100, 80, 40
ALONE, EACH = 0.004, 0.001  # seconds of a step, and for each sequence in it
SLA = {
    "objectives": [
        {"metric": "TPOT", "percentile": 99, "thresholdMilliseconds": 40},
        {"metric": "TTFT", "percentile": 99, "thresholdMilliseconds": 2000},
    ]
}
RIGHT = (0.85 * 0.040 - ALONE) / EACH


async def crowd(world: World, service: str, done: asyncio.Event) -> int:
    """As many clients as there are, each asking again and again until it is over; requests that were answered."""

    async def client() -> int:
        answered = 0
        while not done.is_set():
            status, _ = await world.ask(service, tokens=TOKENS, stream=True)
            assert status == 200
            answered += 1
        return answered

    return sum(await asyncio.gather(*(client() for _ in range(CLIENTS))))


@pytest.mark.parametrize("paced", [True, False])
async def test_a_worker_gets_as_many_as_come_in_time_and_nobody_is_lost(world: World, paced: bool):
    world.gateway = await world.start_gateway(paced=str(paced).lower())
    service = await world.service(sla=SLA)
    worker = await world.worker(step_seconds=ALONE, sequence_seconds=EACH, slots=SLOTS)
    await world.pod(service, worker.address)
    done = asyncio.Event()
    clients = asyncio.create_task(crowd(world, service, done))
    try:
        if paced:
            await eventually(lambda: right(world, service), f"the worker has about {RIGHT:.0f}", seconds=90)
            assert (await world.demand(service))["most_per_worker"] == pytest.approx(RIGHT, rel=0.5)
        else:
            await eventually(lambda: judged(world, service, 3 * CLIENTS), "they have been served", seconds=60)
            await eventually(lambda: crowded(world, service), "the worker has them all", seconds=60)
            assert (await world.demand(service))["most_per_worker"] is None
    finally:
        done.set()
    assert await clients >= CLIENTS
    assert (await world.demand(service))["held"] == 0


async def right(world: World, service: str) -> bool:
    now = await world.demand(service)
    return bool(now["held"] and 0.8 * RIGHT <= now["in_flight"] <= 1.2 * RIGHT)


async def crowded(world: World, service: str) -> bool:
    return bool((await world.demand(service))["in_flight"] > 0.9 * CLIENTS)


async def judged(world: World, service: str, least: int) -> bool:
    counts = (await world.demand(service))["objectives"]
    return bool(sum(one["met"] + one["missed"] for one in counts if one["metric"] == "TPOT") >= least)


def test_an_objective_that_goes_takes_its_bound_along():
    pacer = Pacer(0.0)
    pacer.aim(0.05)
    assert pacer.most == math.inf
    for number in range(200):
        pacer.hear(40 + number % 40, 0.008 + 0.001 * (40 + number % 40))
    assert not pacer.learn(1.0), "too early"
    assert pacer.learn(5.0)
    assert pacer.most < 60
    assert not pacer.learn(400.0), "nobody was heard for so long that nothing new is known"
    assert pacer.most < 60
    pacer.aim(0.05)
    assert pacer.most < 60
    pacer.aim(0.1)
    assert not pacer.learn(410.0), "nothing was heard since, and what was known is of another objective"
    assert pacer.most == math.inf
    pacer.aim(None)
    assert pacer.most == math.inf
