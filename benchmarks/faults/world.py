"""What every scenario works with: the cluster, the installed chart, and the few calls that scenarios are made of.

The client finds gateways as a Service's proxy would: by their readiness, a quarter of a second late at most. While the
API server is away it keeps the gateways it knew.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import psutil

from penstock_contract import names
from penstock_lab.cluster import processes
from penstock_lab.install import Release
from penstock_lab.kube import UNREACHABLE, Kube, KubeError, Resource
from penstock_lab.nodeagent.environment import POD_MARK

Object = dict[str, Any]
PODS = Resource("v1", "pods")
NAMESPACES = Resource("v1", "namespaces")
EVENTS = Resource("v1", "events")
DEPLOYMENTS = Resource("apps/v1", "deployments")
SERVICES = Resource(names.API_VERSION, names.PLURAL)
GPUS = 8
_LOOK_SECONDS = 0.25
_BROKEN = re.compile(r"event=broken worker=(\S+) request_id=(\S+) begun=(True|False)")


class ScenarioError(Exception):
    """A scenario could not be carried out; what it should show is not shown."""


@dataclass(slots=True)
class World:
    """A cluster with Penstock on it.

    Attributes:
        release: the installed chart, and by it the cluster.
        kube: the API server.
        http: for metrics.
        say: progress, a line at a time.
        doors: addresses of the gateways that are ready now.
    """

    release: Release
    kube: Kube
    http: aiohttp.ClientSession
    say: Callable[[str], None] = lambda _: None
    doors: list[str] = field(default_factory=list)
    _turn: itertools.count[int] = field(default_factory=itertools.count)

    async def follow_doors(self) -> None:
        """Keep `doors` until cancelled."""
        while True:
            with suppress(*UNREACHABLE, KubeError):
                self.doors = [str(pod["status"]["podIP"]) for pod in await self.gateways() if is_ready(pod)]
            await asyncio.sleep(_LOOK_SECONDS)

    async def gateways(self) -> list[Object]:
        """Gateway pods that are not on their way out."""
        selector = f"{self.release.selector},{names.LABEL_NAME}={names.GATEWAY_NAME}"
        return await self._live(self.release.namespace, selector)

    def pick(self, service: str) -> Callable[[], str]:
        """A function that gives the service's URL at the next gateway."""

        def base() -> str:
            if not self.doors:
                return "http://127.0.0.1:9"  # nobody there: the request fails, and counts
            address = self.doors[next(self._turn) % len(self.doors)]
            return f"http://{address}:{names.GATEWAY_PORT}/{service}/{service}"

        return base

    async def workers(self, service: str) -> list[Object]:
        """Pods of a service that are not on their way out, oldest first."""
        found = await self._live(service, f"{names.SERVICE}={service}")
        return sorted(found, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))

    async def ready(self, service: str) -> list[Object]:
        """Those that are ready."""
        return [pod for pod in await self.workers(service) if is_ready(pod)]

    async def replicas(self, service: str) -> int:
        """`spec.replicas` of the service's Deployment."""
        return int((await self.kube.get(DEPLOYMENTS, service, namespace=service))["spec"].get("replicas", 0))

    async def patch(self, service: str, spec: Object) -> None:
        """Merge into the spec of a service."""
        await self.kube.patch(SERVICES, service, {"spec": spec}, namespace=service)

    async def condition(self, service: str, kind: str) -> Object:
        """A condition of a service; empty while there is none."""
        status = (await self.kube.get(SERVICES, service, namespace=service)).get("status", {})
        return next((item for item in status.get("conditions", ()) if item["type"] == kind), {})

    async def events(self, service: str, reason: str) -> list[Object]:
        """Events of a service with one reason."""
        listed = await self.kube.list(EVENTS, namespace=service, fieldSelector=f"reason={reason}")
        return list(listed["items"])

    async def metric(self, pod: Object, name: str, *, port: int = names.HTTP_PORT) -> float | None:
        """Sum of a metric's samples in a pod's exposition; None when it does not answer."""
        url = f"http://{pod['status']['podIP']}:{port}/metrics"
        try:
            async with self.http.get(url, timeout=aiohttp.ClientTimeout(total=3)) as response:
                lines = (await response.text()).splitlines()
        except UNREACHABLE:
            return None
        found = [line for line in lines if line.startswith((f"{name} ", f"{name}{{"))]
        return sum(float(line.rsplit(" ", 1)[1]) for line in found)

    async def arrived_at_workers(self, service: str) -> int | None:
        """Requests that all workers the service ever had took in, by the last scrape of each; None if unknown."""
        query = f'sum(max_over_time(penstock_worker_requests_arrived_total{{namespace="{service}"}}[30m]))'
        url = f"{self.release.cluster.prometheus_url}/api/v1/query"
        try:
            async with self.http.get(url, params={"query": query}) as response:
                found = (await response.json())["data"]["result"]
        except (*UNREACHABLE, KeyError):
            return None
        return int(float(found[0]["value"][1])) if found else None

    def broken(self, service: str) -> list[tuple[str, str, bool]]:
        """(worker, request id, answer had begun) of every attempt that broke, from the gateways' logs."""
        found = []
        for log in self.release.cluster.pod_logs.glob(f"{self.release.namespace}_*gateway*_*.log"):
            for worker, request_id, begun in _BROKEN.findall(log.read_text(errors="replace")):
                if request_id.startswith(f"{service}-"):
                    found.append((worker, request_id, begun == "True"))
        return found

    @asynccontextmanager
    async def service(self, name: str, *, ready: int = 1, **spec: Any) -> AsyncIterator[str]:
        """A service in a namespace of its own, with so many ready workers; gone with its GPUs afterwards."""
        await self.kube.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        await self.kube.create(SERVICES, manifest(name, **spec), namespace=name)
        try:
            await self.until(lambda: self.has_ready(name, ready), what=f"{ready} ready workers of {name}")
            yield name
        finally:
            await self.kube.delete(SERVICES, name, namespace=name)
            await self.until(lambda: self._gone(name), what=f"workers of {name} are gone")
            await self.kube.delete(NAMESPACES, name)

    async def has_ready(self, service: str, count: int) -> bool:
        """Whether exactly so many workers are ready and live, and all gateways know them."""
        workers = await self.workers(service)
        if len(workers) != count or not all(is_ready(pod) for pod in workers):
            return False
        known = [await self._knows(door, service) for door in self.doors]
        return bool(known) and all(known)

    async def until(
        self, probe: Callable[[], Awaitable[Any]], *, what: str, seconds: float = 90.0, every: float = 0.2
    ) -> Any:
        """Wait for the first truthy answer.

        Raises:
            ScenarioError: it did not come in time.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        last: object = None
        while loop.time() < end:
            try:
                last = await probe()
            except (*UNREACHABLE, KubeError) as error:
                last = error
            else:
                if last:
                    return last
            await asyncio.sleep(every)
        raise ScenarioError(f"not within {seconds:.0f} s: {what}; last: {last!r}")

    def signal(self, pod: Object, number: signal.Signals) -> None:
        """Send a signal to every process of a pod.

        Raises:
            ScenarioError: it has none.
        """
        found = processes.find(pod["metadata"]["uid"], variable=POD_MARK)
        if not found:
            raise ScenarioError(f"pod {pod['metadata']['name']} has no process")
        for process in found:
            with suppress(psutil.NoSuchProcess):
                os.kill(process.pid, number)

    async def _live(self, namespace: str, selector: str) -> list[Object]:
        listed = await self.kube.list(PODS, namespace=namespace, labelSelector=selector)
        return [pod for pod in listed["items"] if not pod["metadata"].get("deletionTimestamp")]

    async def _gone(self, namespace: str) -> bool:
        return not (await self.kube.list(PODS, namespace=namespace))["items"]

    async def held(self, service: str) -> int:
        """Requests that the gateways hold for a service."""
        found = 0
        for door in self.doors:
            async with self.http.get(f"http://{door}:{names.GATEWAY_ADMIN_PORT}/demand") as response:
                services = (await response.json())["services"]
            found += int(services.get(f"{service}/{service}", {}).get("held", 0))
        return found

    async def _knows(self, door: str, service: str) -> bool:
        async with self.http.get(f"http://{door}:{names.GATEWAY_ADMIN_PORT}/demand") as response:
            return f"{service}/{service}" in (await response.json())["services"]


def is_ready(pod: Object) -> bool:
    """Whether a pod is Ready."""
    conditions = pod.get("status", {}).get("conditions", ())
    return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)


def draining(pod: Object) -> bool:
    """Whether a pod is marked as draining."""
    return names.DRAINING in (pod["metadata"].get("annotations") or {})


def manifest(name: str, **spec: Any) -> Object:
    """An InferenceService on the emulated device; arguments replace parts of its spec, None removes one."""
    base: Object = {
        "model": {"source": {"containerPath": "/models/tiny"}},
        "runtime": {
            "image": "penstock/worker:dev",
            "args": ["--emulate-device=/models/faults.json"],
            "accelerator": {"count": 1},
        },
        "replicas": 2,
        "drain": {"timeoutSeconds": 60},
    }
    merged = {key: value for key, value in (base | spec).items() if value is not None}
    if "scaling" in merged:
        merged.pop("replicas")
    return {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": {"name": name}, "spec": merged}


def scaling(minimum: int, maximum: int, *, tokens: int = 80, **more: Any) -> Object:
    """`spec.scaling` with a target per replica and a short stabilisation window."""
    return {
        "minReplicas": minimum,
        "maxReplicas": maximum,
        "targets": {"tokensPerSecond": tokens},
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 6}},
    } | more
