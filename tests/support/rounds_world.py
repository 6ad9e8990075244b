"""Decisions from what workers say themselves: servers in their place, and an autoscaler that can only look at them."""

import math
from typing import Any

from aiohttp import web

from penstock_contract import names
from penstock_operator.adapters.errors import KubeError
from penstock_operator.adapters.workers import WorkerScraper
from penstock_operator.core.ports import Sample, Series, Unavailable
from penstock_operator.core.scaling.signals import SCRAPE_INTERVAL_QUERY
from penstock_operator.runtime.actuator import Actuator
from penstock_operator.runtime.autoscaler import Autoscaler
from penstock_operator.runtime.cache import Cache
from penstock_operator.runtime.gateways import Gateways
from penstock_operator.runtime.measure import Measure
from penstock_operator.runtime.metrics import Metrics
from penstock_operator.runtime.rounds import Rounds

Manifest = dict[str, Any]
KEY = ("team-a", "chat")
JUNK = {"junk": "404", "unreadable": "penstock_worker_requests_running{, =n f=}f\n"}  # by manner
LENGTH = 20.0  # tokens of a request; a replica carries 100 tokens/s


class Worker:
    """A server on the workers' port; its counters grow with the clock by what it is given to do."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.rate = 0.0  # requests/s
        self.manner = ""
        self.requests = 0.0
        self.asked = 0

    async def answer(self, request: web.Request) -> web.Response:
        self.asked += 1
        if self.manner == "silent":
            raise web.HTTPServiceUnavailable
        if self.manner == "elsewhere" and request.path == "/metrics":
            raise web.HTTPFound("/other")
        return web.Response(text=JUNK.get(self.manner) or self.page())

    def page(self) -> str:
        counters = {
            "requests_arrived_total": self.requests,
            "prompt_tokens_total": 10 * self.requests,
            "generated_tokens_total": LENGTH * self.requests,
            "engine_steps_total": 100 * self.requests,
            'requests_finished_total{reason="stop"}': self.requests,
            "requests_waiting": 0.0,
            "requests_running": self.rate,
        }
        return "".join(f"penstock_worker_{name} {value}\n" for name, value in counters.items())


class World:
    """One service with the servers as its ready pods; writes fail, so its count stays while decisions go on."""

    def __init__(self, resource: Manifest, deployment: Manifest, workers: list[Worker]) -> None:
        self.now, self.failure, self.workers = 1_800_000_000.0, None, workers
        self.cache, self.metrics, self.scraper = Cache(), Metrics(), WorkerScraper()
        self.cache.put(resource)
        self.cache.put(deployment)
        for worker in workers:
            self.cache.put(pod(worker.address))
        self.rounds = Rounds(self.cache, self.scraper, self.metrics, clock=lambda: self.now)
        self.autoscaler = Autoscaler(
            self,  # type: ignore[arg-type]  # of the API server a tick only writes
            self.cache,
            Measure(self),
            self.metrics,
            clock=lambda: self.now,
            actuator=Actuator(
                self,  # type: ignore[arg-type]  # the same
                self.cache,
                self.scraper,
                self.metrics,
                handed_over=lambda _: None,
            ),
            gateways=Gateways(),
            rounds=self.rounds,
        )

    failure: Unavailable | None

    async def _refuse(self, *_: Any, **__: Any) -> Any:
        raise KubeError(0, "ClientConnectorError", "connection refused")

    apply_status = scale = create_event = annotate_pod = _refuse

    async def instant(self, query: str) -> tuple[Sample, ...] | Unavailable:
        """While it answers: every worker busy to its limit."""
        if self.failure is not None:
            return self.failure
        if query == SCRAPE_INTERVAL_QUERY:
            return (Sample({}, 2.5),)
        if query.startswith("time() - max"):
            value = 1.0
        elif query.startswith("count by"):
            value = float(len(self.workers))
        else:
            idle, long = ("penstock_worker_requests_waiting" in query, "penstock_worker_generated" in query)
            value = 0.0 if idle else 5.0 * len(self.workers) * (LENGTH if long else 1.0)
        return (Sample({"namespace": KEY[0], "inferenceservice": KEY[1]}, value),)

    async def range(self, *_: Any, **__: Any) -> tuple[Series, ...]:
        """No past."""
        return ()

    async def ticks(self, count: int) -> list[float]:
        """Let time pass; what was decided."""
        decided = []
        for _ in range(count):
            await self.autoscaler.tick()
            self.now += 5.0
            for worker in self.workers:
                worker.requests += 5.0 * worker.rate
            decided.append(self.shown("desired_replicas"))
        return decided

    def shown(self, name: str, **labels: str) -> float:
        """A sample of the operator's own metrics; of the service unless it says otherwise."""
        service = (
            {} if name.startswith(("metrics_source", "pod_")) else {"namespace": KEY[0], "inferenceservice": KEY[1]}
        )
        value = self.metrics.registry.get_sample_value(f"penstock_operator_{name}", service | labels)
        return math.nan if value is None else value

    def message(self) -> str:
        return self.autoscaler._ledger.get(KEY).finding.decision.message  # type: ignore[union-attr]


def pod(address: str, *, ready: bool = True) -> Manifest:
    name = f"chat-5d4c-{address.rpartition('.')[2]}"
    return {
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": KEY[0],
            "uid": f"p-{name}",
            "resourceVersion": "1",
            "labels": {names.SERVICE: KEY[1]},
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "ownerReferences": [{"kind": "ReplicaSet", "name": "chat-5d4c", "controller": True}],
        },
        "status": {"podIP": address, "phase": "Running", "conditions": [{"type": "Ready", "status": str(ready)}]},
    }
