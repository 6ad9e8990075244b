"""From a resource to the manifests of its children: Deployment, Service, PodDisruptionBudget.

Only `spec.model`, `spec.runtime` and `spec.drain` reach the pod template, so that no change of an SLA, a bound or a
price restarts a worker. Every manifest is the whole intent (what is left out is dropped by server-side apply),
carries a controller owner reference, and sets no field to null.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from penstock_contract import names
from penstock_operator.core import naming
from penstock_operator.core.drift import with_hash
from penstock_operator.core.pod import pod_template

if TYPE_CHECKING:
    from penstock_operator.api import InferenceServiceSpec

Manifest = dict[str, Any]
CHILD_KINDS = ("Deployment", "Service", "PodDisruptionBudget")
_DEADLINE_MARGIN_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Owner:
    """The resource that owns the children."""

    namespace: str
    name: str
    uid: str

    def reference(self) -> Manifest:
        """The controller owner reference."""
        return {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "name": self.name,
            "uid": self.uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }

    def controls(self, live: Manifest) -> bool:
        """True when a live object is a child of this very resource, not of a namesake or of somebody else."""
        references = live["metadata"].get("ownerReferences") or []
        return any(item.get("controller") and item.get("uid") == self.uid for item in references)


def children(
    owner: Owner, spec: InferenceServiceSpec, *, replicas: int | None, default_images: Mapping[str, str]
) -> list[Manifest]:
    """Manifests of all children, each with its hash.

    Args:
        owner: the resource.
        spec: its spec.
        replicas: `spec.replicas` of the Deployment, or None to leave the field to the autoscaler.
        default_images: image by engine, for specs that name none.

    Raises:
        EngineNotSupportedError: the engine cannot do what the spec asks.
    """
    manifests = [_deployment(owner, spec, replicas, default_images), _service(owner), _pdb(owner)]
    return [with_hash(manifest) for manifest in manifests]


def _metadata(owner: Owner) -> Manifest:
    return {
        "name": naming.child_name(owner.name),
        "namespace": owner.namespace,
        "labels": naming.labels(owner.name),
        "ownerReferences": [owner.reference()],
    }


def _deployment(
    owner: Owner, spec: InferenceServiceSpec, replicas: int | None, default_images: Mapping[str, str]
) -> Manifest:
    body: Manifest = {
        "selector": {"matchLabels": naming.selector(owner.name)},
        "template": pod_template(owner.name, spec, default_images=default_images),
        "strategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {
                "maxSurge": spec.rollout.max_surge,
                "maxUnavailable": spec.rollout.max_unavailable,
            },
        },
        "progressDeadlineSeconds": spec.runtime.startup_timeout_seconds + _DEADLINE_MARGIN_SECONDS,
        "revisionHistoryLimit": 3,
    }
    if replicas is not None:
        body["replicas"] = replicas
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": _metadata(owner), "spec": body}


def _service(owner: Owner) -> Manifest:
    ports = [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": "http"}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(owner),
        "spec": {"type": "ClusterIP", "selector": naming.selector(owner.name), "ports": ports},
    }


def _pdb(owner: Owner) -> Manifest:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": _metadata(owner),
        "spec": {
            "selector": {"matchLabels": naming.selector(owner.name)},
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }
