"""Who owns `spec.replicas` of a Deployment: the hand-over between reconciler and autoscaler.

A Deployment is created with its initial count. The autoscaler then applies the same value through `/scale`, and only
when it owns the field does the operator leave it out: a field that nobody owns falls back to 1, which would throw away
every replica but one. The state is read from `metadata.managedFields`, so it survives a restart of either side.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from penstock_contract import names

Manifest = dict[str, Any]
FOREIGN_SECONDS = 900.0


def last_edit(entries: Sequence[Manifest] | None) -> list[Manifest]:
    """The `metadata.managedFields` of a service as far as they are read: when it was edited last, status aside."""
    times = [str(entry["time"]) for entry in entries or () if entry.get("subresource") != "status" and "time" in entry]
    return [{"time": max(times)}] if times else []


def replicas_entries(managed_fields: list[Manifest] | None) -> list[Manifest]:
    """What the functions below read of `metadata.managedFields`: most of a live object is the rest of it."""
    return [
        {name: entry[name] for name in ("manager", "subresource") if name in entry}
        | {"fieldsV1": {"f:spec": {"f:replicas": {}}}}
        for entry in managed_fields or []
        if "f:replicas" in (entry.get("fieldsV1") or {}).get("f:spec", {})
    ]


def owners_of_replicas(deployment: Manifest) -> frozenset[str]:
    """Field managers that own `spec.replicas` of a live Deployment."""
    entries = deployment.get("metadata", {}).get("managedFields") or []
    return frozenset(
        entry.get("manager", "") for entry in entries if "f:replicas" in (entry.get("fieldsV1") or {}).get("f:spec", {})
    )


def autoscaler_owns_replicas(deployment: Manifest) -> bool:
    """True when the reconciler may omit `spec.replicas`."""
    return names.AUTOSCALER_MANAGER in owners_of_replicas(deployment)


def foreign_scaler(deployment: Manifest, *, now: float) -> str | None:
    """Manager of an HPA or ScaledObject that wrote `spec.replicas` lately, or None.

    Its entry stays when it is deleted, so an entry that is older than FOREIGN_SECONDS does not count: if it lives
    after all, it writes again and is believed again.

    A person's `kubectl scale` is no foreign scaler: the next decision simply starts from the new count.
    """
    for entry in deployment.get("metadata", {}).get("managedFields") or []:
        manager = entry.get("manager", "")
        if (
            entry.get("subresource") == "scale"
            and "f:replicas" in (entry.get("fieldsV1") or {}).get("f:spec", {})
            and now - _written_at(entry) < FOREIGN_SECONDS
            and manager in ("kube-controller-manager", "horizontal-pod-autoscaler", "keda", "keda-operator")
        ):
            return str(manager)
    return None


def _written_at(entry: Manifest) -> float:
    try:
        return datetime.fromisoformat(str(entry.get("time"))).timestamp()
    except ValueError:
        return float("inf")  # no time: count it


def replicas_to_apply(
    *, fixed: int | None, minimum: int, last_desired: int | None, maximum: int, live: Manifest | None
) -> int | None:
    """The `spec.replicas` that the reconciler applies, or None to omit the field.

    Args:
        fixed: `spec.replicas` of the resource; None when it is autoscaled.
        minimum: `scaling.minReplicas`.
        last_desired: `status.desiredReplicas`, so that a Deployment deleted by hand comes back at its size.
        maximum: `scaling.maxReplicas`.
        live: the live Deployment, or None before it exists.
    """
    if fixed is not None:
        return fixed
    if live is None:
        return min(maximum, max(minimum, last_desired or 0))
    if autoscaler_owns_replicas(live):
        return None
    return int(live.get("spec", {}).get("replicas", minimum))
