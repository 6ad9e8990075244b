"""One size: resources, watcher, operator; adoption, a steady span, a restart, a forced resync.

Writes are counted from the audit log and times are taken from it, so that watching costs the API server nothing. The
order is fixed: every phase starts only when nobody writes any more, because the next one counts writes.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp

from penstock_lab.cluster.local import LocalCluster
from penstock_lab.kube import Kube

from . import identities, population
from .audit import AuditLog, Request, by_verb_and_resource
from .endpoints import Endpoints, quantile, spent
from .processes import BenchmarkError, Child, Timeline, now

OPERATOR: Final = "bench-operator"
WATCHER: Final = "bench-watcher"
# Longer than two ticks; the autoscaler's slower questions come every 30 s and fall into the steady span.
QUIET_SECONDS: Final = 12.0
BASELINE_SECONDS: Final = 20.0
LAG_SECONDS: Final = 20.0
RESYNC_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.25
_MEASURED: Final = ("kube-apiserver", "etcd", "kube-controller-manager", "prometheus")


@dataclass(slots=True)
class Run:
    """One size against one cluster.

    Attributes:
        cluster: fresh, without node agent.
        size: resources.
        steady_seconds: length of the steady span.
        out: folder for logs.
        say: called with a line per step.
    """

    cluster: LocalCluster
    size: int
    steady_seconds: float
    out: Path
    say: Callable[[str], None]
    _audit: AuditLog = field(init=False)
    _timeline: Timeline = field(init=False, default_factory=Timeline)
    _kubeconfigs: dict[str, Path] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._audit = AuditLog(self.cluster.audit_log)

    async def measure(self) -> dict[str, Any]:
        """Do everything.

        Returns:
            The result, JSON-ready.

        Raises:
            BenchmarkError: something did not end in its time, or a measured process ended.
        """
        async with AsyncExitStack() as stack:
            stack.callback(self._audit.close)
            kube = await stack.enter_async_context(Kube.from_kubeconfig(self.cluster.kubeconfig))
            await population.prepare(kube)
            session = await stack.enter_async_context(aiohttp.ClientSession())
            for name in (OPERATOR, WATCHER):
                token = await identities.create(kube, name)
                self._kubeconfigs[name] = identities.kubeconfig(self.cluster.kubeconfig, name=name, token=token)
            self._follow_components()
            await stack.enter_async_context(self._timeline.running())
            began = now()
            await population.apply(kube, self.size, step=lambda done: self.say(f"{done:,} resources created"))
            created = {"seconds": now() - began}
            watcher = stack.enter_context(self._watcher())
            found: dict[str, Any] = {"size": self.size, "created": created, "watcher": await self._until_seen(watcher)}
            found["baseline"] = await self._baseline()
            with self._operator(port := _free_port(), resync_seconds=None) as operator:
                endpoints = Endpoints(f"http://127.0.0.1:{port}", session)
                found["adoption"] = await self._adoption(operator, endpoints)
                found["lacking"] = await population.missing(kube, self.size)
                found["steady"] = await self._steady(endpoints)
                stopped = now()
            found["stop_seconds"] = now() - stopped
            with self._operator(port := _free_port(), resync_seconds=RESYNC_SECONDS) as operator:
                endpoints = Endpoints(f"http://127.0.0.1:{port}", session)
                found |= await self._restart_and_resync(operator, endpoints, steady=found["steady"])
            found["pods"] = await population.pods(kube)
        return found

    def _follow_components(self) -> None:
        pids = {item["name"]: item["pid"] for item in self.cluster.status()["components"]}
        for name in _MEASURED:
            self._timeline.add(name, pids[name])
        self._timeline.add("benchmark", os.getpid())

    def _watcher(self) -> Child:
        env = {"KUBECONFIG": str(self._kubeconfigs[WATCHER]), "WATCHER_EXPECTS": str(self.size)}
        child = Child(f"{__package__}.watcher", env=env, log=self.out / f"watcher-{self.size}.log")
        self._timeline.add("watcher", child.pid)
        return child

    def _operator(self, port: int, *, resync_seconds: float | None) -> Child:
        env = {
            "KUBECONFIG": str(self._kubeconfigs[OPERATOR]),
            "PENSTOCK_PROMETHEUS_URL": self.cluster.prometheus_url,
            "PENSTOCK_BIND_ADDRESS": "127.0.0.1",
            "PENSTOCK_LISTEN_PORT": str(port),
        }
        if resync_seconds is not None:
            env["PENSTOCK_RESYNC_SECONDS"] = str(resync_seconds)
        child = Child("penstock_operator", env=env, log=self.out / f"operator-{self.size}.log")
        self._timeline.add("operator", child.pid)
        return child

    async def _until_seen(self, watcher: Child) -> dict[str, float]:
        async def complete() -> bool:
            watcher.check()
            return "complete" in watcher.log.read_text(encoding="utf-8")

        at = await self._until(complete, what="the bare watcher to see all", seconds=120)
        return {"seconds_to_see_all": at - watcher.started_at}

    async def _baseline(self) -> dict[str, Any]:
        await self._quiet()
        self.say(f"{self.size:,}: {BASELINE_SECONDS:.0f} s without operator, as a baseline of the API server")
        start = now()
        await asyncio.sleep(BASELINE_SECONDS)
        return self._cpu(start, now())

    async def _adoption(self, operator: Child, endpoints: Endpoints) -> dict[str, Any]:
        started = operator.started_at
        ready_at = await self._until_ready(operator, endpoints)
        self.say(f"{self.size:,}: operator ready after {ready_at - started:.1f} s, adopting")
        steps = population.Steps()
        told = now()

        async def adopted() -> bool:
            nonlocal told
            operator.check()
            steps.take(one for one in self._audit.read() if one.user == identities.user(OPERATOR))
            if now() - told > 10 and steps.least:
                told = now()
                left = (self.size - steps.least) * (told - ready_at) / steps.least
                self.say(f"{self.size:,}: {steps.least:,} adopted, ~{left:.0f} s left")
            return steps.least >= self.size

        await self._until(adopted, what="all resources to be adopted", seconds=300 + 0.5 * self.size)
        adopted_at = max(steps.at.values())
        self.say(f"{self.size:,}: all adopted after {adopted_at - started:.1f} s; waiting until nobody writes")
        await self._quiet()
        requests = self._audit.between(started, now(), user=identities.user(OPERATOR))
        writes = [one for one in requests if one.writes]
        settled_at = max(one.answered_at for one in writes)
        latencies = [one.answered_at - one.received_at for one in writes]
        return {
            "start_to_ready_seconds": ready_at - started,
            "start_to_adopted_seconds": adopted_at - started,
            "start_to_settled_seconds": settled_at - started,
            "each_step_complete_seconds": {name: at - started for name, at in steps.at.items()},
            "to_adopted": self._cpu(started, adopted_at),
            "to_settled": self._cpu(started, settled_at),
            "writes": len(writes),
            "requests": by_verb_and_resource(requests),
            "others_writes": by_verb_and_resource(
                one
                for one in self._audit.between(started, now())
                if one.writes and one.user != identities.user(OPERATOR)
            ),
            "server_seconds": {"p50": quantile(latencies, 0.5), "p99": quantile(latencies, 0.99)},
            "memory": self._timeline.memory("operator"),
        }

    async def _steady(self, endpoints: Endpoints) -> dict[str, Any]:
        before = await endpoints.scrape()
        await self._quiet(2.0)
        self.say(f"{self.size:,}: steady for {self.steady_seconds:.0f} s")
        start = now()
        await asyncio.sleep(self.steady_seconds)
        end = now()
        found: dict[str, Any] = {"cpu": self._cpu(start, end)}
        for name in ("operator", "watcher"):
            found[name] = self._timeline.memory(name)
        self._timeline.sample()
        scraping = now()
        after = await endpoints.scrape()
        self._timeline.sample()
        found["scrape"] = {
            "seconds": after.seconds,
            "cpu_seconds": self._timeline.seconds("operator", scraping, now()),
            "bytes": after.size,
            "series": after.series,
        }
        found["tick_seconds"] = spent(before, after, "penstock_operator_tick_seconds")
        lags = await endpoints.lag(LAG_SECONDS)
        found["loop_lag_seconds"] = {"p50": quantile(lags, 0.5), "p99": quantile(lags, 0.99), "max": max(lags)}
        self._audit.read()
        for name in (OPERATOR, WATCHER):
            requests = self._audit.between(start, end, user=identities.user(name))
            key = name.removeprefix("bench-")
            found[key] |= {"requests": by_verb_and_resource(requests), "writes": _writes(requests)}
        found["all_writes"] = by_verb_and_resource(one for one in self._audit.between(start, end) if one.writes)
        return found

    async def _restart_and_resync(
        self, operator: Child, endpoints: Endpoints, *, steady: dict[str, Any]
    ) -> dict[str, Any]:
        started = operator.started_at
        ready_at = await self._until_ready(operator, endpoints)
        self.say(f"{self.size:,}: restarted, ready after {ready_at - started:.1f} s; then a full resync")
        mine = identities.user(OPERATOR)
        at = 0.0

        async def resyncing() -> bool:
            nonlocal at
            operator.check()
            lists = (one.received_at for one in self._audit.read() if one.user == mine and one.verb == "list")
            at = next((received for received in lists if received > ready_at + RESYNC_SECONDS / 2), at)
            return at > 0

        await self._until(resyncing, what="the resync", seconds=RESYNC_SECONDS * 2 + 60)
        before = await endpoints.scrape()
        await asyncio.sleep(max(0.0, at + RESYNC_SECONDS - 1 - now()))
        end = at + RESYNC_SECONDS - 1
        after = await endpoints.scrape()
        self._audit.read()
        rate = steady["cpu"]["percent_of_a_core"]["operator"] / 100

        def part(start: float, stop: float) -> dict[str, Any]:
            requests = self._audit.between(start, stop, user=mine)
            cpu = self._cpu(start, stop)
            extra = cpu["cpu_seconds"]["operator"] - rate * cpu["seconds"]
            return {
                "writes": _writes(requests),
                "requests": by_verb_and_resource(requests),
                "cpu": cpu,
                "operator_cpu_seconds_beyond_steady": extra,
            }

        restart = part(started, at) | {"start_to_ready_seconds": ready_at - started}
        reconciles = spent(before, after, "penstock_operator_reconcile_seconds")
        memory = {"memory": self._timeline.memory("operator")}
        return {"restart": restart, "resync": part(at, end) | {"reconcile_seconds": reconciles} | memory}

    def _cpu(self, start: float, end: float) -> dict[str, Any]:
        seconds = self._timeline.usage(start, end)
        return {
            "seconds": end - start,
            "cpu_seconds": seconds,
            "percent_of_a_core": {name: 100 * value / (end - start) for name, value in seconds.items()},
        }

    async def _until_ready(self, operator: Child, endpoints: Endpoints) -> float:
        async def ready() -> bool:
            operator.check()
            return await endpoints.ready()

        return await self._until(ready, what="the operator to be ready", seconds=120)

    async def _quiet(self, seconds: float = QUIET_SECONDS) -> None:
        """Wait until nobody has written for some seconds."""

        began = now()

        async def quiet() -> bool:
            self._audit.read()
            return now() - max(began, self._audit.last_write_at) > seconds

        await self._until(quiet, what="the writes to end", seconds=300 + 0.5 * self.size)

    async def _until(self, condition: Callable[[], Awaitable[bool]], *, what: str, seconds: float) -> float:
        """Wait for a condition; returns the time at which it was seen to hold."""
        deadline = now() + seconds
        while not await condition():
            if now() > deadline:
                raise BenchmarkError(f"waited {seconds:.0f} s for {what} in vain; the logs are in {self.out}")
            await asyncio.sleep(_POLL_SECONDS)
        return now()


def _writes(requests: list[Request]) -> int:
    return sum(one.writes for one in requests)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
