"""Planned actions: whatever an operator or the operator does every day. Nothing may fail."""

from __future__ import annotations

import asyncio
import signal

from penstock_lab.kube import KubeError
from penstock_lab.load.schedule import Lengths, Phase

from .result import Result, conclude
from .traffic import Traffic
from .world import DEPLOYMENTS, PODS, World, draining, is_ready, scaling

LONG = Lengths(prompt=(16, 48), output=(150, 250))  # 6 to 10 s: a drain has something to wait for
_FOREVER = 600.0


async def scale(world: World) -> Result:
    """Load that rises and falls takes the service from one replica to four and back."""
    async with world.service("scale", scaling=scaling(1, 4)) as name:
        phases = (Phase("quiet", 10, 2.0), Phase("burst", 35, 10.0), Phase("quiet again", _FOREVER, 1.0))
        async with Traffic(world.pick(name), name, phases) as traffic:
            await world.until(lambda: world.has_ready(name, 4), what="four replicas")
            grown = _elapsed(traffic)
            await world.until(lambda: world.has_ready(name, 1), what="one replica again", seconds=150)
            answers = await traffic.stop()
        drained = len(await world.events(name, "ScaledDown"))
        seen = f"four ready {grown:.0f} s after the start of the load, back to one in {drained} steps"
        return await conclude(world, name, "scale 1 → 4 → 1 by load", answers, seen=seen)


async def rollout(world: World) -> Result:
    """An edit of `runtime.env` replaces every worker."""
    async with world.service("rollout", ready=2) as name:
        before = {pod["metadata"]["uid"] for pod in await world.workers(name)}
        async with Traffic(world.pick(name), name, (Phase("steady", _FOREVER, 8.0),)) as traffic:
            await _answered(world, traffic, 16)
            await world.patch(name, {"runtime": {"env": [{"name": "LOG_LEVEL", "value": "debug"}]}})

            async def replaced() -> bool:
                after = {pod["metadata"]["uid"] for pod in await world.workers(name)}
                return not before & after and await world.has_ready(name, 2)

            await world.until(replaced, what="both workers replaced", seconds=150)
            await _answered(world, traffic, 16)
            answers = await traffic.stop()
        return await conclude(world, name, "rolling update (`runtime.env`)", answers, seen="both workers replaced")


async def evict(world: World) -> Result:
    """The eviction API, as `kubectl drain` calls it, takes a pod under load."""
    async with world.service("evict", ready=2) as name:
        async with Traffic(world.pick(name), name, (Phase("steady", _FOREVER, 8.0),)) as traffic:
            await _answered(world, traffic, 16)
            victim = (await world.ready(name))[0]["metadata"]
            eviction = {
                "apiVersion": "policy/v1",
                "kind": "Eviction",
                "metadata": {"name": victim["name"], "namespace": name},
            }
            await world.kube.create(PODS, eviction, namespace=name, name=victim["name"], sub="eviction")

            async def replaced() -> bool:
                names = {pod["metadata"]["name"] for pod in await world.workers(name)}
                return victim["name"] not in names and await world.has_ready(name, 2)

            await world.until(replaced, what="the evicted worker is replaced")
            await _gone(world, name, victim["name"])
            await _answered(world, traffic, 16)
            answers = await traffic.stop()
        return await conclude(
            world,
            name,
            "eviction of a worker (`kubectl drain`)",
            answers,
            seen="evicted and replaced",
        )


async def cancel(world: World) -> Result:
    """Load returns while replicas drain: they serve again."""
    async with world.service("cancel", ready=3, scaling=scaling(3, 3, tokens=200)) as name:
        phases = (Phase("low", _FOREVER, 0.7),)
        async with Traffic(world.pick(name), name, phases, lengths=LONG) as low:
            await world.until(lambda: _busy(world, name), what="every worker has a stream")
            await world.patch(name, {"scaling": {"minReplicas": 1}})
            marked = await world.until(lambda: _marked(world, name), what="a worker drains")
            async with Traffic(world.pick(name), name, (Phase("high", _FOREVER, 10.0),), seed=12) as high:

                async def cancelled() -> bool:
                    return bool(await world.events(name, "DrainCancelled")) and not await _marked(world, name)

                await world.until(cancelled, what="the drain is cancelled")
                await _answered(world, high, 60)
                left = {pod["metadata"]["name"] for pod in await world.workers(name)}
                answers = [*await high.stop(), *await low.stop()]
        kept = len(left & set(marked))
        seen = f"{len(marked)} draining, {kept} of them kept and serving again"
        problems = [] if kept else ["no draining worker was kept"]
        return await conclude(world, name, "drain cancelled by returning load", answers, seen=seen, problems=problems)


