"""Tiny checkpoints of both families, engines over them, and a worker served from a thread of the test process."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests
from aiohttp import web

from late import Late
from penstock_contract.profile import Profile
from penstock_contract.step import StepModel
from penstock_lab.model import TinyModel, make_tiny
from penstock_worker.accounting import Accounting
from penstock_worker.checkpoint import open_checkpoint
from penstock_worker.config import ServeOptions, derive
from penstock_worker.engine import Engine, EngineThread, Output
from penstock_worker.replica import Replica
from penstock_worker.request import Request, Sampling
from penstock_worker.server import admin_app, serving_app
from penstock_worker.text import Text
from worker_process import Samples, parse_samples

loader, torch = Late("penstock_worker.loader"), Late("torch")
MODEL_NAME = "tiny"


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Tiny matrices on shared cores: more threads only wait for each other."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Qwen3 checkpoint."""
    folder = tmp_path_factory.mktemp("models") / "qwen"
    make_tiny(folder, TinyModel(seed=1, max_positions=2048))
    return folder


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama checkpoint with all its options: scaled rotary embedding, biases, tied head, several files."""
    folder = tmp_path_factory.mktemp("models") / "llama"
    spec = TinyModel(family="llama", seed=2, llama3_rope=True, bias=True, tied=True, shards=3, kv_heads=1, head_dim=24)
    make_tiny(folder, replace(spec, max_positions=1024))
    return folder


@pytest.fixture(scope="session")
def wordless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint without a tokenizer."""
    folder = tmp_path_factory.mktemp("models") / "wordless"
    make_tiny(folder, TinyModel(seed=3, layers=1, vocab=64, tokenizer=False, max_positions=512))
    return folder


@pytest.fixture(scope="session")
def slow_profile() -> Profile:
    """An emulated device on which a request lasts long enough to do something about it."""
    model = StepModel(c0=0.02, cB=1e-4, cKV=1e-7, cP=1e-5, cPP=1e-9)
    return Profile("slow", model, 8192, 8, 512, 1, 0.0, "made up for tests")


def _options(model: Path, **flags: Any) -> ServeOptions:
    fixed: dict[str, Any] = {"host": "127.0.0.1", "port": 1, "admin_port": 2, "served_model_name": MODEL_NAME}
    return ServeOptions(model=model, **fixed, **{"threads": 1, "dtype": "float32", "device": "cpu", **flags})


BuildEngine = Callable[..., Engine]


@pytest.fixture
def build() -> BuildEngine:
    """An engine of a checkpoint folder, with flags as keywords."""

    def build_it(model: Path, *, profile: Profile | None = None, **flags: Any) -> Engine:
        options = _options(model, **flags)
        checkpoint = open_checkpoint(model)
        config = derive(options, checkpoint.config, profile, 1 << 28)
        return loader.build_engine(options, checkpoint, config, profile, accounting=Accounting())[0]

    return build_it


class Served:
    """A worker behind real sockets, its event loop in a thread."""

    def __init__(self, model: Path, *, profile: Profile | None = None, attach: bool = True, **flags: Any) -> None:
        options = _options(model, **flags)
        checkpoint = open_checkpoint(model)
        config = derive(options, checkpoint.config, profile, 1 << 28)
        self.replica = Replica(model_name=MODEL_NAME, model=checkpoint.config, text=Text.load(model), profile=profile)
        accounting = self.replica.accounting
        self.engine, _config = loader.build_engine(options, checkpoint, config, profile, accounting=accounting)
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self._runners: list[web.AppRunner] = []
        self.url = self.call(self._listen(serving_app(self.replica)))
        self.admin_url = self.call(self._listen(admin_app(self.replica)))
        self.thread = EngineThread(self.engine, publish=self._publish, failed=self._failed)
        self.thread.start()
        self.max_model_len = config.max_model_len
        if attach:
            self.attach()

    def attach(self) -> None:
        """Become ready."""

        async def attach() -> None:
            self.replica.attach(self.thread, self.engine.scheduler, max_model_len=self.max_model_len)

        self.call(attach())

    def call(self, coroutine: Any) -> Any:
        """Run a coroutine in the server's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(120)

    def post(self, path: str, body: Any, **kwargs: Any) -> requests.Response:
        """POST a JSON body, or bytes as they are."""
        data = body if isinstance(body, bytes) else json.dumps(body)
        return requests.post(self.url + path, data=data, timeout=60, **kwargs)

    def complete(self, **body: Any) -> requests.Response:
        """`POST /v1/completions`."""
        return self.post("/v1/completions", body)

    def scrape(self) -> Samples:
        """All samples of `/metrics`."""
        return parse_samples(requests.get(f"{self.url}/metrics", timeout=30).text)

    def metric(self, name: str, **labels: str) -> float:
        """One sample of the worker's own series."""
        return self.scrape()[f"penstock_worker_{name}", tuple(sorted(labels.items()))]

    def close(self) -> None:
        """Stop everything."""
        self.thread.stop()
        for runner in self._runners:
            self.call(runner.cleanup())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(60)
        self.loop.close()

    async def _listen(self, app: web.Application) -> str:
        runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self._runners.append(runner)
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    def _publish(self, outputs: list[Output]) -> None:
        self.loop.call_soon_threadsafe(self.replica.dispatch, outputs)

    def _failed(self, _error: BaseException) -> None:
        self.replica.failed = True


Serve = Callable[..., Served]


def _serving() -> Iterator[Serve]:
    """A function that serves a checkpoint folder, with flags as keywords; all is stopped in the end."""
    running: list[Served] = []

    def start(model: Path, **flags: Any) -> Served:
        running.append(Served(model, **flags))
        return running[-1]

    yield start
    for served in running:
        served.close()


serve = pytest.fixture(_serving)
serve_module = pytest.fixture(scope="module")(_serving)


@pytest.fixture(scope="module")
def served(serve_module: Serve, qwen: Path) -> Served:
    """A shared worker that runs as fast as it can."""
    return serve_module(qwen, max_num_seqs=8)


@pytest.fixture(scope="module")
def slow(serve_module: Serve, qwen: Path, slow_profile: Profile) -> Served:
    """A shared worker on the slow emulated device."""
    return serve_module(qwen, profile=slow_profile)


MakeRequest = Callable[..., Request]


@pytest.fixture
def make_request() -> MakeRequest:
    """A greedy request of the given ids, numbered."""
    made: list[Request] = []

    def make(tokens: list[int], *, max_tokens: int = 16, **sampling: Any) -> Request:
        made.append(Request(f"r{len(made)}", list(tokens), Sampling(max_tokens=max_tokens, **sampling)))
        return made[-1]

    return make
