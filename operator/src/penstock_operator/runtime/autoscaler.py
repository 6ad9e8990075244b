"""The autoscale loop: one pass over all services per tick.

A tick asks the metrics source once for the whole cluster, decides every service with the pure policy, and writes only
what changed: `/scale`, the autoscaler's part of the status, an event. Ticks never overlap; one that takes too long
makes the next ones count as overruns, and what is not written after a while is left to the next tick, so that an API
server that is away stops no decision. Memory lives here and is keyed by uid, so that a resource deleted and created
again starts afresh.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from penstock_contract import names
from penstock_operator.adapters.errors import KubeError
from penstock_operator.api import InferenceService
from penstock_operator.core import naming, pods
from penstock_operator.core.desired import Owner
from penstock_operator.core.drift import covers
from penstock_operator.core.observe import observe
from penstock_operator.core.policy import cost_per_replica_hour, objectives, scaling_policy
from penstock_operator.core.ports import Kube
from penstock_operator.core.scaling import Decision, Memory, Observation, Policy, decide
from penstock_operator.core.scaling.signals import View
from penstock_operator.core.scalingstatus import (
    decision_status,
    manual_verdicts,
    rfc3339,
    verdicts,
)
from penstock_operator.core.sla import Attainment
from penstock_operator.core.status import timed
from penstock_operator.runtime.actuator import Actuator
from penstock_operator.runtime.cache import GATEWAYS, Cache, Key
from penstock_operator.runtime.events import condition_events
from penstock_operator.runtime.gateways import Doors, Gateways
from penstock_operator.runtime.measure import Measure, attainment
from penstock_operator.runtime.metrics import Metrics

Manifest = dict[str, Any]
_LOG = logging.getLogger("penstock.autoscale")
_SLA_PERIOD_SECONDS = 30.0
_LONGEST_GAP_SECONDS = 60.0
_LONGEST_WRITES_SECONDS = 20.0
Promise = tuple[str, int]


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What one tick found out about one service."""

    key: Key
    service: InferenceService
    raw: Manifest
    policy: Policy | None = None
    seen: Observation | None = None
    decision: Decision | None = None


@dataclass(frozen=True, slots=True)
class Sight:
    """What one tick sees: Prometheus' answers and the gateways'."""

    view: View
    doors: Doors


