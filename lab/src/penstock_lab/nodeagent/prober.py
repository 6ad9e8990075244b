"""Startup, readiness and liveness of one running container, with a kubelet's rules.

Liveness and readiness wait for startup. A verdict changes only after `failureThreshold` or `successThreshold` equal
results in a row; readiness begins false, liveness begins true. A startup or liveness verdict is final for this run of
the container: it resolves `failed`, and whoever owns the container restarts it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from penstock_lab.nodeagent.actions import Actions

ProbeKind = Literal["Startup", "Readiness", "Liveness"]


class Report(Protocol):
    """Who is told about a running container."""

    def event(self, kind: Literal["Normal", "Warning"], reason: str, message: str, /) -> None:
        """Something worth an Event happened."""

    def started(self) -> None:
        """The container has started up."""

    def ready(self, value: bool, /) -> None:
        """The container became ready or ceased to be."""

    def unhealthy(self, kind: ProbeKind, message: str, /) -> None:
        """One probe failed; said each time, before any threshold."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A verdict that the container must be restarted; `grace_seconds` overrides the pod's grace period."""

    kind: ProbeKind
    grace_seconds: int | None


class Prober:
    """Probes one run of a container until stopped."""

    def __init__(self, *, container: dict[str, Any], actions: Actions, report: Report) -> None:
        self._container = container
        self._actions = actions
        self._report = report
        self._begun = asyncio.get_running_loop().time()
        self._tasks: dict[ProbeKind, asyncio.Task[None]] = {}
        self.failed: asyncio.Future[Failure] = asyncio.get_running_loop().create_future()

    def start(self) -> None:
        """Begin probing; the container has just been started."""
        if probe := self._container.get("startupProbe"):
            self._spawn("Startup", probe, self._on_startup)
        else:
            self._on_startup(ok=True)

    def stop_killing(self) -> None:
        """End startup and liveness probing: the pod is terminating. Readiness goes on."""
        for kind in ("Startup", "Liveness"):
            if task := self._tasks.get(kind):
                task.cancel()

    async def stop(self) -> None:
        """End all probing."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _on_startup(self, *, ok: bool) -> None:
        if not ok:
            self._fail("Startup")
            return
        if task := self._tasks.get("Startup"):
            task.cancel()
        self._report.started()
        if probe := self._container.get("readinessProbe"):
            self._spawn("Readiness", probe, self._on_readiness)
        else:
            self._report.ready(True)
        if probe := self._container.get("livenessProbe"):
            self._spawn("Liveness", probe, self._on_liveness)

    def _on_readiness(self, *, ok: bool) -> None:
        self._report.ready(ok)

    def _on_liveness(self, *, ok: bool) -> None:
        if not ok:
            self._fail("Liveness")

    def _fail(self, kind: ProbeKind) -> None:
        grace = self._container[f"{kind.lower()}Probe"].get("terminationGracePeriodSeconds")
        if not self.failed.done():
            self.failed.set_result(Failure(kind=kind, grace_seconds=grace))

    def _spawn(self, kind: ProbeKind, probe: dict[str, Any], verdict: Callable[..., None]) -> None:
        self._tasks[kind] = asyncio.create_task(self._repeat(kind, probe, verdict), name=f"{kind} probe")

    async def _repeat(self, kind: ProbeKind, probe: dict[str, Any], verdict: Callable[..., None]) -> None:
        loop = asyncio.get_running_loop()
        due = max(loop.time(), self._begun + probe.get("initialDelaySeconds", 0))
        thresholds = {True: probe.get("successThreshold", 1), False: probe.get("failureThreshold", 3)}
        last, streak = None, 0
        while True:
            await asyncio.sleep(due - loop.time())
            outcome = await self._actions.probe(probe)
            if not outcome.ok:
                self._report.unhealthy(kind, outcome.message)
            last, streak = outcome.ok, streak + 1 if outcome.ok == last else 1
            if streak >= thresholds[outcome.ok]:
                verdict(ok=outcome.ok)
            due = max(due + probe.get("periodSeconds", 10), loop.time())
