"""One run of a container, from the start of its process until it and everything it has started are gone.

A run ends in one of three ways: by itself, because a startup or liveness probe (or the postStart hook) gave it up, or
because its pod is ending. The last two go through the same order: preStop, SIGTERM to the process group, SIGKILL when
the grace is over. While a pod ends, readiness goes on being probed and the container serves as long as its preStop
runs.
"""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any, Final

from penstock_lab.nodeagent import strays
from penstock_lab.nodeagent.actions import Actions, Target
from penstock_lab.nodeagent.grace import Grace, first
from penstock_lab.nodeagent.prober import Prober, Report

if TYPE_CHECKING:
    import aiohttp

    from penstock_lab.nodeagent.launch import Launch
    from penstock_lab.nodeagent.process import Process

_MINIMUM_GRACE_SECONDS: Final = 2.0  # for SIGTERM, also when preStop has used up the grace, as in a kubelet


class Run:
    """A started container.

    Args:
        spec: The container's spec.
        process: Its main process.
        launch: How it was started.
        address: The pod's address.
        session: For HTTP probes and hooks.
        report: Told of probe results and events.
        grace_seconds: The pod's grace period.
    """

    def __init__(
        self,
        *,
        spec: dict[str, Any],
        process: Process,
        launch: Launch,
        address: str,
        session: aiohttp.ClientSession,
        report: Report,
        grace_seconds: float,
    ) -> None:
        ports = {port["name"]: port["containerPort"] for port in spec.get("ports", ()) if port.get("name")}
        target = Target(address, ports, launch.environment, launch.folder, launch.paths)
        self._spec = spec
        self._hooks: dict[str, Any] = spec.get("lifecycle", {})
        self._process = process
        self._mark = launch.mark
        self._actions = Actions(session=session, target=target)
        self._prober = Prober(container=spec, actions=self._actions, report=report)
        self._report = report
        self._grace_seconds = grace_seconds

    async def end(self, pod_grace: Grace) -> int:
        """Return the exit status, negative for a signal, once every process is gone."""
        try:
            given_up = await self._serve(pod_grace)
            if self._process.returncode is None:
                await self._stop(*([pod_grace] if given_up is None else [given_up, pod_grace]))
        finally:
            await self._prober.stop()
            self._process.signal_group(signal.SIGKILL)
            await strays.end([self._mark])
        return await self._process.wait()

    async def _serve(self, pod_grace: Grace) -> Grace | None:
        """Wait for a reason to end; return a grace of its own if the container was given up, else None."""
        name = self._spec["name"]
        if not await self._post_start(pod_grace):
            cause, seconds = "failed postStart hook", self._grace_seconds
        else:
            self._prober.start()
            failed = asyncio.shield(self._prober.failed)
            await first(self._process.wait(), pod_grace.begun.wait(), failed)
            self._prober.stop_killing()
            if pod_grace.begun.is_set() or not self._prober.failed.done():
                if self._process.returncode is None:
                    self._report.event("Normal", "Killing", f"Stopping container {name}")
                return None
            failure = self._prober.failed.result()
            cause = f"failed {failure.kind.lower()} probe"
            seconds = self._grace_seconds if failure.grace_seconds is None else failure.grace_seconds
        self._report.event("Normal", "Killing", f"Container {name} {cause}, will be restarted")
        given_up = Grace()
        given_up.begin(seconds)
        return given_up

    async def _post_start(self, pod_grace: Grace) -> bool:
        if "postStart" not in self._hooks:
            return True
        hook = asyncio.create_task(self._actions.hook(self._hooks["postStart"]))
        await first(hook, self._process.wait(), pod_grace.begun.wait())
        if hook.cancelled():
            return True
        if not hook.result().ok:
            self._report.event("Warning", "FailedPostStartHook", f"PostStartHook failed: {hook.result().message}")
        return hook.result().ok

    async def _stop(self, *graces: Grace) -> None:
        """End the process in order, within the shortest of the graces."""
        if "preStop" in self._hooks:
            hook = asyncio.create_task(self._actions.hook(self._hooks["preStop"]))
            await first(hook, self._process.wait(), *(grace.over() for grace in graces))
            if not hook.cancelled() and not hook.result().ok:
                self._report.event("Warning", "FailedPreStopHook", f"PreStopHook failed: {hook.result().message}")
        self._process.signal_group(signal.SIGTERM)
        if min(grace.left for grace in graces) < _MINIMUM_GRACE_SECONDS:
            await first(self._process.wait(), asyncio.sleep(_MINIMUM_GRACE_SECONDS))
        else:
            await first(self._process.wait(), *(grace.over() for grace in graces if grace.begun.is_set()))
