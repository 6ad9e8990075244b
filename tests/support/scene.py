"""The operator's own autoscaler on a made-up half hour, so that its state page has something real to tell.

Decisions, conditions, drains, history and costs come from the code that runs in production; only the clock, the API
server's answers and what Prometheus and gateways would say are made up, by a small model of queues and replicas.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from penstock_contract import names
from penstock_contract.metrics import LATENCY_BUCKETS
from penstock_operator.adapters.workers import WorkerScraper
from penstock_operator.core.desired import Owner
from penstock_operator.core.observe import Offered
from penstock_operator.core.ports import Sample, Series, Unavailable
from penstock_operator.core.scaling.signals import SCRAPE_INTERVAL_QUERY
from penstock_operator.core.status import Refusal, verdicts
from penstock_operator.core.status import timed as with_times
from penstock_operator.runtime.actuator import Actuator
from penstock_operator.runtime.autoscaler import Autoscaler
from penstock_operator.runtime.cache import Cache
from penstock_operator.runtime.gateways import Doors
from penstock_operator.runtime.latency import Latencies
from penstock_operator.runtime.ledger import Ledger
from penstock_operator.runtime.measure import Measure
from penstock_operator.runtime.metrics import Metrics
from penstock_operator.runtime.statepage import StatePage

Manifest = dict[str, Any]
Key = tuple[str, str]
Load = Callable[[float], float]
START = 1_795_250_000.0
TICK_SECONDS = 5.0
STARTUP_SECONDS = 25.0
EACH = 250.0  # generated tokens/s of one replica
LENGTH = 64.0  # generated tokens of one request
REQUESTS = 20_000.0  # inside the SLA window
_OURS = {"manager": names.AUTOSCALER_MANAGER, "fieldsV1": {"f:spec": {"f:replicas": {}}}}


def within(metric: str, seconds: float) -> float:
    """Share of requests that took at most so long: exponentially distributed beyond a floor."""
    floor, mean = {"TTFT": (0.1, 0.24), "TPOT": (0.015, 0.0045)}[metric]
    return 1 - math.exp(-max(0.0, seconds - floor) / mean)


def rfc3339(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class Actor:
    """One service and what happens to it; `load` gives requests/s at seconds from the start."""

    key: Key
    load: Load
    emulated: str = ""
    backlog: float = 0.0
    born: dict[str, float] = field(default_factory=dict)
    serial: int = 0


class Scene:
    """Services that live through a time; see the module."""

    def __init__(self) -> None:
        self.now = START
        self.version = 1
        self.actors: dict[Key, Actor] = {}
        self.unreachable = ""
        self.cache, metrics = Cache(), Metrics()
        measure = Measure(self)
        self.latencies = Latencies(self, measure)
        self.ledger = Ledger(metrics, self.latencies)
        self.workers = WorkerScraper()
        self.autoscaler = Autoscaler(
            self,
            self.cache,
            measure,
            metrics,
            clock=lambda: self.now,
            actuator=Actuator(self, self.cache, self.workers, metrics, handed_over=lambda _: None),
            gateways=self,  # type: ignore[arg-type]  # it has `read`
            ledger=self.ledger,
        )
        self.page = StatePage(
            self.cache,
            self.ledger,
            self.latencies,
            clock=lambda: self.now,
            tick_seconds=TICK_SECONDS,
            version="0.1.0",
        )

    # The cast ---------------------------------------------------------------------------------------------------

    def add(self, manifest: Manifest, load: Load, *, replicas: int = 1, emulated: str = "") -> None:
        """Put a service on stage, with its replicas ready."""
        metadata = manifest["metadata"]
        key = (metadata.setdefault("namespace", "default"), metadata["name"])
        uid = f"u-{'-'.join(key)}"
        actor = self.actors[key] = Actor(key, load, emulated)
        self._put(
            {
                **manifest,
                "kind": names.KIND,
                "metadata": metadata | {"uid": uid, "generation": 1, "creationTimestamp": rfc3339(self.now)},
            }
        )
        owner = Owner(*key, uid).reference()
        self._put(
            {
                "kind": "Deployment",
                "metadata": {
                    "name": key[1],
                    "namespace": key[0],
                    "uid": f"d-{uid}",
                    "ownerReferences": [owner],
                    "managedFields": [_OURS],
                },
                "spec": {"replicas": replicas},
                "status": {},
            }
        )
        for _ in range(replicas):
            self._create_pod(actor, at=self.now - 600)
        self._settle(actor)

    async def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while self.now < end:
            for actor in self.actors.values():
                self._live(actor)
            if (self.now - START) % 10 == 0:
                await self.latencies.refresh()
            await self.autoscaler.tick()
            self.now += TICK_SECONDS

    async def close(self) -> None:
        await self.workers.close()

    def _put(self, obj: Manifest) -> None:
        self.version += 1
        self.cache.put(obj | {"metadata": obj["metadata"] | {"resourceVersion": str(self.version)}})

    def _deployment(self, key: Key) -> Manifest:
        found = self.cache.get("Deployment", key)
        assert found is not None
        return found

    # Workers ----------------------------------------------------------------------------------------------------

    def _create_pod(self, actor: Actor, *, at: float) -> None:
        actor.serial += 1
        name = f"{actor.key[1]}-{actor.serial}"
        actor.born[name] = at
        metadata = {
            "name": name,
            "namespace": actor.key[0],
            "uid": f"p-{name}",
            "labels": {names.SERVICE: actor.key[1]},
            "ownerReferences": [{"kind": "ReplicaSet", "name": f"{actor.key[1]}-5d4c", "controller": True}],
        }
        self._put({"kind": "Pod", "metadata": metadata | {"creationTimestamp": rfc3339(at)}, "status": {}})
        self._refresh_pod(actor, name)

    def _refresh_pod(self, actor: Actor, name: str) -> None:
        pod = self.cache.get("Pod", (actor.key[0], name))
        assert pod is not None
        born = actor.born[name]
        ready = "True" if self.now - born >= STARTUP_SECONDS else "False"
        conditions = [
            {"type": "PodScheduled", "status": "True", "lastTransitionTime": rfc3339(born)},
            {"type": "Ready", "status": ready, "lastTransitionTime": rfc3339(born + STARTUP_SECONDS)},
        ]
        # Nothing listens there: a worker that does not answer drains until its time is up.
        self._put(pod | {"status": {"phase": "Running", "podIP": "127.255.255.254", "conditions": conditions}})

    def _settle(self, actor: Actor) -> None:
        """Pods as the Deployment asks for them, cheapest to delete first; then its status and ours."""
        deployment = self._deployment(actor.key)
        wanted = int(deployment["spec"]["replicas"])
        while len(actor.born) < wanted:
            self._create_pod(actor, at=self.now)
        while len(actor.born) > wanted:
            gone = min(actor.born, key=lambda name: self._deletion_cost(actor, name))
            pod = self.cache.get("Pod", (actor.key[0], gone))
            assert pod is not None
            self.cache.remove(pod)
            del actor.born[gone]
        for name in actor.born:
            self._refresh_pod(actor, name)
        ready = self.ready(actor)
        status = {"replicas": wanted, "updatedReplicas": wanted, "readyReplicas": ready}
        self._put(deployment | {"status": status})
        raw = self.cache.get(names.KIND, actor.key)
        assert raw is not None
        before = (raw.get("status") or {}).get("conditions") or []
        refusal: Refusal | None = None
        mine = verdicts(refusal=refusal, deployment=self._deployment(actor.key), pods=self.cache.pods(actor.key))
        conditions = with_times(mine, before, generation=1, now=rfc3339(self.now))
        kinds = {item["type"] for item in conditions}
        kept = [item for item in before if item["type"] not in kinds]
        self._put(raw | {"status": (raw.get("status") or {}) | {"conditions": conditions + kept}})

    def _deletion_cost(self, actor: Actor, name: str) -> int:
        pod = self.cache.get("Pod", (actor.key[0], name)) or {"metadata": {}}
        return int((pod["metadata"].get("annotations") or {}).get(names.POD_DELETION_COST, 0))

    def ready(self, actor: Actor) -> int:
        return sum(self.now - born >= STARTUP_SECONDS for born in actor.born.values())

    def _live(self, actor: Actor) -> None:
        self._settle(actor)
        actor.backlog = max(0.0, actor.backlog + TICK_SECONDS * (self.rate(actor) - self._limit(actor)))

    def rate(self, actor: Actor) -> float:
        return actor.load(self.now - START)

    def _limit(self, actor: Actor) -> float:
        return self.ready(actor) * EACH * 1.1 / LENGTH

    def served(self, actor: Actor) -> float:
        return min(self._limit(actor), self.rate(actor) + actor.backlog / TICK_SECONDS)

    # Prometheus -------------------------------------------------------------------------------------------------

    async def instant(self, query: str) -> tuple[Sample, ...] | Unavailable:
        if self.unreachable:
            return Unavailable(self.unreachable)
        if query == SCRAPE_INTERVAL_QUERY:
            return (Sample({}, 5.0),)
        found: list[Sample] = []
        for actor in self.actors.values():
            labels = {"namespace": actor.key[0], "inferenceservice": actor.key[1]}
            if "emulated_info" in query:
                found += [Sample(labels | {"profile": actor.emulated}, 1.0)] if actor.emulated else []
            elif "objective_total" in query:
                found += self._judged(actor, labels)
            elif "_bucket" in query and "quantile" not in query:
                found += [Sample(labels | {"le": le}, count) for le, count in self._buckets(actor, query).items()]
            else:
                found.append(Sample(labels, self._value(actor, query)))
        return tuple(found)

    async def range(self, *_: Any, **__: Any) -> tuple[Series, ...] | Unavailable:
        return Unavailable("no past")

    def _value(self, actor: Actor, query: str) -> float:
        values = {
            "count by": float(self.ready(actor)),
            "time() - max": 1.2,
            "time_to_first": self.ttft(actor),
            "time_per_output": self._tpot(actor),
            "requests_arrived": self.rate(actor),
            "prompt_tokens": self.rate(actor) * 128,
            "generated_tokens": self.served(actor) * LENGTH,
            "engine_steps": 40.0,
            "engine_step_seconds": 1.0,
            "decode_sequence_steps": self.served(actor) * LENGTH,
            "prefill_tokens_computed": self.served(actor) * 128,
            "requests_finished": self.served(actor),
            "kv_tokens_used": 0.25,
            "requests_waiting": min(actor.backlog, 16.0 * self.ready(actor)),
            "requests_running": min(self.served(actor) * 2.0, 16.0 * self.ready(actor)),
        }
        found = [value for part, value in values.items() if part in query]
        assert found, f"nobody knows what to answer to {query}"
        return found[0]

    def ttft(self, actor: Actor) -> float:
        return 0.15 + actor.backlog / max(1.0, self._limit(actor)) * 0.7

    def _tpot(self, actor: Actor) -> float:
        return 0.018 + 0.012 * self.served(actor) / max(1.0, self._limit(actor))

    def _buckets(self, actor: Actor, query: str) -> Mapping[str, float]:
        if "gateway" not in query or not self.rate(actor):
            return {}
        metric = "TTFT" if "first_token" in query else "TPOT"
        bounds = (*LATENCY_BUCKETS, math.inf)
        return {"+Inf" if bound == math.inf else f"{bound:g}": REQUESTS * within(metric, bound) for bound in bounds}

    def _judged(self, actor: Actor, labels: dict[str, str]) -> list[Sample]:
        if not self.rate(actor):
            return []
        shares = {metric: within(metric, threshold) for metric, threshold in (("TTFT", 1.5), ("TPOT", 0.05))}
        return [
            Sample(labels | {"metric": metric, "percentile": "99", "result": result}, REQUESTS * part)
            for metric, share in shares.items()
            for result, part in (("met", share), ("missed", 1 - share))
        ]

    # Gateways ---------------------------------------------------------------------------------------------------

    async def read(self, *_: Any) -> Doors:
        def offered(actor: Actor) -> Offered:
            held = max(0.0, actor.backlog - 16.0 * self.ready(actor))
            rate = self.rate(actor)
            return Offered(rate, rate * 128, held, self.served(actor) * 2.0, 15.0, self.now)

        return Doors(present=True, services={key: offered(actor) for key, actor in self.actors.items()})

    # The API server ---------------------------------------------------------------------------------------------

    async def scale(self, *, namespace: str, name: str, replicas: int, **_: Any) -> None:
        deployment = self._deployment((namespace, name))
        self._put(deployment | {"spec": deployment["spec"] | {"replicas": replicas}})

    async def annotate_pod(self, *, namespace: str, name: str, annotations: Mapping[str, str | None]) -> None:
        pod = self.cache.get("Pod", (namespace, name))
        if pod is None:
            return
        notes = (pod["metadata"].get("annotations") or {}) | annotations
        kept = {key: value for key, value in notes.items() if value is not None}
        self._put(pod | {"metadata": pod["metadata"] | {"annotations": kept}})

    async def apply_status(self, manifest: Manifest, **_: Any) -> Manifest:
        metadata = manifest["metadata"]
        live = self.cache.get(names.KIND, (metadata["namespace"], metadata["name"]))
        assert live is not None
        new = manifest["status"]
        kinds = {item["type"] for item in new.get("conditions", [])}
        kept = [item for item in (live.get("status") or {}).get("conditions", []) if item["type"] not in kinds]
        status = (live.get("status") or {}) | new | {"conditions": kept + new.get("conditions", [])}
        self.version += 1
        return live | {"status": status, "metadata": live["metadata"] | {"resourceVersion": str(self.version)}}

    async def create_event(self, *_: Any) -> None:
        pass

    list = get = apply = create_event
