"""The autoscale loop: one pass over all services per tick.

A tick asks the metrics source once for the whole cluster, decides every service with the pure policy, and writes only
what changed: `/scale`, the autoscaler's part of the status, an event. Ticks never overlap; one that takes too long
makes the next ones count as overruns, and what is not written after a while is left to the next tick, so that an API
server that is away stops no decision. Memory lives here and is keyed by uid, so that a resource deleted and created
again starts afresh. At rest a service costs its decision and no more: what is written for it is worked out anew only
when something moved that it is made of.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from penstock_contract import names
from penstock_operator.adapters.errors import KubeError
from penstock_operator.api import InferenceService
from penstock_operator.core import naming, pods
from penstock_operator.core.desired import Owner
from penstock_operator.core.drift import covers
from penstock_operator.core.handover import autoscaler_owns_replicas
from penstock_operator.core.ports import Kube, Unavailable
from penstock_operator.core.scaling import Decision, Memory, Observation, capacity, decide
from penstock_operator.core.scalingstatus import (
    decision_status,
    manual_verdicts,
    rfc3339,
    verdicts,
)
from penstock_operator.core.sla import Attainment
from penstock_operator.core.status import timed
from penstock_operator.runtime.actuator import Actuator
from penstock_operator.runtime.almanac import Almanac
from penstock_operator.runtime.cache import GATEWAYS, Cache, Key
from penstock_operator.runtime.events import condition_events
from penstock_operator.runtime.gateways import Gateways
from penstock_operator.runtime.ledger import Finding, Ledger
from penstock_operator.runtime.lessons import Lessons
from penstock_operator.runtime.lookout import Lookout, Sight
from penstock_operator.runtime.measure import Buckets, Measure, Verdicts, attainment
from penstock_operator.runtime.metrics import Metrics
from penstock_operator.runtime.remembrance import Remembrance
from penstock_operator.runtime.rounds import Rounds
from penstock_operator.runtime.terms import Promise, Terms, terms_of

Manifest = dict[str, Any]
_LOG = logging.getLogger("penstock.autoscale")
_SLA_PERIOD_SECONDS = 30.0
_LONGEST_GAP_SECONDS = 60.0
_LONGEST_WRITES_SECONDS = 20.0
_SLICE = 50


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What one tick found out about one service; `basis` is all that its scale and status are made of."""

    key: Key
    terms: Terms
    raw: Manifest
    deployment: Manifest
    pods: list[Manifest]
    basis: tuple[object, ...]
    seen: Observation | None = None
    decision: Decision | None = None


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
        gateway_namespace: str | None = None,
        ledger: Ledger | None = None,
        rounds: Rounds | None = None,
    ) -> None:
        self._kube = kube
        self._cache = cache
        self._measure = measure
        self._metrics = metrics
        self._ledger = ledger or Ledger(metrics)
        self._clock, self._began = clock, clock()
        self._actuator = actuator
        self._lookout = Lookout(measure, gateways, metrics, rounds)
        self._gateway_namespace = gateway_namespace
        self._slots = asyncio.Semaphore(concurrency)
        self._memory: dict[str, Memory] = {}
        self._remembrance, self._almanac = Remembrance(measure, cache), Almanac(measure)
        self._attainment: dict[Promise, list[Attainment] | None] = {}
        self._failing: dict[Key, str] = {}
        self._terms: dict[Key, Terms] = {}
        self._settled: dict[Key, tuple[object, ...]] = {}
        self._lessons = Lessons()
        self._sla_at = float("-inf")
        self._tick_at: float | None = None

    async def tick(self) -> None:
        """One pass over all services; never raises for what one service or the metrics source does."""
        now = self._clock()
        gateway_pods = [pod for pod in self._cache.pods(GATEWAYS) if self._trusts(pod)]
        sight = await self._lookout.look(self._services(), gateway_pods, now)
        services = self._services()  # some came, went or were edited meanwhile
        self._memory |= await self._remembrance.once(services, gateways=sight.doors.asked, now=now)
        for uid, season in self._almanac.once(services, gateways=sight.doors.asked, now=now).items():
            self._memory[uid] = replace(self._memory.get(uid, Memory()), season=season)
        new = any(terms.promise not in self._attainment for _, terms in services)
        if new or now - self._sla_at >= _SLA_PERIOD_SECONDS:
            await self._measure_sla(services, now, answered=sight.error is None)
            self._sla_at = now
        elapsed = 0.0 if self._tick_at is None else min(_LONGEST_GAP_SECONDS, max(0.0, now - self._tick_at))
        self._tick_at = now
        self._ledger.tick(now, source_error=sight.error)
        due = []
        async for key, terms in _in_slices(services):
            outcome = self._outcome(key, terms, sight, now)
            if outcome is not None:
                self._ledger.account(key, self._finding(outcome, now), elapsed=elapsed)
                if self._settled.get(key) != outcome.basis:
                    due.append(outcome)
        try:
            async with asyncio.timeout(_LONGEST_WRITES_SECONDS):
                await asyncio.gather(*(self._carry_out(outcome, now) for outcome in due))
        except TimeoutError:
            self._metrics.add("reconcile_errors", 1, "Timeout")
        self._prune({terms.service.metadata.uid for _, terms in services})

    def _trusts(self, pod: Manifest) -> bool:
        """Whether a pod with the gateway's label may speak for all services: a tenant could set the label too."""
        return self._gateway_namespace in (None, pod["metadata"]["namespace"])

    def forget(self, key: Key) -> None:
        """Drop what is known of a service that is gone."""
        for known in (self._failing, self._terms, self._settled):
            known.pop(key, None)
        self._ledger.forget(key)

    def _services(self) -> list[tuple[Key, Terms]]:
        return [(key, terms) for key in self._cache.keys(names.KIND) if (terms := self._agreed(key)) is not None]

    def _agreed(self, key: Key) -> Terms | None:
        """The terms of a service; None when its spec cannot be read."""
        service, known = self._cache.service(key), self._terms.get(key)
        if not isinstance(service, InferenceService):
            return None
        if known is None or known.service is not service:
            known = self._terms[key] = terms_of(service, known, now=self._clock())
        return known

    def _outcome(self, key: Key, terms: Terms, sight: Sight, now: float) -> _Outcome | None:
        try:
            return self._decide(key, terms, sight, now)
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

    def _decide(self, key: Key, terms: Terms, sight: Sight, now: float) -> _Outcome | None:
        raw, uid = self._cache.get(names.KIND, key), terms.service.metadata.uid
        if raw is None or raw["metadata"].get("deletionTimestamp") or self._cache.service(key) is not terms.service:
            return None  # gone, or edited since the tick began
        deployment = self._cache.get("Deployment", (key[0], naming.child_name(key[1])))
        if deployment is None or not Owner(*key, uid).controls(deployment):
            return None
        workers = self._cache.pods(key)
        basis: tuple[object, ...] = (raw, deployment, workers, terms, self._attainment.get(terms.promise))
        if terms.policy is None:
            return _Outcome(key, terms, raw, deployment, workers, basis)
        seen = sight.of(key, terms, deployment=deployment, pods=workers)
        decision, memory = decide(terms.policy, seen, self._memory.get(uid) or self._newborn(raw), now)
        decision, self._memory[uid] = capacity.attributed(decision, terms.policy, memory), memory
        states = {name: signal.state for name, signal in seen.signals().items()}
        basis = (*basis, decision, states, seen.source_error, seen.stand_in)
        return _Outcome(key, terms, raw, deployment, workers, basis, seen, decision)

    def _newborn(self, raw: Manifest) -> Memory:
        """The memory of a service before its first decision: one that this process saw come has nothing to recall."""
        created = datetime.fromisoformat(raw["metadata"]["creationTimestamp"]).timestamp()
        return Memory(at=created) if created > self._began else Memory()

    async def _carry_out(self, outcome: _Outcome, now: float) -> None:
        decision, seen, service = outcome.decision, outcome.seen, outcome.terms.service
        async with self._slots:
            try:
                if decision is None or seen is None:
                    await self._actuator.release(outcome.key)
                else:
                    await self._actuator.carry_out(outcome.raw, service, decision, seen, now)
                told = await self._status(outcome, now)
            except KubeError as error:
                self._failed(outcome.key, error.reason, error)
            except Exception:  # noqa: BLE001 - as in `_outcome`
                self._failed(outcome.key, "Bug")
            else:
                self._failing.pop(outcome.key, None)
                if not told and _reached(outcome):
                    self._settled[outcome.key] = outcome.basis

    async def _status(self, outcome: _Outcome, now: float) -> bool:
        """Write the autoscaler's part of the status; returns whether it said something new, or is to do so later."""
        raw = self._cache.get(names.KIND, outcome.key) or outcome.raw
        live = raw.get("status") or {}
        before = live.get("conditions") or []
        measured, owed = self._attainment.get(outcome.terms.promise), False
        generation = int(raw["metadata"].get("generation") or 0)
        status: Manifest
        policy = outcome.terms.policy
        if policy is None or outcome.seen is None or outcome.decision is None:
            found, status = manual_verdicts(measured), {"desiredReplicas": outcome.terms.service.spec.replicas}
        else:
            found = verdicts(policy, outcome.decision, outcome.seen, measured)
            status = {
                "desiredReplicas": outcome.decision.replicas,
                "decision": self._decision_status(outcome, live, now),
            }
            longest = outcome.terms.service.spec.runtime.startup_timeout_seconds
            seconds = pods.startup_p90(outcome.pods, longest=longest)
            learned, owed = self._lessons.of(outcome.terms.service.metadata.uid, seconds, live.get("learned"), now)
            if learned:
                status["learned"] = learned
        conditions = timed(found, before, generation=generation, now=rfc3339(now))
        status["conditions"] = conditions
        if covers(live, status):
            return owed
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
        return True

    def _decision_status(self, outcome: _Outcome, live: Manifest, now: float) -> Manifest:
        assert outcome.decision is not None
        assert outcome.seen is not None
        same_count = live.get("desiredReplicas") == outcome.decision.replicas
        return decision_status(outcome.decision, outcome.seen, live.get("decision") if same_count else None, now=now)

    async def _measure_sla(self, services: list[tuple[Key, Terms]], now: float, *, answered: bool) -> None:
        """Measure all objectives; a source that has just given nothing is not asked, which could take a whole tick."""
        wanted = [(one.metric, terms.window_seconds) for _, terms in services for one in terms.objectives]
        histograms: Mapping[tuple[str, int], Buckets | Unavailable] = {}
        judged: Mapping[int, Verdicts | Unavailable] = {}
        if answered:
            histograms, judged = await asyncio.gather(self._measure.histograms(wanted), self._measure.judged(wanted))
        found: dict[Promise, list[Attainment] | None] = {}
        async for key, terms in _in_slices(services):
            counts = judged if terms.counted_alike(now) else {}
            found[terms.promise] = attainment(
                key, terms.objectives, histograms, window_seconds=terms.window_seconds, judged=counts
            )
        self._attainment = found

    def _finding(self, outcome: _Outcome, now: float) -> Finding:
        measured = self._attainment.get(outcome.terms.promise)
        return Finding(now, outcome.terms, outcome.pods, outcome.seen, outcome.decision, measured)

    def _prune(self, uids: set[str]) -> None:
        self._lessons.keep(uids)
        for uid in self._memory.keys() - uids:
            del self._memory[uid]


def _reached(outcome: _Outcome) -> bool:
    """Whether the count is as decided, and ours: then there is nothing to carry out until something moves."""
    if outcome.decision is None or outcome.seen is None or not outcome.decision.act:
        return True
    if pods.marks(pods.live(outcome.pods)):
        return False
    return outcome.decision.replicas == outcome.seen.replicas and autoscaler_owns_replicas(outcome.deployment)


async def _in_slices(services: list[tuple[Key, Terms]]) -> AsyncIterator[tuple[Key, Terms]]:
    """Each in turn, with a breath now and then: thousands in one go keep probes and watch events waiting."""
    for number, item in enumerate(services, start=1):
        yield item
        if number % _SLICE == 0:
            await asyncio.sleep(0)
