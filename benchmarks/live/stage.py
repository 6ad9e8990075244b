"""The stage: checkpoint and profile, cluster, chart, one service per contestant, KEDA beside them."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from penstock_contract import names
from penstock_contract.profile import Profile
from penstock_lab.cluster.local import LocalCluster
from penstock_lab.install import Release, install
from penstock_lab.kube import Kube, Resource

from .contestants import SERVICE, WORKER, Contestant, other_scaler, service
from .keda import keda
from .scenario import PROFILE, VOCABULARY
from .watch import Watch, watching

NODES, GPUS_PER_NODE = 4, 8
SCRAPE_SECONDS = 5.0
SERVICES = Resource(names.API_VERSION, names.PLURAL)
NAMESPACES = Resource("v1", "namespaces")
_READY_SECONDS = 300.0


class StageError(Exception):
    """Something did not become as it should; the message says what."""


def make_models(folder: Path, *, profile: Profile = PROFILE) -> None:
    """Write the tiny checkpoint and the profile into the folder that workers see as /models."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "penstock_operator.cli", "model", "make-tiny", str(folder / "tiny")]
    subprocess.run([*command, f"--vocab={VOCABULARY}"], check=True, capture_output=True)
    (folder / "live.json").write_text(json.dumps(profile.to_json()), encoding="utf-8")


@dataclass(slots=True)
class Stage:
    """What runs.

    Attributes:
        cluster: the control plane.
        kube: its API server.
        release: the installed chart.
        watch: pods and counts.
        gateway: base URL of the gateway.
    """

    cluster: LocalCluster
    kube: Kube
    release: Release
    watch: Watch
    gateway: str

    async def begin(
        self,
        contestants: Sequence[Contestant],
        *,
        replicas: int,
        stabilization_seconds: int | None = None,
        image: str = WORKER,
    ) -> None:
        """A service per contestant, each with so many ready replicas.

        Args:
            contestants: who.
            replicas: to begin with.
            stabilization_seconds: of everybody's scale-down; None = everybody's own default.
            image: of the workers.

        Raises:
            StageError: they were not ready in time.
        """
        for one in contestants:
            await self.kube.create(NAMESPACES, _namespace(one.name))
            made = service(one, replicas=replicas, stabilization_seconds=stabilization_seconds, image=image)
            await self.kube.create(SERVICES, made, namespace=one.name)
        for one in contestants:
            await until(partial(self._ready, one.name, replicas), what=f"{replicas} replicas of {one.name}")

    async def release_counts(self, contestants: Sequence[Contestant], *, stabilization_seconds: int | None) -> None:
        """From now on everybody may go down to one replica: ours by its bounds, the others take over."""
        for one in contestants:
            scaling: dict[str, Any] = {"minReplicas": 1}
            if not one.ours:
                scaling["mode"] = "Paused"
            await self.kube.patch(SERVICES, SERVICE, {"spec": {"scaling": scaling}}, namespace=one.name)
        for one in contestants:
            if not one.ours:
                made = other_scaler(
                    one, prometheus=self.cluster.prometheus_url, stabilization_seconds=stabilization_seconds
                )
                await self.kube.apply(made, manager="bench")

    def url(self, contestant: Contestant) -> str:
        """Of the contestant's service at the gateway."""
        return f"{self.gateway}/{contestant.name}/{SERVICE}"

    async def _ready(self, name: str, replicas: int) -> bool:
        return self.watch.serving(name, self.watch.now) == replicas


@asynccontextmanager
async def stage(
    cluster: LocalCluster, *, out: Path, say: Callable[[str], None], others: bool = True
) -> AsyncIterator[Stage]:
    """Install the chart with its defaults but one gateway, run KEDA, and follow all pods.

    Args:
        cluster: that is up.
        out: folder of logs.
        say: called with a line per step.
        others: run KEDA.
    """
    release = await asyncio.to_thread(install, cluster, values={"gateway": {"replicas": 1}})
    async with AsyncExitStack() as stack:
        kube = await stack.enter_async_context(Kube.from_kubeconfig(cluster.kubeconfig))
        if others:
            await stack.enter_async_context(keda(cluster, kube, folder=out / "keda", say=say))
        watch = await stack.enter_async_context(watching(kube))
        address = release.address("gateway")
        yield Stage(cluster, kube, release, watch, f"http://{address}:{names.GATEWAY_PORT}")


async def until(probe: Callable[[], Awaitable[bool]], *, what: str, seconds: float = _READY_SECONDS) -> None:
    """Wait until something is so.

    Raises:
        StageError: it was not in time.
    """
    try:
        async with asyncio.timeout(seconds):
            while not await probe():  # noqa: ASYNC110 - asked of a cluster, nothing sets an event
                await asyncio.sleep(0.25)
    except TimeoutError as error:
        raise StageError(f"not within {seconds:.0f} s: {what}") from error


def _namespace(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
