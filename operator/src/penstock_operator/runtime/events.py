"""Kubernetes Events: one per transition, in the resource's namespace."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import Any, Literal

from penstock_contract import names

Manifest = dict[str, Any]
# What the spec asks for, or what is so before the first Deployment: no reason to warn.
_WANTED = ("ManualReplicas", "Paused", "Advise", "ScaledToZero", "NoWorkload")
# Carried on with, and still to be mended.
_MAKESHIFT = ("SignalsFromPods",)


def event(resource: Manifest, *, kind: Literal["Normal", "Warning"], reason: str, message: str, now: float) -> Manifest:
    """An event about a resource.

    Args:
        resource: the InferenceService.
        kind: Normal or Warning.
        reason: CamelCase, stable.
        message: for people.
        now: Unix seconds.
    """
    metadata = resource["metadata"]
    time = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{metadata['name']}.{secrets.token_hex(8)}",
            "namespace": metadata["namespace"],
        },
        "involvedObject": {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "uid": metadata["uid"],
        },
        "type": kind,
        "reason": reason,
        "message": message[:1024],
        "source": {"component": names.OPERATOR_MANAGER},
        "firstTimestamp": time,
        "lastTimestamp": time,
        "count": 1,
    }


def condition_events(resource: Manifest, old: list[Manifest], new: list[Manifest], *, now: float) -> list[Manifest]:
    """Events for the conditions whose status or reason changed; none at the first visit of a healthy state."""
    known = {item.get("type"): item for item in old}
    found: dict[str, Manifest] = {}
    for item in new:
        before = known.get(item["type"])
        if before and (before.get("status"), before.get("reason")) == (item["status"], item["reason"]):
            continue
        bad = (item["status"] == "True") is (item["type"] == "ScalingLimited") and item["status"] != "Unknown"
        bad = (bad and item["reason"] not in _WANTED) or item["reason"] in _MAKESHIFT
        if item["type"] == "Ready" or (before is None and not bad):
            continue  # Ready only repeats the condition behind it
        kind: Literal["Normal", "Warning"] = "Warning" if bad else "Normal"
        found[item["reason"]] = event(
            resource, kind=kind, reason=item["reason"], message=item["message"], now=now
        )  # two conditions with the same reason tell the same
    return list(found.values())
