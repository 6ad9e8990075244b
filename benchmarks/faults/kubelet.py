"""A machine of its own: `python -m benchmarks.faults.kubelet NODE OPTIONS…` runs a node agent for one Node, named so.

The cluster's own agent stands for all its Nodes at once, so none of them can die alone. This one is another process
with other children, and the kernel ends those with it: its SIGKILL is the death of a machine, heartbeat and pods in the
same moment. OPTIONS are those of `python -m penstock_lab.nodeagent`, for one node.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import sys

import aiohttp

from penstock_lab.kube import Kube
from penstock_lab.nodeagent.addresses import AddressPool
from penstock_lab.nodeagent.agent import Agent
from penstock_lab.nodeagent.configs import ConfigSource
from penstock_lab.nodeagent.events import EventRecorder
from penstock_lab.nodeagent.images import ImageTable
from penstock_lab.nodeagent.launch import Machine
from penstock_lab.nodeagent.nodes import Nodes
from penstock_lab.nodeagent.settings import Settings, parse_settings
from penstock_lab.nodeagent.starter import Starter


async def run(name: str, settings: Settings) -> None:
    """Stand for the Node until killed."""
    for folder in ("logs", "pods"):
        (settings.state_dir / folder).mkdir(parents=True, exist_ok=True)
    addresses = AddressPool(settings.address_prefix)
    connector = aiohttp.TCPConnector(force_close=True, limit=0, ssl=False)
    async with (
        Kube.from_kubeconfig(settings.kubeconfig) as kube,
        aiohttp.ClientSession(connector=connector) as session,
    ):
        machine = Machine(
            settings=settings,
            kube=kube,
            session=session,
            images=ImageTable(settings.images),
            configs=ConfigSource(kube),
            events=EventRecorder(kube),
            addresses=addresses,
            starter=Starter(
                environment=settings.environment, cluster_id=settings.cluster_id, folder=settings.state_dir / "logs"
            ),
        )
        nodes = Nodes(kube=kube, settings=settings, addresses=addresses)
        (info,) = nodes.infos.values()
        nodes.infos = {name: dataclasses.replace(info, name=name)}
        await Agent(machine=machine, nodes=nodes).serve()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    asyncio.run(run(sys.argv[1], parse_settings(sys.argv[2:], os.environ)))
