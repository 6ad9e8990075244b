"""The resources that are adopted: applied fast by several writers, and looked at afterwards whether all is there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import yaml

from penstock_contract import names
from penstock_lab.kube import Kube, KubeError, Resource

from .audit import Request

NAMESPACE: Final = "bench"
SERVICES: Final = Resource(names.API_VERSION, names.PLURAL)
CHILDREN: Final = {
    "deployments": Resource("apps/v1", "deployments"),
    "services": Resource("v1", "services"),
    "poddisruptionbudgets": Resource("policy/v1", "poddisruptionbudgets"),
}
_CRDS = Path(__file__).resolve().parents[2] / "crds"
_SERVED_SECONDS = 30.0
_WRITERS = 16
_PAGE = 500


def manifest(number: int) -> dict[str, Any]:
    """An autoscaled service with an SLA, at zero replicas: all of the operator's work, and no pod."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": f"svc-{number:05d}", "namespace": NAMESPACE},
        "spec": {
            "model": {"source": {"pvc": {"claimName": "models", "path": "qwen3-8b"}}},
            "sla": {
                "objectives": [
                    {"metric": "TTFT", "percentile": 99, "thresholdMilliseconds": 2000},
                    {"metric": "TPOT", "percentile": 99, "thresholdMilliseconds": 50},
                ]
            },
            "scaling": {"minReplicas": 0, "maxReplicas": 8, "targets": {"tokensPerSecond": 2500}},
            "cost": {"perAcceleratorHour": "2.50"},
        },
    }


class Steps:
    """How far adoption is: per kind of write, which resources have had it, and when the last one did."""

    def __init__(self) -> None:
        self._names: dict[str, set[str]] = {step: set() for step in (*CHILDREN, "inferenceservices/status")}
        self.at: dict[str, float] = dict.fromkeys(self._names, 0.0)

    @property
    def least(self) -> int:
        """How many have had the step that is furthest behind."""
        return min(len(names) for names in self._names.values())

    def take(self, requests: Iterable[Request]) -> None:
        """Count the first successful write of each kind for each resource."""
        for one in requests:
            names = self._names.get(one.resource)
            if names is not None and one.verb == "patch" and one.ok and one.name not in names:
                names.add(one.name)
                self.at[one.resource] = max(self.at[one.resource], one.answered_at)


async def prepare(kube: Kube) -> None:
    """Install the CRD and make the namespace; returns once the server serves the resource.

    Raises:
        TimeoutError: it does not.
    """
    for path in sorted(_CRDS.glob("*.yaml")):
        await kube.apply(yaml.safe_load(path.read_text(encoding="utf-8")), manager="benchmark")
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    await kube.apply(namespace, manager="benchmark")
    async with asyncio.timeout(_SERVED_SECONDS):
        while True:
            try:
                await kube.list(SERVICES, limit="1")
            except KubeError as error:
                if error.status != 404:
                    raise
                await asyncio.sleep(0.1)
            else:
                return


async def apply(kube: Kube, count: int, *, step: Callable[[int], None]) -> None:
    """Create `count` services; `step` is called with how many exist, now and then."""
    numbers = iter(range(count))
    done = 0

    async def writer() -> None:
        nonlocal done
        for number in numbers:
            await kube.apply(manifest(number), manager="benchmark")
            done += 1
            if done % 1000 == 0:
                step(done)

    async with asyncio.TaskGroup() as group:
        for _ in range(_WRITERS):
            group.create_task(writer())


async def missing(kube: Kube, count: int) -> dict[str, int]:
    """How many services lack a child or a status of their generation, by what is lacking; all zero when adopted."""
    found = await _all(kube, SERVICES)
    lacking = {"services": count - len(found)}
    lacking["status"] = sum(
        item.get("status", {}).get("observedGeneration") != item["metadata"]["generation"] for item in found
    )
    owners = {item["metadata"]["uid"] for item in found}
    for plural, resource in CHILDREN.items():
        have = {
            owner["uid"]
            for child in await _all(kube, resource)
            for owner in child["metadata"].get("ownerReferences") or []
        }
        lacking[plural] = len(owners - have)
    return lacking


async def pods(kube: Kube) -> int:
    """How many pods there are."""
    return len(await _all(kube, Resource("v1", "pods")))


async def _all(kube: Kube, resource: Resource) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    token = ""
    while True:
        page = await kube.list(resource, namespace=NAMESPACE, limit=str(_PAGE), **{"continue": token} if token else {})
        found += page["items"]
        token = page["metadata"].get("continue") or ""
        if not token:
            return found
