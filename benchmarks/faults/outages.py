"""Parts of the control plane away, and services at zero."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from penstock_lab.load.schedule import Phase

from .result import Result, conclude
from .traffic import Answer, Traffic
from .world import World, scaling

_FOREVER = 600.0
_DOWN_SECONDS = 30.0


@asynccontextmanager
async def _down(world: World, component: str) -> AsyncIterator[None]:
    await asyncio.to_thread(world.release.cluster.stop, component)
    try:
        yield
    finally:
        await asyncio.to_thread(world.release.cluster.start, component)


async def api_server(world: World) -> Result:
    """No API server for half a minute: what is known goes on."""
    async with world.service("apidown", ready=2, scaling=scaling(2, 4, tokens=350)) as name:
        async with Traffic(world.pick(name), name, (Phase("steady", _FOREVER, 8.0),)) as traffic:
            await world.until(lambda: traffic.has_ended(16), what="traffic")
            async with _down(world, "kube-apiserver"):
                during = len(traffic.answers)
                await asyncio.sleep(_DOWN_SECONDS)  # the length of the outage is what is asked about
                during = len(traffic.answers) - during
            await world.until(lambda: world.has_ready(name, 2), what="two replicas, seen again")
            after = len(traffic.answers)
            await world.until(lambda: traffic.has_ended(after + 40), what="traffic afterwards")
            answers = await traffic.stop()
        return await conclude(
            world, name, "API server down for 30 s", answers, seen=f"{during} requests ended meanwhile"
        )


async def prometheus(world: World) -> Result:
    """No Prometheus for half a minute: traffic goes on, the workers are asked, replicas are as many as are needed."""
    async with world.service("promdown", ready=2, scaling=scaling(2, 4, tokens=350)) as name:
        await world.until(lambda: _active(world, name, "True"), what="signals are fresh")
        async with Traffic(world.pick(name), name, (Phase("steady", _FOREVER, 8.0),)) as traffic:
            # An outage in the first seconds of a load would meet an estimate of its answers' length from a few of them.
            await world.until(lambda: traffic.has_ended(100), what="traffic, long enough to know its answers' length")
            async with _down(world, "prometheus"):
                await world.until(lambda: _asked(world, name), what="the condition says so")
                counts = set()
                for _ in range(int(_DOWN_SECONDS)):
                    counts.add(await world.replicas(name))
                    await asyncio.sleep(1)
                reason = (await world.condition(name, "ScalingActive"))["reason"]
            after = len(traffic.answers)
            await world.until(lambda: traffic.has_ended(after + 40), what="traffic afterwards")
            answers = await traffic.stop()
        problems = [] if counts == {2} else [f"replicas moved at constant load: {sorted(counts)}"]
        seen = f"replicas stayed at {', '.join(map(str, sorted(counts)))}; ScalingActive={reason}"
        return await conclude(world, name, "Prometheus down for 30 s", answers, seen=seen, problems=problems)


async def zero(world: World) -> Result:
    """Idle, no pods, a request is held, a pod comes, an answer: twice."""
    return await _zero(world, "zero", "zero: idle → no pods → held → answer", away=False)


async def zero_without_prometheus(world: World) -> Result:
    """The same wake-up with Prometheus away."""
    return await _zero(world, "zeroprom", "wake from zero with Prometheus down", away=True)


async def _zero(world: World, name: str, title: str, *, away: bool) -> Result:
    shape = scaling(0, 2, tokens=350, idleSeconds=5)
    async with world.service(name, ready=0, scaling=shape):
        answers = await _burst(world, name, seed=1)
        await world.until(lambda: world.has_ready(name, 0), what="idle: no pod is left", seconds=120)
        if away:
            async with _down(world, "prometheus"):
                second = await _burst(world, name, seed=2)
        else:
            second = await _burst(world, name, seed=2)
        firsts = sorted(answer.ttft for answer in second if answer.ttft is not None)
        seen = f"woken from idle: first token after {firsts[0]:.1f} to {firsts[-1]:.1f} s" if firsts else "no token"
        return await conclude(world, name, title, [*answers, *second], seen=seen)


async def _burst(world: World, name: str, *, seed: int) -> list[Answer]:
    """Ten requests in two seconds or so, all answered or failed."""
    async with Traffic(world.pick(name), name, (Phase("wake", 3.0, 4.0),), seed=seed) as traffic:
        return list(await traffic.ended())


async def _asked(world: World, service: str) -> bool:
    return bool((await world.condition(service, "ScalingActive")).get("reason") == "SignalsFromPods")


async def _active(world: World, service: str, status: str) -> bool:
    return bool((await world.condition(service, "ScalingActive")).get("status") == status)
