"""A machine that dies with all it runs: at once, or without a word.

It dies at once when its processes are killed: connections are reset, addresses refuse. It dies without a word when they
are stopped (SIGSTOP): no heartbeat, nothing answers, and no connection ends, as after a loss of power or a partition;
only the kernel still completes handshakes. Its pods stay in the API until somebody says that it will not return.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import psutil

from penstock_lab.cluster import processes
from penstock_lab.cluster.addresses import Reservations
from penstock_lab.cluster.settings import CLUSTER_ENV
from penstock_lab.cluster.spec import Layout, new_id
from penstock_lab.kube import KubeError, Resource
from penstock_lab.load.schedule import Phase

from .result import Result, cut_off, judged, slowest
from .traffic import Traffic
from .world import PODS, Object, ScenarioError, World, is_ready, scaling

_NODES = Resource("v1", "nodes")
_FOREVER = 600.0
_REPLICAS = 3
_PER_WORKER = 2  # GPUs: while the first node takes no pods, two workers fit on the second and one on ours
_RUNTIME = {
    "image": "penstock/worker:dev",
    "args": ["--emulate-device=/models/faults.json"],
    "accelerator": {"count": _PER_WORKER},
    "tensorParallelSize": 1,
}


@dataclass(frozen=True, slots=True)
class Node:
    """A machine of the cluster that can die.

    Attributes:
        name: of its Node.
        mark: in the environment of all its processes.
    """

    name: str
    mark: str

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the agent and to every process of its pods."""
        for process in processes.find(self.mark):
            with suppress(psutil.NoSuchProcess):
                os.kill(process.pid, number)


async def killed(world: World) -> Result:
    """SIGKILL of a node: what ran there is gone at once."""
    return await _dies(world, "nodekill", "node dies (SIGKILL of all it runs)", signal.SIGKILL)


async def silent(world: World) -> Result:
    """SIGSTOP of a node: what ran there never answers again."""
    return await _dies(world, "nodestop", "node falls silent (SIGSTOP of all it runs)", signal.SIGSTOP)


async def _dies(world: World, service: str, title: str, number: signal.Signals) -> Result:
    shape = scaling(_REPLICAS, _REPLICAS + 2, tokens=350)
    async with (
        _joined(world, f"{service}-node") as node,
        _served(world, service, shape) as name,
    ):
        victims = [pod for pod in await world.ready(name) if pod["spec"]["nodeName"] == node.name]
        if not victims:
            raise ScenarioError(f"no worker of {name} runs on {node.name}")
        await world.until(lambda: _decides(world, name), what="signals are fresh")
        async with Traffic(world.pick(name), name, (Phase("steady", _FOREVER, 8.0),)) as traffic:
            await world.until(lambda: traffic.has_ended(30), what="traffic")
            loop = asyncio.get_running_loop()
            died = loop.time()
            node.signal(number)
            await world.until(lambda: _lost(world, node), what="the node is not ready")
            noticed = loop.time() - died
            await world.until(lambda: _replaced(world, name, node), what="its workers are replaced", seconds=120)
            replaced = loop.time() - died
            await world.until(lambda: _decides(world, name), what="the operator decides again")
            decides, count = loop.time() - died, await world.replicas(name)
            after = len(traffic.answers)
            await world.until(lambda: traffic.has_ended(after + 40), what="traffic afterwards")
            answers = await traffic.stop()
        told, slow = cut_off(answers), slowest(answers)
        seen = (
            f"{len(victims)} of {_REPLICAS} workers ran there; {told}slowest first token {slow:.1f} s; node not ready "
            f"after {noticed:.0f} s, workers replaced elsewhere after {replaced:.0f} s, signals complete by "
            f"{decides:.0f} s, replicas {count}"
        )
        problems = [] if count == _REPLICAS else [f"replicas moved to {count} at constant load"]
        result = await judged(world, name, title, answers, victims=victims, seen=seen, problems=problems)
        await _forget(world, name, node)
        return result


@asynccontextmanager
async def _served(world: World, service: str, shape: Object) -> AsyncIterator[str]:
    """The service, started while the first node takes no pods."""
    first = "node-1"
    await world.kube.patch(_NODES, first, {"spec": {"unschedulable": True}})
    try:
        async with world.service(service, ready=_REPLICAS, scaling=shape, runtime=_RUNTIME) as name:
            await world.kube.patch(_NODES, first, {"spec": {"unschedulable": None}})
            yield name
    finally:
        await world.kube.patch(_NODES, first, {"spec": {"unschedulable": None}})


@asynccontextmanager
async def _joined(world: World, name: str) -> AsyncIterator[Node]:
    """A further node, with GPUs for one worker, ready; gone with its Node afterwards."""
    cluster = world.release.cluster
    layout, reservations = Layout(cluster.state_dir), Reservations()
    node = Node(name, new_id(cluster.state_dir))
    command = [
        *(sys.executable, "-m", "benchmarks.faults.kubelet", name),
        *("--kubeconfig", str(layout.credentials("penstock-node-agent"))),
        *("--gpus-per-node", str(_PER_WORKER)),
        *("--address-prefix", reservations.prefix(preferred_by=node.mark)),
        *("--state-dir", str(cluster.state_dir / name)),
        *("--images", str(layout.root / "images.yaml")),
        *("--cluster-id", node.mark),
    ]
    with layout.log(name).open("wb") as log:
        agent = await asyncio.create_subprocess_exec(
            *command,
            env=os.environ | {CLUSTER_ENV: node.mark},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=processes.dies_with_parent(signal.SIGKILL),
        )
    try:
        await world.until(lambda: _ready(world, name), what=f"{name} is ready")
        yield node
    finally:
        node.signal(signal.SIGKILL)
        await agent.wait()
        reservations.close()
        with suppress(KubeError):  # it was taken out of the cluster already
            await world.kube.delete(_NODES, name)


async def _forget(world: World, service: str, node: Node) -> None:
    """What an administrator does about a machine that will not return: its Node goes, and its pods without waiting."""
    await world.kube.delete(_NODES, node.name)
    for pod in (await world.kube.list(PODS, namespace=service))["items"]:
        if pod["spec"].get("nodeName") == node.name:
            await world.kube.delete(PODS, pod["metadata"]["name"], namespace=service, grace_seconds=0)


async def _ready(world: World, name: str) -> bool:
    try:
        return is_ready(await world.kube.get(_NODES, name))
    except KubeError as error:
        if error.status == 404:
            return False
        raise


async def _lost(world: World, node: Node) -> bool:
    return not await _ready(world, node.name)


async def _replaced(world: World, service: str, node: Node) -> bool:
    pods: list[Object] = await world.ready(service)
    return len(pods) == _REPLICAS and all(pod["spec"]["nodeName"] != node.name for pod in pods)


async def _decides(world: World, service: str) -> bool:
    return bool((await world.condition(service, "ScalingActive")).get("status") == "True")
