"""Puts the gateway together, runs it, and lets it go without losing a request.

On SIGTERM readiness goes first, while everything is served as before: who routes to us has to notice. Every answer
from then on closes its connection, so that clients move over. The process ends when nothing has been served for a
moment, or when the time to drain is over; a second signal ends it at once. Who is still served then is told: requests
without an answer get a 503, streams an error event. The admin port answers to the last, as the operator goes on asking.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import AsyncExitStack, closing, contextmanager
from functools import partial
from typing import Final

from aiohttp import web
from kubernetes.aio.client import ApiClient

from penstock_contract import names
from penstock_gateway import admin, errors
from penstock_gateway.bodies import Bodies
from penstock_gateway.directory import Directory
from penstock_gateway.errors import ConfigurationError
from penstock_gateway.front import Front
from penstock_gateway.keys import Keys
from penstock_gateway.kube import Reflector, Sink, connect
from penstock_gateway.listener import Listener
from penstock_gateway.pool import Pool
from penstock_gateway.prober import Prober
from penstock_gateway.relay import Relay
from penstock_gateway.settings import Settings
from penstock_gateway.upstream import Upstream

_SETTLE_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 0.1
_LAST_WRITES_SECONDS: Final = 1.0
_log = logging.getLogger(__name__)


async def run(settings: Settings) -> int:
    """Run until told to stop.

    Returns:
        The exit status: 0 after a drain, 1 if requests were cut off.

    Raises:
        ConfigurationError: it cannot start.
    """
    keys = None if settings.api_keys_file is None else Keys(settings.api_keys_file)
    stop, hurry = _signals()
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(connect(settings.kubeconfig))
        upstream = stack.enter_context(closing(Upstream()))
        prober = Prober(upstream, lambda: directory.pools)
        directory = Directory(greet=prober.greet, lost=prober.lost, paced=settings.paced)
        bodies = Bodies(settings.held_bodies_bytes, most=settings.max_body_bytes)
        front = Front(directory, Relay(upstream), keys=keys, bodies=bodies)
        listener = Listener(front.handle, head_seconds=settings.head_seconds, idle_seconds=settings.idle_seconds)
        reflectors = list(_reflectors(client, directory, settings.namespaces))

        def not_ready() -> str | None:
            if stop.is_set():
                return "draining"
            return None if all(one.synced.is_set() for one in reflectors) else "services and pods are not listed yet"

        application = admin.application(services=lambda: directory.services, not_ready=not_ready)
        # The first to come, so that it is the last to go.
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=_LAST_WRITES_SECONDS)
        stack.push_async_callback(runner.cleanup)
        await runner.setup()
        with _listening(settings.host, settings.admin_port):
            await web.TCPSite(runner, settings.host, settings.admin_port).start()
        admin_port = int(runner.addresses[-1][1])
        stack.push_async_callback(listener.close, seconds=_LAST_WRITES_SECONDS)
        with _listening(settings.host, settings.port):
            port = await listener.start(settings.host, settings.port)
        async with asyncio.TaskGroup() as tasks:
            work = (prober.run(), listener.run(), *(one.run() for one in reflectors))
            running = [tasks.create_task(one) for one in work]
            _calm_collector()
            _log.info("event=listening host=%s port=%d admin_port=%d", settings.host, port, admin_port)
            await stop.wait()
            listener.drain()
            status = await _drain(front, settings.drain_seconds, hurry)
            for task in running:
                task.cancel()
        await prober.close()
        await _send_home(front, directory.pools)
    _log.info("event=stopped status=%d", status)
    return status


def _signals() -> tuple[asyncio.Event, asyncio.Event]:
    """Set by the first signal to stop, and by the second."""
    stop, hurry = asyncio.Event(), asyncio.Event()

    def on_signal() -> None:
        (hurry if stop.is_set() else stop).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)
    return stop, hurry


def _calm_collector() -> None:
    """Keep the garbage collector from walking the imported modules in the middle of streams: that takes 50 ms."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def _reflectors(client: ApiClient, directory: Directory, namespaces: tuple[str, ...]) -> list[Reflector]:
    found = []
    for namespace in namespaces or (None,):
        scope = f"namespaces/{namespace}/" if namespace else ""
        services = Sink(
            replace=partial(directory.replace_services, namespace),
            apply=directory.apply_service,
            remove=lambda gone: directory.remove_service((gone["metadata"]["namespace"], gone["metadata"]["name"])),
        )
        pods = Sink(
            replace=partial(directory.replace_pods, namespace),
            apply=directory.apply_pod,
            remove=lambda gone: directory.remove_pod(gone["metadata"]["uid"]),
        )
        found.append(Reflector(client, f"/apis/{names.API_VERSION}/{scope}{names.PLURAL}", services))
        found.append(Reflector(client, f"/api/v1/{scope}pods", pods, selector=names.SERVICE))
    return found


@contextmanager
def _listening(host: str, port: int) -> Iterator[None]:
    """Say it plainly if that cannot be."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise ConfigurationError(f"cannot listen on {host} port {port}: {reason}") from error


async def _drain(front: Front, seconds: float, hurry: asyncio.Event) -> int:
    """Serve until nobody asks any more; 1 if requests are left when the time is over."""
    _log.info("event=draining in_flight=%d", front.active)
    loop = asyncio.get_running_loop()
    start = loop.time()
    quiet_since = start
    while not hurry.is_set() and loop.time() - start < seconds:
        if front.active:
            quiet_since = loop.time()
        elif loop.time() - quiet_since >= min(_SETTLE_SECONDS, seconds):
            break
        await asyncio.sleep(_LOOK_SECONDS)
    return 1 if front.active else 0


async def _send_home(front: Front, pools: Iterable[Pool]) -> None:
    """Tell those who are still served that it ends here, and let them read it."""
    if front.active:
        _log.warning("event=cut_off in_flight=%d", front.active)
    for pool in pools:
        pool.close(errors.shut_down)
        for worker in pool.workers:
            for attempt in list(worker.attempts):
                attempt.abort()
    for _ in range(round(_LAST_WRITES_SECONDS / _LOOK_SECONDS)):
        if not front.active:
            return
        await asyncio.sleep(_LOOK_SECONDS)