async def operator_killed(world: World) -> Result:
    """SIGKILL of the operator while replicas drain; its successor goes on. The load is small: one replica is plenty."""
    async with world.service("opkill", ready=3, scaling=scaling(3, 3, tokens=4000)) as name:
        async with Traffic(world.pick(name), name, (Phase("low", _FOREVER, 0.7),), lengths=LONG) as traffic:
            await world.until(lambda: _busy(world, name), what="every worker has a stream")
            await world.patch(name, {"scaling": {"minReplicas": 1}})
            marked = await world.until(lambda: _marked(world, name), what="a worker drains")
            pod = world.release.pods("operator")[0]
            world.signal(pod, signal.SIGKILL)
            killed = asyncio.get_running_loop().time()
            await world.until(lambda: world.has_ready(name, 1), what="one replica is left", seconds=180)
            took = asyncio.get_running_loop().time() - killed
            left = {pod["metadata"]["name"] for pod in await world.workers(name)}
            answers = await traffic.stop()
        restarted = world.release.pods("operator")[0]["status"]["containerStatuses"][0]["restartCount"]
        cancelled = [str(one.get("message") or one.get("note")) for one in await world.events(name, "DrainCancelled")]
        how = "cancelled and begun again" if cancelled else "the drain went on"
        seen = f"{len(marked)} draining when killed; {how}; one replica left {took:.0f} s later"
        problems = [] if restarted else ["the operator did not restart"]
        problems += [f"its successor cancelled the drain: {why}" for why in cancelled]
        problems += ["a replica that drained is the one that is left"] if left & set(marked) else []
        return await conclude(world, name, "operator SIGKILLed in mid-drain", answers, seen=seen, problems=problems)


async def gateway_deleted(world: World) -> Result:
    """`kubectl delete pod` of one gateway of two."""
    async with world.service("gwpod", ready=2) as name:
        async with Traffic(world.pick(name), name, (Phase("steady", _FOREVER, 8.0),)) as traffic:
            await _answered(world, traffic, 16)
            victim = (await world.gateways())[0]["metadata"]
            await world.kube.delete(PODS, victim["name"], namespace=world.release.namespace)
            await world.until(lambda: _gateways(world, without={victim["uid"]}), what="a new gateway is ready")
            await _gone(world, world.release.namespace, victim["name"])
            await _answered(world, traffic, 16)
            answers = await traffic.stop()
        return await conclude(world, name, "one gateway of two deleted", answers, seen="a new one took its place")


async def gateway_rollout(world: World) -> Result:
    """`kubectl rollout restart` of the gateways."""
    async with world.service("gwroll", ready=2) as name:
        async with Traffic(world.pick(name), name, (Phase("steady", _FOREVER, 8.0),)) as traffic:
            await _answered(world, traffic, 16)
            await _replace_gateways(world)
            await _answered(world, traffic, 16)
            answers = await traffic.stop()
        return await conclude(world, name, "rollout restart of the gateways", answers, seen="both replaced")


async def gateway_rollout_at_zero(world: World) -> Result:
    """The same while requests are held and no replica is there: who leaves still holds them."""
    shape = scaling(0, 2, tokens=350, idleSeconds=5)
    async with world.service("gwzero", ready=0, scaling=shape) as name:
        async with Traffic(world.pick(name), name, (Phase("wake", 4.0, 4.0),)) as traffic:
            await world.until(lambda: world.held(name), what="requests are held")
            await _replace_gateways(world)
            answers = list(await traffic.ended())
        seen = "both replaced while they held requests of a service at zero"
        return await conclude(world, name, "rollout restart of the gateways at zero", answers, seen=seen)


async def _replace_gateways(world: World) -> None:
    old = {pod["metadata"]["uid"]: pod["metadata"]["name"] for pod in await world.gateways()}
    deployment = (await world.kube.list(DEPLOYMENTS, namespace=world.release.namespace))["items"]
    target = next(item["metadata"]["name"] for item in deployment if "gateway" in item["metadata"]["name"])
    note = {"kubectl.kubernetes.io/restartedAt": f"{asyncio.get_running_loop().time():.0f}"}
    template = {"spec": {"template": {"metadata": {"annotations": note}}}}
    await world.kube.patch(DEPLOYMENTS, target, template, namespace=world.release.namespace)
    await world.until(lambda: _gateways(world, without=set(old)), what="two new gateways", seconds=180)
    for pod in old.values():
        await _gone(world, world.release.namespace, pod)


async def _answered(world: World, traffic: Traffic, more: int) -> None:
    """Wait until so many further requests have ended."""
    goal = len(traffic.answers) + more

    async def reached() -> bool:
        return len(traffic.answers) >= goal

    await world.until(reached, what=f"{more} more requests have ended", seconds=120)


def _elapsed(traffic: Traffic) -> float:
    return max((answer.at for answer in traffic.answers), default=0.0)


async def _busy(world: World, service: str) -> bool:
    running = [await world.metric(pod, "penstock_worker_requests_running") for pod in await world.ready(service)]
    return bool(running) and all(running)


async def _marked(world: World, service: str) -> list[str]:
    return [pod["metadata"]["name"] for pod in await world.workers(service) if draining(pod)]


async def _gateways(world: World, *, without: set[str]) -> bool:
    live = await world.gateways()
    return len(live) == 2 and all(is_ready(pod) and pod["metadata"]["uid"] not in without for pod in live)


async def _gone(world: World, namespace: str, pod: str) -> None:
    async def gone() -> bool:
        try:
            await world.kube.get(PODS, pod, namespace=namespace)
        except KubeError as error:
            if error.status == 404:
                return True
            raise
        return False

    await world.until(gone, what=f"pod {pod} has gone", seconds=200)
