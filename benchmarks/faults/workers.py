"""Workers that die, hang, or never come."""

from __future__ import annotations

import asyncio
import signal

from penstock_lab.load.schedule import Phase

from .result import Result, conclude, cut_off, judged, slowest
from .traffic import Traffic
from .world import GPUS, SERVICES, Object, ScenarioError, World, is_ready, scaling

_FOREVER = 600.0


async def killed(world: World) -> Result:
    """SIGKILL of a worker: its unfinished streams fail and are told so, nothing else does."""
    async with world.service("wkill", ready=2) as name:
        async with Traffic(world.pick(name), name, (Phase("steady", _FOREVER, 8.0),)) as traffic:
            await world.until(lambda: traffic.has_ended(30), what="traffic")
            victim = (await world.ready(name))[0]
            running = await world.metric(victim, "penstock_worker_requests_running")
            world.signal(victim, signal.SIGKILL)
            await world.until(lambda: _restarted(world, name, victim), what="the worker is back")
            after = len(traffic.answers)
            await world.until(lambda: traffic.has_ended(after + 40), what="traffic afterwards")
            answers = await traffic.stop()
        return await judged(
            world, name, "worker SIGKILLed", answers, victims=[victim],
            seen=f"{running:.0f} streams ran on it just before; restarted in place",
        )  # fmt: skip


async def hung(world: World) -> Result:
    """SIGSTOP of a worker: it accepts and never answers, until its liveness probe has it restarted."""
    async with world.service("whang", ready=2, drain={"timeoutSeconds": 10}) as name:
        async with Traffic(world.pick(name), name, (Phase("steady", _FOREVER, 8.0),)) as traffic:
            await world.until(lambda: traffic.has_ended(30), what="traffic")
            victim = (await world.ready(name))[0]
            loop = asyncio.get_running_loop()
            stopped = loop.time()
            world.signal(victim, signal.SIGSTOP)
            await world.until(lambda: _unready(world, name, victim), what="its pod is not ready")
            unready = loop.time() - stopped
            await world.until(lambda: _restarted(world, name, victim), what="it is restarted", seconds=240)
            back = loop.time() - stopped
            after = len(traffic.answers)
            await world.until(lambda: traffic.has_ended(after + 40), what="traffic afterwards")
            answers = await traffic.stop()
        told, slow = cut_off(answers), slowest(answers)
        return await judged(
            world, name, "worker hangs (SIGSTOP)", answers, victims=[victim],
            seen=f"not ready after {unready:.0f} s, back after {back:.0f} s; {told}slowest first token {slow:.0f} s",
        )  # fmt: skip


async def pending(world: World) -> Result:
    """Load asks for more replicas than there are GPUs for."""
    runtime = {
        "image": "penstock/worker:dev",
        "args": ["--emulate-device=/models/faults.json"],
        "accelerator": {"count": GPUS // 2 - 1},  # one fits on each of two nodes
        "tensorParallelSize": 1,
    }
    async with world.service("pending", runtime=runtime, scaling=scaling(1, 6)) as name:
        most = 0
        async with Traffic(world.pick(name), name, (Phase("steady", _FOREVER, 9.0),)) as traffic:

            async def stuck() -> bool:
                pods = await world.workers(name)
                nonlocal most
                most = max(most, len(pods))
                return sum(map(is_ready, pods)) == 2 and any(not is_ready(pod) for pod in pods)

            await world.until(stuck, what="two run, one waits for a node")
            found = await _told(world, name)
            for _ in range(30):
                await stuck()
                await asyncio.sleep(1)
            answers = await traffic.stop()
        problems = [] if most <= 6 else [f"{most} pods, maxReplicas is 6"]
        seen = f"two run; at most {most} pods of maxReplicas 6; {found}"
        return await conclude(
            world, name, "replicas that find no node (Pending)", answers, seen=seen, problems=problems
        )


async def _told(world: World, name: str) -> str:
    try:
        return str(await world.until(lambda: _limited(world, name), what="the conditions say it"))
    except ScenarioError as error:
        conditions = (await world.kube.get(SERVICES, name, namespace=name))["status"]["conditions"]
        raise ScenarioError(f"{error}; conditions: {conditions}") from error


async def _limited(world: World, name: str) -> str:
    limited, progress = await world.condition(name, "ScalingLimited"), await world.condition(name, "Progressing")
    if (limited.get("reason"), progress.get("reason")) != ("Quota", "Unschedulable"):
        return ""
    return f"ScalingLimited={limited['status']} (Quota), Progressing={progress['status']} (Unschedulable)"


async def _unready(world: World, name: str, victim: Object) -> bool:
    uid = victim["metadata"]["uid"]
    return uid not in {pod["metadata"]["uid"] for pod in await world.ready(name)}


async def _restarted(world: World, name: str, victim: Object) -> bool:
    before = victim["status"]["containerStatuses"][0]["restartCount"]
    for pod in await world.ready(name):
        if pod["metadata"]["uid"] == victim["metadata"]["uid"]:
            return bool(pod["status"]["containerStatuses"][0]["restartCount"] > before)
    return False
