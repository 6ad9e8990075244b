"""A gateway that dies: what its clients see, and that nobody else's request is touched."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence

from penstock_contract import names
from penstock_lab.load.schedule import Phase

from .result import Result, conclude
from .traffic import Answer, End, Traffic
from .world import Object, World, is_ready, scaling

_FOREVER = 600.0
_REPLICAS = 2


async def killed(world: World) -> Result:
    """SIGKILL of one gateway of two: its connections end, the other one serves on, it comes back."""
    shape = scaling(_REPLICAS, _REPLICAS + 2, tokens=350)
    async with world.service("gwkill", ready=_REPLICAS, scaling=shape) as name:
        await world.until(lambda: _decides(world, name), what="signals are fresh")
        async with Traffic(world.pick(name), name, (Phase("steady", _FOREVER, 8.0),)) as traffic:
            await world.until(lambda: traffic.has_ended(30), what="traffic")
            victim = (await world.gateways())[0]
            await world.until(lambda: _busy(world, victim), what="streams on the gateway", every=0.05)
            loop = asyncio.get_running_loop()
            died = loop.time()
            world.signal(victim, signal.SIGKILL)
            await world.until(lambda: _left(world, victim), what="clients are not sent to it", every=0.05)
            left = loop.time() - died
            await world.until(lambda: _restarted(world, victim), what="the gateway is back")
            back = loop.time() - died
            await world.until(lambda: _both(world), what="clients are sent to both")
            after = len(traffic.answers)
            await world.until(lambda: traffic.has_ended(after + 40), what="traffic afterwards")
            await world.until(lambda: _decides(world, name), what="signals are complete")
            count = await world.replicas(name)
            answers = await traffic.stop()
        return await _judged(
            world, name, answers, victim=victim, moved=count,
            seen=f"no client is sent to it after {left:.1f} s, it is back after {back:.1f} s; replicas {count}",
        )  # fmt: skip


async def _judged(
    world: World, name: str, answers: Sequence[Answer], *, victim: Object, moved: int, seen: str
) -> Result:
    """Only what was sent to the victim may fail, and what was sent to it after its return may not."""
    address = f"//{victim['status']['podIP']}:"
    bad = [answer for answer in answers if answer.end is not End.ANSWERED]
    cut = {answer.request_id for answer in bad if answer.end is End.SILENT and address in answer.door}
    begun = [answer for answer in bad if answer.tokens]
    refused = [answer for answer in bad if "ConnectorError" in answer.detail]
    unanswered = len(bad) - len(begun) - len(refused)
    other = [answer for answer in answers if address not in answer.door]
    problems = []
    if len(bad) > len(cut):
        problems.append(f"{len(bad) - len(cut)} requests failed that the killed gateway did not have")
    if begun and not all("not completed" in answer.detail for answer in begun):
        problems.append("a stream that was cut looked complete to its client")
    if moved != _REPLICAS:
        problems.append(f"replicas moved to {moved} at constant load")
    seen = (
        f"{len(begun)} streams cut (clients see an incomplete chunked body), {unanswered} requests without an answer, "
        f"{len(refused)} connections refused; all {len(other)} through the other gateway answered; {seen}"
    )
    return await conclude(
        world, name, "one gateway of two SIGKILLed", answers, planned=False, seen=seen, problems=problems, cut=cut
    )


async def _busy(world: World, victim: Object) -> bool:
    return (await world.metric(victim, "penstock_gateway_requests_in_flight", port=names.GATEWAY_ADMIN_PORT) or 0) >= 3


async def _left(world: World, victim: Object) -> bool:
    return victim["status"]["podIP"] not in world.doors


async def _both(world: World) -> bool:
    return len(world.doors) == 2


async def _restarted(world: World, victim: Object) -> bool:
    before = victim["status"]["containerStatuses"][0]["restartCount"]
    for pod in await world.gateways():
        if pod["metadata"]["uid"] == victim["metadata"]["uid"] and is_ready(pod):
            return bool(pod["status"]["containerStatuses"][0]["restartCount"] > before)
    return False


async def _decides(world: World, service: str) -> bool:
    return bool((await world.condition(service, "ScalingActive")).get("status") == "True")
