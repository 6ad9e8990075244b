"""A real worker on an emulated device, servers that say what a test wants, and the pieces of a load against them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from rich.console import Console

from oddserver import OddServer, Script
from penstock_contract.profile import Profile
from penstock_contract.step import StepModel
from penstock_lab.load.endpoint import Endpoint
from penstock_lab.load.files import write_json
from penstock_lab.load.preflight import Ready
from penstock_lab.load.progress import Progress
from penstock_lab.load.prompts import Shape
from penstock_lab.load.report import Judgement, Objectives
from penstock_lab.load.run import Bench
from penstock_lab.load.sender import Limits
from worker_process import WorkerProcess, free_ports

STEP_SECONDS = 0.02
SEQUENCES = 4


@pytest.fixture(scope="session")
def worker(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Iterator[WorkerProcess]:
    """A worker that takes 20 ms a step and runs four requests at once: 200 output tokens/s at the most."""
    folder = tmp_path_factory.mktemp("load-worker")
    model = StepModel(c0=STEP_SECONDS, cB=0.0, cKV=0.0, cP=0.0, cPP=0.0)
    profile = Profile("even", model, 16_384, SEQUENCES, 512, 1, 0.0, "made up for tests")
    write_json(profile.to_json(), folder / "even.json")
    arguments = [f"--model={tiny}", "--served-model-name=tiny", "--threads=1", "--max-model-len=1024"]
    with WorkerProcess(*arguments, f"--emulate-device={folder / 'even.json'}", folder=folder) as process:
        process.wait_ready()
        yield process


Serve = Callable[[Script], Any]


@pytest_asyncio.fixture
async def serve() -> AsyncIterator[Serve]:
    """Starts a server with a script; gives it and its URL."""
    async with AsyncExitStack() as stack:

        async def start(script: Script) -> tuple[OddServer, str]:
            (port,) = free_ports(1)
            server = await stack.enter_async_context(OddServer("127.0.0.1", script, port=port))
            return server, f"http://127.0.0.1:{port}"

        yield start


@pytest.fixture
def bench() -> Callable[..., Bench]:
    """Makes a bench for a URL, without probes."""

    def make(
        url: str, *, warmup: float = 0.0, drain: float = 10.0, timeout: float = 60.0, **objectives: float
    ) -> Bench:
        endpoint = Endpoint(base=url, model="odd")
        return Bench(
            ready=Ready(endpoint, Shape(as_ids=True), None, ()),
            judgement=Judgement(objectives=Objectives(**objectives), most_lag=5.0),
            limits=Limits(request=timeout, drain=drain),
            warmup=warmup,
            progress=Progress(Console(), quiet=True),
        )

    return make
