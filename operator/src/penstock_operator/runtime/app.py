"""The composition root: builds the parts, starts them in order, and stops them in reverse.

Order matters: the cache is filled by our own lists before the first decision, and our tasks start before kopf, which
cancels every task of its loop that it finds unknown when it stops.
"""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import UTC, datetime
from importlib.metadata import version

import kopf
from aiohttp import web
from prometheus_client import disable_created_metrics

from penstock_contract import names
from penstock_operator.adapters.errors import ConfigurationError, KubeError
from penstock_operator.adapters.kube import KubeClient, load_configuration
from penstock_operator.adapters.prometheus import PrometheusSource
from penstock_operator.adapters.workers import WorkerScraper
from penstock_operator.runtime import handlers, health, pages
from penstock_operator.runtime.actuator import Actuator
from penstock_operator.runtime.autoscaler import Autoscaler
from penstock_operator.runtime.cache import Cache, Key
from penstock_operator.runtime.gateways import Gateways
from penstock_operator.runtime.latency import PERIOD_SECONDS, Latencies
from penstock_operator.runtime.ledger import Ledger
from penstock_operator.runtime.measure import Measure
from penstock_operator.runtime.metrics import Metrics
from penstock_operator.runtime.queue import WorkQueue
from penstock_operator.runtime.reconciler import Reconciler
from penstock_operator.runtime.rounds import Rounds
from penstock_operator.runtime.settings import Settings
from penstock_operator.runtime.statepage import StatePage

_LOG = logging.getLogger("penstock.app")
_STUCK_TICKS = 12
_STUCK_QUEUE_SECONDS = 600.0
_DISCOVERY_SECONDS = 30.0
_DISCOVERY_POLL_SECONDS = 0.5
_LISTED = (names.KIND, "Deployment", "Service", "PodDisruptionBudget", "Pod")


def wall_clock() -> float:
    """Unix seconds; the one place where the operator reads the wall clock."""
    return datetime.now(UTC).timestamp()


class App:
    """A running operator."""

    def __init__(
        self,
        settings: Settings,
        kube: KubeClient,
        source: PrometheusSource,
        workers: WorkerScraper,
        gateways: Gateways,
    ) -> None:
        self.settings = settings
        self.cache = Cache()
        self.metrics = Metrics()
        self.queue: WorkQueue[Key] = WorkQueue()
        self._kube = kube
        self._reconciler = Reconciler(kube, self.cache, default_images=settings.default_images, clock=wall_clock)
        measure = Measure(source)
        self._latencies = Latencies(source, measure)
        ledger = Ledger(self.metrics, self._latencies)
        self.state = StatePage(
            self.cache,
            ledger,
            self._latencies,
            clock=wall_clock,
            tick_seconds=settings.tick_seconds,
            version=version("penstock"),
        )
        self._autoscaler = Autoscaler(
            kube,
            self.cache,
            measure,
            self.metrics,
            clock=wall_clock,
            concurrency=settings.workers,
            actuator=Actuator(kube, self.cache, workers, self.metrics, handed_over=self.queue.add),
            gateways=gateways,
            gateway_namespace=settings.gateway_namespace,
            ledger=ledger,
            rounds=Rounds(self.cache, workers, self.metrics, clock=wall_clock),
        )
        self._synced = False
        self._tick_at = time.monotonic()

    async def sync(self) -> None:
        """List everything that is watched: at start, and now and then against missed events."""
        for kind in _LISTED:
            selector = {names.KIND: "", "Pod": handlers.PODS}.get(kind, handlers.MANAGED)
            known = self.cache.identities(kind)
            gone = self.cache.replace(kind, await self._kube.list(kind, label_selector=selector), known=known)
            if kind == names.KIND:
                for key in gone:
                    self.gone(key)
        for key in self.cache.keys(names.KIND):
            self.queue.add(key)
        self._synced = True

    def gone(self, key: Key) -> None:
        """A service was deleted: the garbage collector takes its children, we forget it."""
        self.queue.forget(key)
        self._reconciler.forget(key)
        self._autoscaler.forget(key)

    async def work(self) -> None:
        """Reconcile forever."""
        while True:
            key = await self.queue.get()
            started = time.monotonic()
            try:
                await self._reconciler.reconcile(key)
            except KubeError as error:
                delay = self.queue.failed(key)
                self.metrics.add("reconcile_errors", 1, error.reason)
                _LOG.warning("reconcile_failed namespace=%s name=%s retry=%.1fs error=%s", *key, delay, error)
            except Exception:  # noqa: BLE001 - a bug in one service must not stop the others
                delay = self.queue.failed(key)
                self.metrics.add("reconcile_errors", 1, "Bug")
                _LOG.exception("reconcile_failed namespace=%s name=%s retry=%.1fs", *key, delay)
            else:
                self.queue.done(key)
            self.metrics.observe("reconcile_seconds", time.monotonic() - started)
            await asyncio.sleep(0)  # a reconcile that writes nothing never waits, and after a list all are due

    async def tick_forever(self) -> None:
        """Decide forever, on a fixed grid: a late tick skips the ones it missed."""
        period = self.settings.tick_seconds
        due = time.monotonic()
        while True:
            started = time.monotonic()
            try:
                await self._autoscaler.tick()
            except Exception:  # noqa: BLE001 - as in `work`
                self.metrics.add("reconcile_errors", 1, "Bug")
                _LOG.exception("tick_failed")
            self._tick_at = time.monotonic()
            self.metrics.observe("tick_seconds", self._tick_at - started)
            due += period
            while due < self._tick_at:
                due += period
                self.metrics.add("tick_overruns", 1)
            await asyncio.sleep(due - self._tick_at)

    async def watch_latencies_forever(self) -> None:
        """Ask for the latencies of the last seconds now and then; only views show them."""
        while True:
            try:
                await self._latencies.refresh()
            except Exception:  # noqa: BLE001 - as in `work`
                self.metrics.add("reconcile_errors", 1, "Bug")
                _LOG.exception("latencies_failed")
            await asyncio.sleep(PERIOD_SECONDS)

    async def resync_forever(self) -> None:
        """List everything now and then."""
        while True:
            await asyncio.sleep(self.settings.resync_seconds)
            try:
                await self.sync()
            except KubeError as error:
                _LOG.warning("resync_failed error=%s", error)
            except Exception:  # noqa: BLE001 - as in `work`
                self.metrics.add("reconcile_errors", 1, "Bug")
                _LOG.exception("resync_failed")

    def not_live(self) -> str | None:
        """Why the process should be restarted, or None."""
        age = time.monotonic() - self._tick_at
        if age > max(60.0, _STUCK_TICKS * self.settings.tick_seconds):
            return f"no autoscale tick for {age:.0f} s"
        if self.queue.oldest_seconds() > _STUCK_QUEUE_SECONDS:
            return f"a key waits for {self.queue.oldest_seconds():.0f} s"
        return None

    def not_ready(self) -> str | None:
        """Why it is not ready, or None."""
        return None if self._synced else "the first list of objects is not complete"


