"""Reconcile one InferenceService: make the children say what its spec says, then make its status say what is true.

Level-triggered: it reads the cache, computes what should be, and writes only what the live objects do not already say,
so repeating it, crashing in it, or running it on an old cache is harmless. An invalid or unsupported spec touches no
child: the last good workload keeps serving and `Accepted` says why.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from penstock_contract import names
from penstock_operator.adapters.errors import KubeError
from penstock_operator.api import InferenceService, InvalidSpec
from penstock_operator.core import naming
from penstock_operator.core.desired import CHILD_KINDS, Owner, children
from penstock_operator.core.drift import covers
from penstock_operator.core.errors import CoreError, NameConflictError
from penstock_operator.core.handover import replicas_to_apply
from penstock_operator.core.ports import Kube
from penstock_operator.core.scalingstatus import rfc3339
from penstock_operator.core.status import Refusal, counts, timed, verdicts
from penstock_operator.runtime.cache import Cache, Key
from penstock_operator.runtime.events import condition_events

Manifest = dict[str, Any]
_LOG = logging.getLogger("penstock.reconcile")
_REFUSALS = (400, 422)  # the API server will not have this manifest, however often it is sent


class Reconciler:
    """Reconciles services of a cache against the API server."""

    def __init__(
        self, kube: Kube, cache: Cache, *, default_images: Mapping[str, str], clock: Callable[[], float]
    ) -> None:
        self._kube = kube
        self._cache = cache
        self._default_images = default_images
        self._clock = clock
        self._accepted_as: dict[tuple[str, Key], tuple[str, str]] = {}

    async def reconcile(self, key: Key) -> None:
        """Bring one service to its desired state.

        Raises:
            KubeError: the API server refused or was away; the caller repeats later.
        """
        raw = self._cache.get(names.KIND, key)
        service = self._cache.service(key)
        if raw is None or service is None or raw["metadata"].get("deletionTimestamp"):
            return
        if await self._is_gone(key, raw["metadata"]["uid"]):
            return
        try:
            refusal = await self._children(key, service)
        except KubeError as error:
            if error.status in _REFUSALS:
                await self._status(key, raw, Refusal("InvalidSpec", f"the API server refuses it: {error.message}"))
            raise
        await self._status(key, raw, refusal)

    def forget(self, key: Key) -> None:
        """Drop what is known of a service that is gone."""
        child = (key[0], naming.child_name(key[1]))
        for kind in CHILD_KINDS:
            self._accepted_as.pop((kind, child), None)

    async def _is_gone(self, key: Key, uid: str) -> bool:
        """True when a child is missing because the resource itself is deleted, which the cache may not know yet.

        A child created then has no owner: the garbage collector takes it, its deletion brings us here again, and so on.
        """
        child = (key[0], naming.child_name(key[1]))
        if all(self._cache.get(kind, child) is not None for kind in CHILD_KINDS):
            return False
        live = await self._kube.get(names.KIND, namespace=key[0], name=key[1])
        return live is None or live["metadata"]["uid"] != uid or "deletionTimestamp" in live["metadata"]

    async def _children(self, key: Key, service: InferenceService | InvalidSpec) -> Refusal | None:
        if isinstance(service, InvalidSpec):
            return Refusal("InvalidSpec", str(service))
        try:
            owner, manifests = Owner(key[0], key[1], service.metadata.uid), self._desired(key, service)
            await self._claim(owner, manifests)
            for manifest in manifests:
                await self._write(manifest)
        except CoreError as error:
            return Refusal(error.reason, str(error))
        return None

    def _desired(self, key: Key, service: InferenceService) -> list[Manifest]:
        spec, owner = service.spec, Owner(key[0], key[1], service.metadata.uid)
        deployment = self._cache.get("Deployment", (key[0], naming.child_name(key[1])))
        scaling = spec.scaling
        last_status = (self._cache.get(names.KIND, key) or {}).get("status", {})
        replicas = replicas_to_apply(
            fixed=None if scaling is not None else spec.replicas,
            minimum=0 if scaling is None else scaling.min_replicas,
            maximum=0 if scaling is None else scaling.max_replicas,
            last_desired=last_status.get("desiredReplicas"),
            live=deployment,
        )
        return children(owner, spec, replicas=replicas, default_images=self._default_images)

    async def _claim(self, owner: Owner, manifests: list[Manifest]) -> None:
        """See that no name is taken by an object of somebody else, before any child is written.

        The cache holds objects with our label only, so what it does not know is asked for.
        """
        for manifest in manifests:
            kind, name = manifest["kind"], manifest["metadata"]["name"]
            live = self._cache.get(kind, (owner.namespace, name))
            if live is None:
                live = await self._kube.get(kind, namespace=owner.namespace, name=name)
            if live is not None and not owner.controls(live):
                raise NameConflictError(
                    f"{kind} {name} exists and is not controlled by this resource; "
                    "delete it or rename the InferenceService"
                )

    async def _write(self, manifest: Manifest) -> None:
        kind, metadata = manifest["kind"], manifest["metadata"]
        key = (metadata["namespace"], metadata["name"])
        live = self._cache.get(kind, key)
        digest = metadata["annotations"][names.MANIFEST_HASH]
        if live is not None:
            if covers(live, manifest):
                return
            if self._accepted_as.get((kind, key)) == (digest, _identity(live)):
                return
        answer = {"kind": kind} | await self._kube.apply(manifest, manager=names.OPERATOR_MANAGER)
        self._cache.put(answer)
        if not covers(answer, manifest):
            # The server (or a webhook) changes what we send: repeating it would write forever.
            self._accepted_as[kind, key] = (digest, _identity(answer))
            _LOG.warning("manifest_altered kind=%s namespace=%s name=%s", kind, *key)
        else:
            self._accepted_as.pop((kind, key), None)
        _LOG.info("applied kind=%s namespace=%s name=%s new=%s", kind, *key, live is None)

    async def _status(self, key: Key, raw: Manifest, refusal: Refusal | None) -> None:
        deployment = self._cache.get("Deployment", (key[0], naming.child_name(key[1])))
        if deployment is not None and not Owner(key[0], key[1], raw["metadata"]["uid"]).controls(deployment):
            deployment = None
        live, now = raw.get("status") or {}, self._clock()
        generation = int(raw["metadata"].get("generation") or 0)
        before = live.get("conditions") or []
        conditions = timed(
            verdicts(refusal=refusal, deployment=deployment, pods=self._cache.pods(key)),
            before,
            generation=generation,
            now=rfc3339(now),
        )
        status = counts(key[1], generation=generation, deployment=deployment) | {"conditions": conditions}
        if covers(live, status):
            return
        answer = await self._kube.apply_status(_status_manifest(raw, status), manager=names.OPERATOR_MANAGER)
        self._cache.put({"kind": names.KIND} | answer)
        for item in condition_events(raw, before, conditions, now=now):
            await self._kube.create_event(item)
            _LOG.info("transition namespace=%s name=%s reason=%s", *key, item["reason"])


def _status_manifest(raw: Manifest, status: Manifest) -> Manifest:
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": raw["metadata"]["name"], "namespace": raw["metadata"]["namespace"]},
        "status": status,
    }


def _identity(live: Manifest) -> str:
    metadata = live["metadata"]
    return f"{metadata.get('uid')}/{metadata.get('generation') or metadata.get('resourceVersion')}"
