"""Carries a decision out: hand-over of the count, `/scale`, and drains before anything is removed.

More replicas are asked for at once. Fewer are reached in steps over several ticks (`core.victims`): mark, wait until
idle or out of time, then give the victims the lowest deletion cost and shrink by exactly them. All
state of a drain is in the pods' annotations, so nothing is lost with the operator: one that restarts gets its memory
back from the metrics source and goes on. Load that returns unmarks, and so does a count that is held for any reason,
but in the first moments of a process: then it is held because little is known, and the former one knew more.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from typing import Any

from penstock_contract import names
from penstock_operator.adapters.workers import WorkerScraper
from penstock_operator.api import InferenceService
from penstock_operator.core import naming, pods
from penstock_operator.core.engines import ENGINES
from penstock_operator.core.handover import autoscaler_owns_replicas
from penstock_operator.core.ports import Kube
from penstock_operator.core.scaling import Decision, Observation
from penstock_operator.core.scalingstatus import rfc3339
from penstock_operator.core.victims import Candidate, DrainPlan, plan
from penstock_operator.runtime.cache import Cache, Key
from penstock_operator.runtime.events import event
from penstock_operator.runtime.metrics import Metrics

Manifest = dict[str, Any]
_LOG = logging.getLogger("penstock.scale")
_FIRST_TO_GO = "-1000"
_LATELY_SECONDS = 30.0  # by then the past has been asked for, and a few ticks have been seen


class Actuator:
    """Writes replica counts, marks and deletion costs."""

    def __init__(
        self, kube: Kube, cache: Cache, workers: WorkerScraper, metrics: Metrics, *, handed_over: Callable[[Key], None]
    ) -> None:
        self._kube = kube
        self._cache = cache
        self._workers = workers
        self._metrics = metrics
        self._handed_over = handed_over
        self._began: float | None = None

    async def carry_out(
        self, raw: Manifest, service: InferenceService, decision: Decision, seen: Observation, now: float
    ) -> None:
        """Do the next step towards a decision.

        Args:
            raw: the resource, for events.
            service: the same, parsed.
            decision: what was decided.
            seen: on what.
            now: Unix seconds.

        Raises:
            KubeError: the API server refused or was away; the next tick goes on.
        """
        key = (raw["metadata"]["namespace"], raw["metadata"]["name"])
        deployment = self._cache.get("Deployment", (key[0], naming.child_name(key[1])))
        if deployment is None:
            return
        if decision.act and not autoscaler_owns_replicas(deployment):
            # Hand-over: own the field at the value it has before the reconciler lets go of it.
            await self._write_scale(deployment, seen.replicas)
            self._handed_over(key)
            return
        wanted = decision.replicas if decision.act else seen.replicas
        candidates = await self._candidates(key, service, shrinking=wanted < seen.replicas)
        if self._lately(now) and wanted == seen.replicas and _without_them(decision, candidates, wanted):
            return
        step = plan(
            candidates,
            current=seen.replicas,
            wanted=wanted,
            now=now,
            timeout_seconds=service.spec.drain.timeout_seconds,
        )
        await self._mark(key, step, now)
        if step.mark:
            text = f"{seen.replicas} -> {wanted} replicas ({decision.reason}): draining {len(step.mark)}"
            await self._tell(raw, "Draining", f"{text}; {decision.message}", now)
        if step.unmark:
            await self._tell(raw, "DrainCancelled", f"{len(step.unmark)} replicas serve again: {decision.message}", now)
        if step.replicas != seen.replicas:
            await self._write_scale(deployment, step.replicas)
            verb = "ScaledUp" if step.replicas > seen.replicas else "ScaledDown"
            aim = "" if step.replicas == wanted else f", {wanted} wanted"
            drains = _drains(step, candidates, now)
            for seconds in drains:
                self._metrics.observe("drain_seconds", seconds)
            text = f"{seen.replicas} -> {step.replicas} replicas{aim} ({decision.reason}): {decision.message}"
            drained = f"; drained in {max(drains):.0f} s" if drains else ""
            await self._tell(raw, verb, text + drained, now)
            self._metrics.add("decisions", 1, *key, str(decision.reason))

    async def release(self, key: Key) -> None:
        """Unmark whatever drains: the count is fixed now, nobody goes on with the drain."""
        found = pods.candidates(pods.live(self._cache.pods(key)), {})
        touched = tuple(pod.name for pod in found if pod.draining_since is not None or pod.sentenced)
        await self._mark(key, DrainPlan(replicas=len(found), unmark=touched), 0.0)

    def _lately(self, now: float) -> bool:
        """Whether this process has just begun."""
        self._began = now if self._began is None else self._began
        return now - self._began < _LATELY_SECONDS

    async def _candidates(self, key: Key, service: InferenceService, *, shrinking: bool) -> list[Candidate]:
        """Live pods; how much each has to do is asked only when some of them shall go."""
        live = pods.live(self._cache.pods(key))
        engine = ENGINES[service.spec.runtime.engine]
        work: dict[str, float | None] = {}
        if shrinking:
            ready = [pod for pod in live if pods.is_ready(pod) and pod["status"].get("podIP")]
            found = await asyncio.gather(
                *(self._workers.work(pod["status"]["podIP"], engine.work, path=engine.metrics_path) for pod in ready)
            )
            work = {pod["metadata"]["name"]: value for pod, value in zip(ready, found, strict=True)}
        return pods.candidates(live, work)

    async def _mark(self, key: Key, step: DrainPlan, now: float) -> None:
        changes: list[tuple[str, dict[str, str | None]]] = [
            (name, {names.DRAINING: rfc3339(now)}) for name in step.mark
        ]
        changes += [(name, {names.DRAINING: None, names.POD_DELETION_COST: None}) for name in step.unmark]
        changes += [(name, {names.POD_DELETION_COST: _FIRST_TO_GO}) for name in step.remove]
        await asyncio.gather(
            *(self._kube.annotate_pod(namespace=key[0], name=name, annotations=notes) for name, notes in changes)
        )

    async def _write_scale(self, deployment: Manifest, replicas: int) -> None:
        metadata = deployment["metadata"]
        await self._kube.scale(
            namespace=metadata["namespace"],
            name=metadata["name"],
            replicas=replicas,
            manager=names.AUTOSCALER_MANAGER,
        )
        deployment["spec"]["replicas"] = replicas

    async def _tell(self, raw: Manifest, reason: str, text: str, now: float) -> None:
        metadata = raw["metadata"]
        _LOG.info("%s namespace=%s name=%s detail=%r", reason, metadata["namespace"], metadata["name"], text)
        await self._kube.create_event(event(raw, kind="Normal", reason=reason, message=text, now=now))


def _without_them(decision: Decision, candidates: list[Candidate], replicas: int) -> bool:
    """Whether some drain, and nothing is known for which those that still serve are too few."""
    draining = sum(pod.draining_since is not None for pod in candidates)
    enough = decision.needed is None or math.ceil(decision.needed) <= replicas - draining
    return decision.act and draining > 0 and enough


def _drains(step: DrainPlan, candidates: list[Candidate], now: float) -> list[float]:
    """How long the drains of the removed pods took, in seconds."""
    return [
        now - pod.draining_since for pod in candidates if pod.name in step.remove and pod.draining_since is not None
    ]