async def run(settings: Settings) -> None:
    """Run the operator until SIGTERM or SIGINT.

    Raises:
        ConfigurationError: the cluster cannot be reached or lacks the CRD.
    """
    disable_created_metrics()  # type: ignore[no-untyped-call]  # one more series per counter that nobody reads
    configuration = await load_configuration(settings.kubeconfig)
    kube = KubeClient(configuration, namespaces=settings.namespaces)
    source = PrometheusSource(settings.prometheus_url, access=settings.prometheus_access)
    workers, gateways = WorkerScraper(), Gateways()
    app = App(settings, kube, source, workers, gateways)
    endpoints = health.application(live=app.not_live, ready=app.not_ready, metrics=app.metrics)
    pages.add_to(endpoints, app.state)
    runner = web.AppRunner(endpoints, access_log=None)
    tasks: list[asyncio.Task[None]] = []
    try:
        await runner.setup()
        await web.TCPSite(runner, settings.listen_host, settings.listen_port).start()
        await _until_discovered(kube)
        await _first_sync(app)
        tasks = [asyncio.create_task(app.work(), name=f"reconcile-{i}") for i in range(settings.workers)]
        tasks.append(asyncio.create_task(app.tick_forever(), name="autoscale"))
        tasks.append(asyncio.create_task(app.resync_forever(), name="resync"))
        tasks.append(asyncio.create_task(app.watch_latencies_forever(), name="latencies"))
        _LOG.info("started services=%d tick=%.1fs", sum(1 for _ in app.cache.keys(names.KIND)), settings.tick_seconds)
        await kopf.operator(
            registry=handlers.registry(app.cache, dirty=app.queue.add, gone=app.gone, configuration=configuration),
            settings=handlers.settings(),
            standalone=True,
            # A name only; kopf's own has the user's, and a container's user 1000 has none.
            identity=names.OPERATOR_MANAGER,  # type: ignore[arg-type] # a NewType of str that kopf does not export
            clusterwide=not settings.namespaces,
            namespaces=settings.namespaces,
        )
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await runner.cleanup()
        source.close()
        await gateways.close()
        await workers.close()
        await kube.close()
        _LOG.info("stopped")


async def _until_discovered(kube: KubeClient) -> None:
    """Wait until discovery names our kind: kopf looks once, at its start, and watches only what it finds then."""
    deadline = time.monotonic() + _DISCOVERY_SECONDS
    try:
        while not await kube.discovered(names.KIND):
            if time.monotonic() > deadline:
                raise ConfigurationError(f"the cluster does not know {names.PLURAL}.{names.GROUP}; apply crds/ first")
            await asyncio.sleep(_DISCOVERY_POLL_SECONDS)
    except KubeError as error:
        raise ConfigurationError(f"discovery failed: {error}") from error


async def _first_sync(app: App) -> None:
    try:
        await app.sync()
    except KubeError as error:
        if error.status == 404:
            raise ConfigurationError(
                f"the cluster does not know {names.PLURAL}.{names.GROUP}; apply crds/ first"
            ) from error
        raise ConfigurationError(f"the first list failed: {error}") from error
