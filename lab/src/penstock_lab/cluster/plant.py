"""The running components of one cluster: start, await, stop, kill, describe.

Only the supervisor has one. All processes are its children and die with it, so nothing outlives it even when it is
killed; children of those (the pods) are found by their environment.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from penstock_lab.cluster import processes
from penstock_lab.cluster.errors import ClusterError, StartError
from penstock_lab.cluster.files import last_lines
from penstock_lab.cluster.settings import CLUSTER_ENV

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from penstock_lab.cluster.components import Component
    from penstock_lab.cluster.probes import Prober
    from penstock_lab.cluster.spec import ClusterSpec, Layout

POLL_SECONDS: Final = 0.05

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Running:
    process: asyncio.subprocess.Process
    started_at: float
    watcher: asyncio.Task[None]
    stopping: bool = False


class Plant:
    """Starts and stops the components of a cluster."""

    def __init__(
        self, spec: ClusterSpec, layout: Layout, *, components: Mapping[str, Component], prober: Prober
    ) -> None:
        self._spec = spec
        self._layout = layout
        self._components = components
        self._prober = prober
        self._running: dict[str, _Running] = {}
        self._ends: dict[str, str] = {}
        self._closing = False
        self._turns = {name: asyncio.Lock() for name in components}  # one start or stop of a component at a time
        self.changed: Callable[[], None] = lambda: None

    async def start(self, name: str, *, ready: Callable[[], Awaitable[bool]] | None = None) -> float:
        """Start a component and wait until it is ready.

        Args:
            name: Of the component.
            ready: A further condition, beyond what the component says of itself.

        Returns:
            Seconds that it took.

        Raises:
            StartError: It ended, or was not ready by its deadline.
        """
        component = self._component(name)
        async with self._turns[name]:
            return 0.0 if self._alive(name) else await self._start(component, ready)

    async def _start(self, component: Component, ready: Callable[[], Awaitable[bool]] | None) -> float:
        name = component.name
        began = time.monotonic()
        self._layout.data(name).mkdir(parents=True, exist_ok=True, mode=0o700)
        running = await self._spawn(component)
        self._running[name] = running
        self.changed()
        while not await asyncio.to_thread(self._prober.ready, component) or (ready and not await ready()):
            if running.process.returncode is not None:
                raise StartError(self._explain(component, f"ended with {_ending(running.process.returncode)}"))
            if self._closing:
                raise StartError(f"{name} was not ready before the cluster went down")
            if time.monotonic() - began > component.ready_seconds:
                raise StartError(self._explain(component, f"was not ready after {component.ready_seconds:.0f} s"))
            await asyncio.sleep(POLL_SECONDS)
        took = time.monotonic() - began
        logger.info("component_ready name=%s pid=%d seconds=%.2f", name, running.process.pid, took)
        return took

    async def stop(self, name: str) -> None:
        """End a component with SIGTERM, with SIGKILL past its deadline; return once it is gone."""
        component = self._component(name)
        async with self._turns[name]:
            running = self._running.get(name)
            if running is None or running.process.returncode is not None:
                return
            running.stopping = True
            _signal(running.process, signal.SIGTERM)
            try:
                await asyncio.wait_for(asyncio.shield(running.watcher), component.stop_seconds)
            except TimeoutError:
                logger.warning("component_overstayed name=%s pid=%d", name, running.process.pid)
                _signal(running.process, signal.SIGKILL)
                await running.watcher

    async def kill(self, name: str) -> None:
        """SIGKILL a component, as a crash would; return once it is gone."""
        if not self._alive(self._component(name).name):
            raise ClusterError(f"cannot kill {name}: it does not run")
        running = self._running[name]
        _signal(running.process, signal.SIGKILL)
        await running.watcher

    async def stop_all(self) -> None:
        """End everything in the reverse of the starting order, each before the next."""
        self._closing = True
        # An API server whose etcd went first waits for it for ever.
        for name in reversed(list(self._components)):
            await self.stop(name)
        swept = await asyncio.to_thread(processes.sweep, self._spec.cluster_id)
        if swept:
            logger.warning("strays_killed count=%d", swept)

    def describe(self) -> list[dict[str, Any]]:
        """Name, pid, start time, port and state of every component, in starting order."""
        described = []
        for name, component in self._components.items():
            running = self._running.get(name)
            alive = self._alive(name)
            state = "running" if alive else self._ends.get(name, "not started")
            described.append(
                {
                    "name": name,
                    "pid": running.process.pid if running and alive else None,
                    "started_at": running.started_at if running and alive else None,
                    "port": component.port,
                    "state": state,
                    "log": str(self._layout.log(name)),
                }
            )
        return described

    async def health(self) -> dict[str, bool]:
        """Whether each component says that it is ready, now."""
        names = list(self._components)
        answers = await asyncio.gather(
            *(asyncio.to_thread(self._prober.ready, self._components[name]) for name in names)
        )
        return {name: self._alive(name) and answer for name, answer in zip(names, answers, strict=True)}

    def _component(self, name: str) -> Component:
        try:
            return self._components[name]
        except KeyError:
            known = ", ".join(self._components)
            raise ClusterError(f"no component {name!r} in this cluster; it has {known}") from None

    def _alive(self, name: str) -> bool:
        running = self._running.get(name)
        return running is not None and running.process.returncode is None

    async def _spawn(self, component: Component) -> _Running:
        last_words = signal.SIGTERM if component.orderly else signal.SIGKILL
        with self._layout.log(component.name).open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *component.argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, CLUSTER_ENV: self._spec.cluster_id},
                start_new_session=True,
                preexec_fn=processes.dies_with_parent(last_words),
            )
        watcher = asyncio.create_task(self._watch(component.name, process))
        return _Running(process, processes.start_time(process.pid) or 0.0, watcher)

    async def _watch(self, name: str, process: asyncio.subprocess.Process) -> None:
        code = await process.wait()
        running = self._running.get(name)
        wanted = running is not None and running.stopping
        self._ends[name] = "stopped" if wanted else f"ended with {_ending(code)}"
        log = logger.info if wanted else logger.warning
        log("component_ended name=%s pid=%d how=%r", name, process.pid, self._ends[name])
        self.changed()

    def _explain(self, component: Component, what: str) -> str:
        log = self._layout.log(component.name)
        tail = "\n  ".join(last_lines(log, count=8)) or "(it wrote nothing)"
        return f"{component.name} {what}. The end of its log {log}:\n  {tail}"


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except ProcessLookupError:
        return  # ended between the look and the signal


def _ending(code: int) -> str:
    """An exit status in words."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
