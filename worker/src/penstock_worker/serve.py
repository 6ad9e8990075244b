"""The process: check, listen, load in a thread, serve, drain on a signal, exit with a status that says how it went.

Listeners open before the model loads, so that probes and scrapes are answered from the first second. A checkpoint
that cannot work is refused before anything is opened.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from penstock_contract.profile import Profile, ProfileError, load_profile
from penstock_worker.checkpoint import Checkpoint, open_checkpoint
from penstock_worker.config import EngineConfig, ServeOptions, derive, host_free_bytes, kv_share
from penstock_worker.engine import Engine, EngineThread
from penstock_worker.errors import ConfigError, StartupError
from penstock_worker.replica import Replica
from penstock_worker.server import admin_app, serving_app
from penstock_worker.text import Text

_LAST_WRITES_SECONDS: Final = 5.0
_log = logging.getLogger(__name__)


def serve(options: ServeOptions) -> int:
    """Run a worker until it is told to stop.

    Returns:
        The exit status: 0 after a drain, 1 if requests were cut off.

    Raises:
        StartupError: it cannot start, or the engine died.
    """
    started = time.monotonic()
    profile = _profile(options)
    checkpoint = open_checkpoint(options.model)
    config = derive(options, checkpoint.config, profile, kv_share(host_free_bytes(), device="cpu"))
    text = Text.load(Path(options.model))
    replica = Replica(
        model_name=options.model_name, model=checkpoint.config, text=text, profile=profile, started=started
    )
    process = _Process(options, checkpoint, config, replica)
    status = asyncio.run(process.run())
    if process.loading:
        # Told to stop while a thread imports torch: ending the interpreter under it may crash.
        logging.shutdown()
        os._exit(status)
    return status


class _Process:
    def __init__(
        self,
        options: ServeOptions,
        checkpoint: Checkpoint,
        config: EngineConfig,
        replica: Replica,
    ) -> None:
        self._options = options
        self._checkpoint = checkpoint
        self._config = config
        self._replica = replica
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._failure: BaseException | None = None
        self._engine: EngineThread | None = None
        self._loader: threading.Thread | None = None

    @property
    def loading(self) -> bool:
        """Whether the model is still being loaded."""
        return self._loader is not None and self._loader.is_alive()

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal)
        runners = [
            await self._listen(serving_app(self._replica), self._options.port),
            await self._listen(admin_app(self._replica), self._options.admin_port),
        ]
        _log.info(
            "event=listening host=%s port=%d admin_port=%d model=%s emulated=%s",
            self._options.host, self._options.port, self._options.admin_port, self._replica.model_name,
            self._replica.profile.name if self._replica.profile else "no",
        )  # fmt: skip
        loading = asyncio.ensure_future(asyncio.wrap_future(self._load()))
        loading.add_done_callback(self._on_loaded)
        await self._stop.wait()
        status = await self._drain()
        for runner in runners:
            await runner.cleanup()
        if self._engine is not None:
            self._engine.stop()
        if self._failure is not None:
            raise StartupError(_one_line(self._failure)) from self._failure
        _log.info("event=stopped status=%d", status)
        return status

    async def _listen(self, app: web.Application, port: int) -> web.AppRunner:
        runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=_LAST_WRITES_SECONDS)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._options.host, port).start()
        except OSError as error:
            raise ConfigError(f"cannot listen on {self._options.host} port {port}: {_reason(error)}") from error
        return runner

    def _load(self) -> Future[tuple[Engine, EngineConfig]]:
        """Load in a daemon thread: a signal while loading must not wait for it."""
        future: Future[tuple[Engine, EngineConfig]] = Future()

        def work() -> None:
            try:
                future.set_result(self._build())
            except BaseException as error:  # noqa: BLE001 - handed to the event loop whatever it is
                future.set_exception(error)

        self._loader = threading.Thread(target=work, name="load", daemon=True)
        self._loader.start()
        return future

    def _build(self) -> tuple[Engine, EngineConfig]:
        # Imported here: torch takes seconds, in which probes are already answered.
        from penstock_worker.loader import build_engine  # noqa: PLC0415

        profile = self._replica.profile
        built = build_engine(
            self._options, self._checkpoint, self._config, profile, accounting=self._replica.accounting
        )
        if profile is not None:
            begun = self._replica.lifecycle.started
            time.sleep(max(0.0, begun + profile.startup_seconds - time.monotonic()))
        return built

    def _on_loaded(self, loading: asyncio.Future[Any]) -> None:
        if loading.cancelled():
            return
        error = loading.exception()
        if self._stop.is_set():
            return
        if error is not None:
            self._fail(error)
            return
        engine, config = loading.result()
        loop = asyncio.get_running_loop()

        def publish(outputs: Any) -> None:
            loop.call_soon_threadsafe(self._replica.dispatch, outputs)

        def failed(error: BaseException) -> None:
            loop.call_soon_threadsafe(self._fail, error)

        self._engine = EngineThread(engine, publish=publish, failed=failed)
        self._engine.start()
        self._replica.attach(self._engine, engine.scheduler, max_model_len=config.max_model_len)

    def _fail(self, error: BaseException) -> None:
        self._failure = error
        self._replica.failed = True
        self._stop.set()

    def _on_signal(self) -> None:
        (self._hurry if self._stop.is_set() else self._stop).set()

    async def _drain(self) -> int:
        """Finish what is in flight; 1 if it was cut off by the timeout or a second signal."""
        replica = self._replica
        replica.lifecycle.terminate()
        _log.info("event=terminating in_flight=%d", replica.active)
        waits = [asyncio.ensure_future(event.wait()) for event in (replica.idle, self._hurry)]
        await asyncio.wait(waits, timeout=self._options.drain_timeout_seconds, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        if not replica.active:
            return 0
        replica.cut_off()
        return 1


def _reason(error: OSError) -> str:
    """The system's words; asyncio puts its own around them."""
    return os.strerror(error.errno) if error.errno else str(error)


def _profile(options: ServeOptions) -> Profile | None:
    try:
        return load_profile(options.emulate_device) if options.emulate_device else None
    except ProfileError as error:
        raise ConfigError(f"--emulate-device: {error}") from error


def _one_line(error: BaseException) -> str:
    if isinstance(error, StartupError):
        return str(error)
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"
