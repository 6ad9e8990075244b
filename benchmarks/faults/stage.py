"""Setting the world up: checkpoint, emulated device, chart."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp

from penstock_contract.profile import Profile
from penstock_contract.step import StepModel
from penstock_lab.cluster.local import LocalCluster
from penstock_lab.install import install
from penstock_lab.kube import Kube

from .traffic import VOCABULARY
from .world import World

# Sixteen sequences at 40 ms a step: at most 400 generated tokens/s per replica.
PROFILE = Profile(
    name="faults-emulated",
    model=StepModel(c0=0.04, cB=0.0, cKV=0.0, cP=0.0, cPP=0.0),
    kv_tokens=32_768,
    max_num_seqs=16,
    max_num_batched_tokens=1024,
    accelerators=1,
    startup_seconds=1.0,
    source="made up for the fault tests: slow enough that two cores can run a handful of workers",
)


def make_models(folder: Path) -> None:
    """Write the tiny checkpoint and the profile into the folder that workers see as /models."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "penstock_operator.cli", "model", "make-tiny", str(folder / "tiny")]
    subprocess.run([*command, f"--vocab={VOCABULARY}"], check=True, capture_output=True)
    write_profile(folder)


def write_profile(folder: Path) -> None:
    """Write the emulated device's profile into that folder."""
    (folder / "faults.json").write_text(json.dumps(PROFILE.to_json()), encoding="utf-8")


@asynccontextmanager
async def world(cluster: LocalCluster, *, say: Callable[[str], None] = lambda _: None) -> AsyncIterator[World]:
    """Install the chart with its defaults (but a tick of 2 s) and follow its gateways."""
    release = await asyncio.to_thread(install, cluster, values={"operator": {"tickSeconds": 2}})
    async with Kube.from_kubeconfig(cluster.kubeconfig, timeout_seconds=10) as kube, aiohttp.ClientSession() as http:
        made = World(release, kube, http, say)
        following = asyncio.create_task(made.follow_doors())
        try:
            await made.until(lambda: _both(made), what="two gateways are ready")
            yield made
        finally:
            following.cancel()
            with suppress(asyncio.CancelledError):
                await following


async def _both(made: World) -> bool:
    return len(made.doors) == 2
