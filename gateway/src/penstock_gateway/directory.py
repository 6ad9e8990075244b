"""What is known of services and workers, kept from objects of the API server.

Objects are applied as they come, in any order and any number of times; what is known stays in force while the API
server is away. A worker belongs to the service its pod's label names, whether or not that service is known yet.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from penstock_contract import names
from penstock_gateway import sla
from penstock_gateway.pool import Pool, Worker
from penstock_gateway.stats import Stats

Object = Mapping[str, Any]
Key = tuple[str, str]
_log = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class Service:
    """One `InferenceService`.

    Attributes:
        key: namespace and name.
        model: the served name.
        created: Unix time.
        max_model_len: tokens of context, if the resource says.
        objectives: of its SLA.
        pool: its workers and held requests.
        stats: its totals.
    """

    key: Key
    model: str = ""
    created: int = 0
    max_model_len: int | None = None
    objectives: tuple[sla.Objective, ...] = ()
    pool: Pool = field(default_factory=Pool)
    stats: Stats = field(default_factory=Stats)

    @property
    def path(self) -> str:
        """Namespace and name as in URLs."""
        return "/".join(self.key)

    def update(self, found: Object) -> None:
        """Take over what the resource says."""
        spec = found.get("spec") or {}
        model = spec.get("model") or {}
        routing = spec.get("routing") or {}
        self.model = model.get("name") or self.key[1]
        self.max_model_len = model.get("maxModelLen")
        self.created = _unix(found["metadata"].get("creationTimestamp"))
        self.objectives = sla.objectives(spec)
        self.stats.aim(self.objectives)
        self.pool.max_held = routing.get("maxHeldRequests", 1000)
        self.pool.hold_seconds = float(routing.get("holdTimeoutSeconds", 120))


class Directory:
    """Services by key and model, workers by uid.

    Args:
        greet: called with a pool and a worker that became ready and has to be asked what it can run.
        lost: called with a worker whose pod is gone.
        paced: requests are held so that objectives are kept.
    """

    def __init__(
        self, *, greet: Callable[[Pool, Worker], None], lost: Callable[[Worker], None], paced: bool = True
    ) -> None:
        self._greet = greet
        self._lost = lost
        self._paced = paced
        self._services: dict[Key, Service] = {}
        self._models: dict[str, dict[Key, Service]] = {}
        self._pools: dict[Key, Pool] = {}  # of services that are known or have pods
        self._owners: dict[str, Key] = {}

    @property
    def services(self) -> Iterable[Service]:
        """All known services."""
        return self._services.values()

    @property
    def pools(self) -> Iterable[Pool]:
        """All pools, those of unknown services included."""
        return self._pools.values()

    def service(self, namespace: str, name: str) -> Service | None:
        """A service by its key."""
        return self._services.get((namespace, name))

    def serving(self, model: str) -> list[Service]:
        """The services of a served name."""
        return list(self._models.get(model, {}).values())

    def apply_service(self, found: Object) -> None:
        """A service exists and looks like this."""
        key = _key(found)
        service = self._services.get(key)
        if service is None:
            service = self._services[key] = Service(key, pool=self._pools.setdefault(key, Pool()))
            service.pool.closed = None
            _log.info("event=service_added service=%s", service.path)
        self._unlist(service)
        service.update(found)
        service.pool.aim(service.objectives if self._paced else ())
        self._models.setdefault(service.model, {})[key] = service

    def remove_service(self, key: Key) -> None:
        """A service is gone; what its workers have in flight may finish."""
        service = self._services.pop(key, None)
        if service is None:
            return
        _log.info("event=service_removed service=%s", service.path)
        self._unlist(service)
        service.pool.close()
        self._tidy(key)

    def apply_pod(self, found: Object) -> None:
        """A worker pod exists and looks like this."""
        metadata, status = found["metadata"], found.get("status") or {}
        uid, address = metadata["uid"], status.get("podIP")
        label = (metadata.get("labels") or {}).get(names.SERVICE)
        if not address or not label or status.get("phase") in {"Succeeded", "Failed"}:
            self.remove_pod(uid)
            return
        key = (metadata["namespace"], label)
        pool = self._pools.setdefault(key, Pool())
        worker = pool.get(uid)
        if worker is None or worker.host != address:
            self.remove_pod(uid)
            worker = Worker(uid, metadata["name"], address)
            self._pools.setdefault(key, pool)
            self._owners[uid] = key
            pool.add(worker)
        self._update(pool, worker, found)

    def remove_pod(self, uid: str) -> None:
        """A worker pod is gone."""
        key = self._owners.pop(uid, None)
        if key is None:
            return
        worker = self._pools[key].remove(uid)
        self._tidy(key)
        if worker is not None:
            _log.info("event=worker_removed worker=%s/%s in_flight=%d", key[0], worker.name, len(worker.attempts))
            self._lost(worker)

    def replace_services(self, namespace: str | None, found: Iterable[Object]) -> None:
        """These are all services of a namespace, or of the cluster."""
        objects = list(found)
        there = {_key(one) for one in objects}
        for key in [key for key in self._services if namespace in (None, key[0]) and key not in there]:
            self.remove_service(key)
        for one in objects:
            self.apply_service(one)

    def replace_pods(self, namespace: str | None, found: Iterable[Object]) -> None:
        """These are all worker pods of a namespace, or of the cluster."""
        objects = list(found)
        there = {one["metadata"]["uid"] for one in objects}
        for uid in [uid for uid, key in self._owners.items() if namespace in (None, key[0]) and uid not in there]:
            self.remove_pod(uid)
        for one in objects:
            self.apply_pod(one)

    def _update(self, pool: Pool, worker: Worker, found: Object) -> None:
        metadata = found["metadata"]
        leaving = "deletionTimestamp" in metadata or _draining(metadata)
        ready = _ready(found)
        before = (worker.ready, worker.leaving)
        if before == (ready, leaving):
            return
        worker.ready, worker.leaving = ready, leaving
        _log.info(
            "event=worker_changed worker=%s/%s ready=%s leaving=%s", metadata["namespace"], worker.name, ready, leaving
        )
        if ready and not before[0]:
            worker.limit = None  # the container may be another one than before
            worker.rests = 0
            self._greet(pool, worker)
        pool.serve_waiting()

    def _unlist(self, service: Service) -> None:
        listed = self._models.get(service.model, {})
        listed.pop(service.key, None)
        if not listed:
            self._models.pop(service.model, None)

    def _tidy(self, key: Key) -> None:
        if key not in self._services and not self._pools[key].workers:
            del self._pools[key]


def _key(found: Object) -> Key:
    return found["metadata"]["namespace"], found["metadata"]["name"]


def _draining(metadata: Mapping[str, Any]) -> bool:
    return names.DRAINING in (metadata.get("annotations") or {})  # whatever it says


def _ready(pod: Object) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _unix(timestamp: str | None) -> int:
    return int(datetime.fromisoformat(timestamp).timestamp()) if timestamp else 0
