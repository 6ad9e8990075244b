"""kopf handlers: every watch event updates the cache and marks a service dirty; nothing else happens here.

kopf is the transport (watching, reconnecting, credentials), not the engine: create/update handlers, timers, daemons and
indexes would each write to every resource or run a task per resource.
"""

from __future__ import annotations

import itertools
import logging
import random
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import kopf
from kubernetes.aio.client import Configuration

from penstock_contract import names
from penstock_operator.runtime.cache import Cache, Key, key_of, service_of

_CREDENTIALS_LIFETIME = timedelta(minutes=10)
_LONGEST_BACKOFF_SECONDS = 10.0
CHILDREN = (("apps", "v1", "deployments"), ("", "v1", "services"), ("policy", "v1", "poddisruptionbudgets"))
_KINDS = {"deployments": "Deployment", "services": "Service", "poddisruptionbudgets": "PodDisruptionBudget"}
MANAGED = f"{names.LABEL_MANAGED_BY}={names.MANAGED_BY}"
PODS = f"{names.LABEL_PART_OF}={names.PART_OF}"  # workers and gateways


def registry(
    cache: Cache, *, dirty: Callable[[Key], None], gone: Callable[[Key], None], configuration: Configuration
) -> kopf.OperatorRegistry:
    """A registry with all handlers.

    Args:
        cache: updated by every event.
        dirty: called with the key of a service that may need work.
        gone: called with the key of a service that was deleted.
        configuration: where kopf connects to.
    """
    handlers = kopf.OperatorRegistry()

    def take(kind: str, event: Any) -> bool:
        obj = {"kind": kind} | event["object"]
        if event["type"] == "DELETED":
            cache.remove(obj)
            return True
        return cache.put(obj)

    @kopf.on.event(names.GROUP, names.VERSION, names.PLURAL, registry=handlers)
    async def service_event(event: Any, **_: Any) -> None:
        take(names.KIND, event)
        key = key_of(event["object"])
        if event["type"] == "DELETED" and cache.get(names.KIND, key) is None:  # no namesake has taken its place
            gone(key)
        dirty(key)

    async def child_event(event: Any, resource: Any, **_: Any) -> None:
        kind = _KINDS[resource.plural]
        if take(kind, event) and (key := service_of(event["object"])) is not None:
            dirty(key)

    for group, version, plural in CHILDREN:
        kopf.on.event(group, version, plural, registry=handlers, id=f"child_event/{plural}")(child_event)

    @kopf.on.event("", "v1", "pods", registry=handlers)
    async def pod_event(event: Any, **_: Any) -> None:
        if take("Pod", event) and (key := service_of(event["object"])) is not None:
            dirty(key)

    kopf.on.login(registry=handlers)(_login(configuration))
    return handlers


def _login(configuration: Configuration) -> Callable[..., Awaitable[kopf.ConnectionInfo]]:
    async def login(**_: Any) -> kopf.ConnectionInfo:
        authorization = await configuration.get_api_key_with_prefix("BearerToken") or ""
        token = authorization.rpartition(" ")[2]  # after `bearer` in a pod, `Bearer` from a kubeconfig
        return kopf.ConnectionInfo(
            server=configuration.host,
            ca_path=configuration.ssl_ca_cert,
            insecure=not configuration.verify_ssl,
            scheme="Bearer" if token else None,
            token=token or None,
            certificate_path=configuration.cert_file,
            private_key_path=configuration.key_file,
            expiration=datetime.now(UTC) + _CREDENTIALS_LIFETIME,
        )

    return login


class _Backoffs:
    """Seconds between the attempts of one request, with jitter and without end.

    When kopf's own eight are used up, an API server that says 500 or 503 for a minute ends the operator.
    """

    def __iter__(self) -> Iterator[float]:
        for exponent in itertools.count():
            yield min(_LONGEST_BACKOFF_SECONDS, 2.0 ** min(exponent, 10)) * random.uniform(0.8, 1.2)


class _NoDiffBase(kopf.DiffBaseStorage):
    """No memory of former states: only create and update handlers ask for it, and it costs a deep copy per event."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, **_: Any) -> kopf.BodyEssence | None:
        return None

    def store(self, **_: Any) -> None:
        pass


def settings() -> kopf.OperatorSettings:
    """Kopf's settings; each deviation from its defaults has its reason beside it."""
    chosen = kopf.OperatorSettings()
    chosen.scanning.disabled = True  # no watch of CRDs and namespaces: least privilege
    chosen.peering.standalone = True  # kopf's peering is no leader election
    chosen.posting.enabled = False  # events are posted on transitions only, by ourselves
    chosen.persistence.diffbase_storage = _NoDiffBase()
    chosen.persistence.finalizer = f"{names.GROUP}/unused"
    chosen.watching.label_selectors["pods"] = PODS
    for plural in ("services", "deployments.apps", "poddisruptionbudgets.policy"):
        chosen.watching.label_selectors[plural] = MANAGED
    chosen.watching.server_timeout = 600
    chosen.watching.connect_timeout = 10
    chosen.networking.request_timeout = 30  # the default of 300 s stalls a watch for as long
    chosen.networking.error_backoffs = _Backoffs()
    chosen.queueing.worker_limit = None  # an idle worker per object keeps its slot: a limit throttles the first list
    chosen.queueing.idle_timeout = 0.05
    logging.getLogger("kopf.objects").setLevel(logging.WARNING)
    logging.getLogger("kopf").setLevel(logging.WARNING)
    return chosen