class Autoscaler:
    """Decides for every service of a cache."""

    def __init__(
        self,
        kube: Kube,
        cache: Cache,
        measure: Measure,
        metrics: Metrics,
        *,
        clock: Callable[[], float],
        concurrency: int = 8,
        actuator: Actuator,
        gateways: Gateways,
    ) -> None:
        self._kube = kube
        self._cache = cache
        self._measure = measure
        self._metrics = metrics
        self._clock = clock
        self._actuator = actuator
        self._gateways = gateways
        self._slots = asyncio.Semaphore(concurrency)
        self._memory: dict[str, Memory] = {}
        self._attainment: dict[Promise, list[Attainment] | None] = {}
        self._failing: dict[Key, str] = {}
        self._sla_at = float("-inf")
        self._tick_at: float | None = None

    async def tick(self) -> None:
        """One pass over all services; never raises for what one service or the metrics source does."""
        now = self._clock()
        gateway_pods = pods.live(self._cache.pods(GATEWAYS))
        view, doors = await asyncio.gather(self._measure.view(now), self._gateways.read(gateway_pods, now))
        services = [
            (key, service)
            for key in self._cache.keys(names.KIND)
            if isinstance(service := self._cache.service(key), InferenceService)
        ]
        new = any(_promise(service) not in self._attainment for _, service in services)
        if new or now - self._sla_at >= _SLA_PERIOD_SECONDS:
            await self._measure_sla(services)
            self._sla_at = now
        outcomes = [
            outcome for key, service in services if (outcome := self._outcome(key, service, Sight(view, doors), now))
        ]
        self._account(outcomes, now)
        try:
            async with asyncio.timeout(_LONGEST_WRITES_SECONDS):
                await asyncio.gather(*(self._carry_out(outcome, now) for outcome in outcomes))
        except TimeoutError:
            self._metrics.add("reconcile_errors", 1, "Timeout")
        self._prune({service.metadata.uid for _, service in services})

    def forget(self, key: Key) -> None:
        """Drop what is known of a service that is gone."""
        self._failing.pop(key, None)
        self._metrics.forget(key)

    def _outcome(self, key: Key, service: InferenceService, sight: Sight, now: float) -> _Outcome | None:
        try:
            return self._decide(key, service, sight, now)
        except Exception:  # noqa: BLE001 - a bug in one service must not stop the others
            self._failed(key, "Bug")
            return None

    def _failed(self, key: Key, reason: str, detail: object = "") -> None:
        """Count a failure, and log it when it is a new one."""
        self._metrics.add("reconcile_errors", 1, reason)
        if self._failing.get(key) != reason:
            self._failing[key] = reason
            _LOG.warning(
                "tick_failed namespace=%s name=%s reason=%s error=%s", *key, reason, detail, exc_info=reason == "Bug"
            )

    def _decide(self, key: Key, service: InferenceService, sight: Sight, now: float) -> _Outcome | None:
        raw = self._cache.get(names.KIND, key)
        if raw is None or raw["metadata"].get("deletionTimestamp"):
            return None
        policy = scaling_policy(service.spec)
        uid = service.metadata.uid
        deployment = self._cache.get("Deployment", (key[0], naming.child_name(key[1])))
        if deployment is None or not Owner(*key, uid).controls(deployment):
            return None
        if policy is None:
            return _Outcome(key, service, raw)
        seen = observe(
            key, deployment=deployment, pods=self._cache.pods(key), view=sight.view, door=sight.doors.of(key)
        )
        decision, self._memory[uid] = decide(policy, seen, self._memory.get(uid, Memory()), now)
        return _Outcome(key, service, raw, policy, seen, decision)

    async def _carry_out(self, outcome: _Outcome, now: float) -> None:
        async with self._slots:
            try:
                if outcome.decision is None or outcome.seen is None:
                    await self._actuator.release(outcome.key)
                else:
                    await self._actuator.carry_out(outcome.raw, outcome.service, outcome.decision, outcome.seen, now)
                await self._status(outcome, now)
            except KubeError as error:
                self._failed(outcome.key, error.reason, error)
            except Exception:  # noqa: BLE001 - as in `_outcome`
                self._failed(outcome.key, "Bug")
            else:
                self._failing.pop(outcome.key, None)

    async def _status(self, outcome: _Outcome, now: float) -> None:
        raw = self._cache.get(names.KIND, outcome.key) or outcome.raw
        live = raw.get("status") or {}
        before = live.get("conditions") or []
        measured = self._attainment.get(_promise(outcome.service))
        generation = int(raw["metadata"].get("generation") or 0)
        status: Manifest
        if outcome.policy is None or outcome.seen is None or outcome.decision is None:
            found, status = manual_verdicts(measured), {"desiredReplicas": outcome.service.spec.replicas}
        else:
            found = verdicts(outcome.policy, outcome.decision, outcome.seen, measured)
            status = {
                "desiredReplicas": outcome.decision.replicas,
                "decision": self._decision_status(outcome, live, now),
            }
            if learned := self._learned(outcome.key, live):
                status["learned"] = learned
        conditions = timed(found, before, generation=generation, now=rfc3339(now))
        status["conditions"] = conditions
        if covers(live, status):
            return
        manifest = {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "metadata": {"name": outcome.key[1], "namespace": outcome.key[0]},
            "status": status,
        }
        answer = await self._kube.apply_status(manifest, manager=names.AUTOSCALER_MANAGER)
        self._cache.put({"kind": names.KIND} | answer)
        for item in condition_events(raw, before, conditions, now=now):
            await self._kube.create_event(item)
            _LOG.info("transition namespace=%s name=%s reason=%s", *outcome.key, item["reason"])

    def _decision_status(self, outcome: _Outcome, live: Manifest, now: float) -> Manifest:
        assert outcome.decision is not None
        assert outcome.seen is not None
        same_count = live.get("desiredReplicas") == outcome.decision.replicas
        return decision_status(outcome.decision, outcome.seen, live.get("decision") if same_count else None, now=now)

    def _learned(self, key: Key, live: Manifest) -> Manifest | None:
        """Start-up time, refreshed when it moved by more than a tenth."""
        seconds = pods.startup_p90(self._cache.pods(key))
        known = (live.get("learned") or {}).get("startupSecondsP90")
        if seconds is None or (known and abs(seconds - known) <= max(1.0, 0.1 * known)):
            return dict(live["learned"]) if live.get("learned") else None
        return {"startupSecondsP90": round(seconds)}

    async def _measure_sla(self, services: list[tuple[Key, InferenceService]]) -> None:
        wanted = [
            (objective.metric, service.spec.sla.window_seconds)
            for _, service in services
            if service.spec.sla is not None
            for objective in objectives(service.spec)
        ]
        histograms = await self._measure.histograms(wanted)
        self._attainment = {
            _promise(service): attainment(
                key,
                objectives(service.spec),
                histograms,
                window_seconds=service.spec.sla.window_seconds if service.spec.sla is not None else 0,
            )
            for key, service in services
        }

    def _account(self, outcomes: list[_Outcome], now: float) -> None:
        """Metrics of the tick: decisions, accelerator-seconds from scheduled to deleted, cost."""
        elapsed = 0.0 if self._tick_at is None else min(_LONGEST_GAP_SECONDS, max(0.0, now - self._tick_at))
        self._tick_at = now
        for outcome in outcomes:
            holding = pods.scheduled(self._cache.pods(outcome.key))
            accelerators = outcome.service.spec.runtime.accelerator.count * holding
            self._metrics.add("accelerator_seconds", accelerators * elapsed, *outcome.key)
            price = cost_per_replica_hour(outcome.service.spec)
            self._metrics.show("cost_per_hour", None if price is None else price * holding, *outcome.key)
            if outcome.decision is None or outcome.seen is None:
                self._metrics.undecided(outcome.key)
                continue
            self._metrics.decision(outcome.key, outcome.decision, outcome.seen)
            served, per_million = outcome.seen.generated_tokens, None
            if price is not None and served.fresh and served.value > 0:
                per_million = price * holding / (served.value * 3600) * 1e6
            self._metrics.show("cost_per_million_tokens", per_million, *outcome.key)

    def _prune(self, uids: set[str]) -> None:
        for uid in self._memory.keys() - uids:
            del self._memory[uid]


def _promise(service: InferenceService) -> Promise:
    """Uid and generation: what was measured of other objectives, or of a namesake, is not of this promise."""
    return service.metadata.uid, service.metadata.generation
