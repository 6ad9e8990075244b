"""The node agent put together: nodes, one watch over all pods, and a runner per pod of ours."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import signal
from typing import TYPE_CHECKING, Any, Final

import aiohttp

from penstock_lab.kube import Kube
from penstock_lab.nodeagent import environment, strays
from penstock_lab.nodeagent.addresses import AddressPool
from penstock_lab.nodeagent.configs import ConfigSource
from penstock_lab.nodeagent.events import EventRecorder
from penstock_lab.nodeagent.guard import Guard
from penstock_lab.nodeagent.images import ImageTable
from penstock_lab.nodeagent.journal import Journal
from penstock_lab.nodeagent.launch import Machine
from penstock_lab.nodeagent.nodes import Nodes
from penstock_lab.nodeagent.pod import PodRunner
from penstock_lab.nodeagent.reflector import Listing, Reflector
from penstock_lab.nodeagent.resources import PODS
from penstock_lab.nodeagent.starter import Starter

if TYPE_CHECKING:
    from penstock_lab.nodeagent.settings import Settings

_LOG: Final = logging.getLogger(__name__)
_STOP_SLACK_SECONDS: Final = 2.0


class Agent:
    """All pods of all nodes of one agent."""

    def __init__(self, *, machine: Machine, nodes: Nodes) -> None:
        self._machine = machine
        self._nodes = nodes
        self._runners: dict[str, PodRunner] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        state = machine.settings.state_dir
        self._journal = Journal(state / "pods.json", self._describe)
        self._clean = False

    async def serve(self) -> None:
        """Register the nodes and run pods until cancelled."""
        await self._nodes.register()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._nodes.keep_alive())
            group.create_task(self._machine.events.run())
            group.create_task(self._follow())

    async def stop(self) -> None:
        """End all pods in order, within the bound that the settings give."""
        seconds = self._machine.settings.stop_seconds
        for runner in self._runners.values():
            runner.stop(seconds)
        if tasks := list(self._tasks.values()):
            _, late = await asyncio.wait(tasks, timeout=seconds + _STOP_SLACK_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await self._nodes.mark_stopped()
        self._journal.write()

    async def _follow(self) -> None:
        pods = Reflector(self._machine.kube, PODS, fieldSelector="spec.nodeName!=")
        async with contextlib.aclosing(pods.follow()) as news:
            async for item in news:
                if isinstance(item, Listing):
                    self._on_listing(item.objects)
                elif item.gone:
                    self._on_gone(item.object["metadata"]["uid"])
                else:
                    self._on_pod(item.object)

    def _on_listing(self, pods: list[dict[str, Any]]) -> None:
        present = {pod["metadata"]["uid"] for pod in pods}
        for uid in self._runners.keys() - present:
            self._on_gone(uid)
        if not self._clean:
            self._clean = True
            self._remove_folders(present)
        for pod in pods:
            self._on_pod(pod)

    def _on_pod(self, pod: dict[str, Any]) -> None:
        uid, node = pod["metadata"]["uid"], self._nodes.infos.get(pod["spec"].get("nodeName", ""))
        if uid in self._runners:
            self._runners[uid].update(pod)
        elif node is not None:
            runner = PodRunner(pod=pod, node=node, machine=self._machine, changed=self._journal.touch)
            task = asyncio.create_task(runner.run(), name=f"pod {pod['metadata']['name']}")
            self._runners[uid], self._tasks[uid] = runner, task
            task.add_done_callback(lambda done: self._on_done(uid, done))

    def _on_gone(self, uid: str) -> None:
        # A runner stays known until its object is gone, lest a late update of a finished pod start it again.
        if runner := self._runners.get(uid):
            runner.vanish()
            if uid not in self._tasks:
                del self._runners[uid]
                self._journal.touch()

    def _on_done(self, uid: str, task: asyncio.Task[None]) -> None:
        del self._tasks[uid]
        if not task.cancelled() and (error := task.exception()) is not None:
            _LOG.error("pod.failed uid=%s", uid, exc_info=error)
        if self._runners[uid].vanished:
            del self._runners[uid]
        self._journal.touch()

    def _remove_folders(self, present: set[str]) -> None:
        """Remove what pods left that were deleted while no agent ran."""
        for folder in (self._machine.settings.state_dir / "pods").iterdir():
            if folder.name not in present:
                shutil.rmtree(folder, ignore_errors=True)

    def _describe(self) -> list[dict[str, Any]]:
        return [runner.describe() for uid, runner in self._runners.items() if uid in self._tasks]


async def run(settings: Settings) -> None:
    """Run a node agent until SIGTERM or SIGINT, then end its pods."""
    root = settings.state_dir
    marks = [f"{environment.CLUSTER_MARK}={settings.cluster_id}", f"{environment.POD_MARK}="]
    for folder in ("logs", "pods"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    images, addresses = ImageTable(settings.images), AddressPool(settings.address_prefix)
    await strays.end(marks)
    with contextlib.closing(Guard(marks=marks, environment={marks[0].split("=")[0]: settings.cluster_id})):
        connector = aiohttp.TCPConnector(force_close=True, limit=0, ssl=False)
        async with (
            Kube.from_kubeconfig(settings.kubeconfig) as kube,
            aiohttp.ClientSession(connector=connector) as session,
        ):
            machine = Machine(
                settings=settings,
                kube=kube,
                session=session,
                images=images,
                configs=ConfigSource(kube),
                events=EventRecorder(kube),
                addresses=addresses,
                starter=Starter(environment=settings.environment, cluster_id=settings.cluster_id, folder=root / "logs"),
            )
            agent = Agent(machine=machine, nodes=Nodes(kube=kube, settings=settings, addresses=addresses))
            await _serve_until(stop, agent)


async def _serve_until(stop: asyncio.Event, agent: Agent) -> None:
    serving = asyncio.create_task(agent.serve())
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([serving, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    try:
        if serving.done():
            serving.result()
    finally:
        serving.cancel()
        await asyncio.gather(serving, stopping, return_exceptions=True)
        await agent.stop()
