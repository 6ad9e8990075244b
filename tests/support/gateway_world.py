"""Real gateways, real workers and the objects they find each other by, for tests of the gateway.

Workers run as processes on loopback addresses of their own, at the contract's port. Their pods exist on the real API
server with a status that the test writes in place of a kubelet, so that a test decides what is ready, drains or goes.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp

from nursery import Child, Nursery
from penstock_contract import names
from penstock_contract.profile import Profile
from penstock_contract.step import StepModel
from penstock_lab.kube import Kube, Resource
from worker_process import Samples, free_ports, parse_samples

NAMESPACE = "gateway-tests"
PODS = Resource("v1", "pods")
SERVICES = Resource(names.API_VERSION, names.PLURAL)
MODEL = "tiny"
SLOTS = 4


async def eventually(probe: Callable[[], Awaitable[Any]], what: str, *, seconds: float = 90.0) -> Any:
    """The first truthy answer; fails with `what` after the deadline."""
    deadline = time.monotonic() + seconds
    while not (found := await probe()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        await asyncio.sleep(0.01)
    return found


def addresses() -> Iterator[str]:
    """Loopback addresses of this test process, outside of those of local clusters."""
    block = 16 + os.getpid() % 40
    return (f"127.{block}.{number // 250}.{number % 250 + 1}" for number in itertools.count())


def profile(
    *, step_seconds: float = 0.02, slots: int = SLOTS, prompt_seconds: float = 0.0, sequence_seconds: float = 0.0
) -> Profile:
    """An emulated device whose every step takes so long, and longer by so much for each sequence and prompt token."""
    model = StepModel(c0=step_seconds, cB=sequence_seconds, cKV=0.0, cP=prompt_seconds, cPP=0.0)
    return Profile("made", model, 16384, slots, 512, 1, 0.0, "made up for tests")


class Worker:
    """A worker process."""

    def __init__(self, child: Child, address: str) -> None:
        self.child = child
        self.address = address
        self.url = f"http://{address}:{names.HTTP_PORT}"
        self.admin_url = f"http://{address}:{names.ADMIN_PORT}"

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal."""
        self.child.signal(number)


class Gateway:
    """A gateway process."""

    def __init__(self, child: Child, port: int, admin_port: int) -> None:
        self.child = child
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.admin_url = f"http://127.0.0.1:{admin_port}"


class World:
    """What a test has at hand; everything it started or created goes with it."""

    def __init__(self, nursery: Nursery, kube: Kube, http: aiohttp.ClientSession, **places: Any) -> None:
        self.http = http
        self.kube = kube
        self._nursery = nursery
        self._kubeconfig: Path = places["kubeconfig"]
        self._model: Path = places["model"]
        self._folder: Path = places["folder"]
        self._addresses: Iterator[str] = places["addresses"]
        self.gateway: Gateway = places.get("gateway")  # type: ignore[assignment]  # set before a test sees it
        self._numbers = itertools.count()
        self._prefix = self._folder.name.lower().replace("_", "-").strip("-0123456789")[:40] or "t"
        self._children: list[Child] = []
        self._objects: list[tuple[Resource, str]] = []
        self._kept: list[str] = []

    # Processes

    def address(self) -> str:
        """A loopback address that nobody has."""
        return next(self._addresses)

    async def worker(
        self, *, name: str = MODEL, address: str | None = None, ready: bool = True, **device: Any
    ) -> Worker:
        """A worker on an emulated device; `device` as for `profile`."""
        address = address or self.address()
        file = self._folder / f"profile-{address}.json"
        file.write_text(json.dumps(profile(**device).to_json()))
        arguments = ["serve", f"--model={self._model}", f"--served-model-name={name}", f"--host={address}"]
        arguments += ["--threads=1", f"--emulate-device={file}"]
        child = self._nursery.start("penstock_worker", *arguments, log=self._folder / f"worker-{address}.log")
        self._children.append(child)
        worker = Worker(child, address)
        if ready:
            await eventually(lambda: self._answers(f"{worker.url}/ready"), "the worker is ready", seconds=120)
        return worker

    async def start_gateway(self, **env: str) -> Gateway:
        """A gateway of the tests' namespace, ready; `env` in lower case, without `PENSTOCK_`."""
        port, admin_port = free_ports(2)
        settings = {
            "KUBECONFIG": str(self._kubeconfig),
            "PENSTOCK_BIND_ADDRESS": "127.0.0.1",
            "PENSTOCK_GATEWAY_PORT": str(port),
            "PENSTOCK_GATEWAY_ADMIN_PORT": str(admin_port),
            "PENSTOCK_NAMESPACES": NAMESPACE,
            **{name if name.isupper() else f"PENSTOCK_{name.upper()}": value for name, value in env.items()},
        }
        log = self._folder / f"gateway-{port}.log"
        child = self._nursery.start("penstock_gateway", log=log, env=settings)
        self._children.append(child)
        gateway = Gateway(child, port, admin_port)
        await eventually(lambda: self._answers(f"{gateway.admin_url}/readyz"), "the gateway is ready", seconds=120)
        return gateway

    async def _answers(self, url: str) -> bool:
        try:
            async with self.http.get(url) as response:
                return response.status == 200
        except aiohttp.ClientConnectionError:
            return False

    # Objects

    async def service(self, *, model: str = MODEL, namespace: str = NAMESPACE, known: bool = True, **spec: Any) -> str:
        """An `InferenceService` of no replicas (the test has its own), known to the gateway; its name."""
        name = f"{self._prefix}-{next(self._numbers)}"
        manifest = {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"model": {"name": model, "source": {"containerPath": "/models/tiny"}}, "replicas": 0, **spec},
        }
        await self.kube.create(SERVICES, manifest, namespace=namespace)
        self._objects.append((SERVICES, name))
        if known:
            await eventually(lambda: self.demand(name), "the gateway knows the service")
        return name

    async def pod(self, service: str, address: str, *, ready: bool = True, **metadata: Any) -> str:
        """A worker pod at an address; its name."""
        name = f"{service}-{next(self._numbers)}"
        manifest = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": {names.SERVICE: service}, **metadata},
            "spec": {"schedulerName": "nobody", "containers": [{"name": "worker", "image": "penstock/worker:dev"}]},
        }
        await self.kube.create(PODS, manifest, namespace=NAMESPACE)
        self._objects.append((PODS, name))
        await self.set_ready(name, address, ready=ready)
        return name

    async def set_ready(self, pod: str, address: str, *, ready: bool) -> None:
        """What a kubelet would say of the pod."""
        status = {
            "phase": "Running",
            "podIP": address,
            "podIPs": [{"ip": address}],
            "conditions": [{"type": "Ready", "status": str(ready)}],
        }
        await self.kube.patch(PODS, pod, {"status": status}, namespace=NAMESPACE, sub="status")

    async def annotate(self, pod: str, **values: str | None) -> None:
        """Set or (None) remove the draining annotation: `draining="…"`."""
        annotations = {f"{names.GROUP}/{name}": value for name, value in values.items()}
        await self.kube.patch(PODS, pod, {"metadata": {"annotations": annotations}}, namespace=NAMESPACE)

    async def pods(self, service: str) -> list[Any]:
        """Pods of a service, in the order they were made."""
        found = await self.kube.list(PODS, namespace=NAMESPACE, labelSelector=f"{names.SERVICE}={service}")
        return sorted(found["items"], key=lambda pod: int(pod["metadata"]["name"].rsplit("-", 1)[1]))

    async def delete_slowly(self, pod: str) -> None:
        """Begin to delete a pod that a finalizer keeps until the end of the test."""
        finalizers = {"metadata": {"finalizers": [f"{names.GROUP}/test"]}}
        await self.kube.patch(PODS, pod, finalizers, namespace=NAMESPACE)
        await self.kube.delete(PODS, pod, namespace=NAMESPACE, grace_seconds=0)
        self._objects.remove((PODS, pod))
        self._kept.append(pod)

    async def logged(self, text: str, *, times: int = 1) -> None:
        """Wait until the gateway has logged a text so many times."""

        async def there() -> bool:
            return self.gateway.child.log.count(text) >= times

        await eventually(there, f"the gateway logs {text!r}")

    async def delete(self, resource: Resource, name: str) -> None:
        """Delete an object."""
        await self.kube.delete(resource, name, namespace=NAMESPACE, grace_seconds=0 if resource is PODS else None)
        self._objects.remove((resource, name))

    async def serving(self, count: int = 1, *, device: dict[str, Any] | None = None, **spec: Any) -> Any:
        """A service with so many workers, all of them open for requests; its name and the workers."""
        service = await self.service(**spec)
        workers = await asyncio.gather(*(self.worker(**(device or {})) for _ in range(count)))
        for worker in workers:
            await self.pod(service, worker.address)
        await self.open(service, count)
        return service, list(workers)

    async def open(self, service: str, count: int, gateway: Gateway | None = None) -> None:
        """Wait until so many of the service's workers were greeted."""
        log = (gateway or self.gateway).child

        async def greeted() -> bool:
            return log.log.count(f"event=worker_open worker={service}-") >= count

        await eventually(greeted, f"{count} workers of {service} are open")

    # Requests

    def base(self, service: str, gateway: Gateway | None = None) -> str:
        """What a client is given as base URL."""
        return f"{(gateway or self.gateway).url}/{NAMESPACE}/{service}/v1"

    async def ask(self, service: str, *, tokens: int = 8, gateway: Gateway | None = None, **body: Any) -> Any:
        """A completion; status and decoded body, or the raw text of a stream."""
        async with self.post(service, tokens=tokens, gateway=gateway, **body) as response:
            if response.content_type == "application/json":
                return response.status, await response.json()
            return response.status, await response.text()

    def post(self, service: str, *, tokens: int = 8, gateway: Gateway | None = None, **body: Any) -> Any:
        """A completion, as aiohttp gives it."""
        ask = {"model": MODEL, "prompt": [5] * 8, "max_tokens": tokens, "ignore_eos": True, "temperature": 0, **body}
        return self.http.post(f"{self.base(service, gateway)}/completions", json=ask)

    async def demand(self, service: str, gateway: Gateway | None = None) -> dict[str, Any]:
        """What `/demand` says of a service; empty if nothing."""
        async with self.http.get(f"{(gateway or self.gateway).admin_url}/demand") as response:
            found: dict[str, Any] = (await response.json())["services"].get(f"{NAMESPACE}/{service}", {})
            return found

    async def held(self, service: str, count: int) -> None:
        """Wait until so many requests are held."""

        async def enough() -> bool:
            return bool((await self.demand(service))["held"] == count)

        await eventually(enough, f"{count} requests of {service} are held")

    async def scrape(self, url: str) -> Samples:
        """All samples of a metrics endpoint."""
        async with self.http.get(f"{url}/metrics") as response:
            return parse_samples(await response.text())

    async def metric(self, service: str, name: str, *, gateway: Gateway | None = None, **labels: str) -> float:
        """One sample of the gateway's series of a service."""
        labels |= {names.LABEL_NAMESPACE: NAMESPACE, names.LABEL_SERVICE: service}
        samples = await self.scrape((gateway or self.gateway).admin_url)
        return samples[f"penstock_gateway_{name}", tuple(sorted(labels.items()))]

    async def of_worker(self, worker: Worker, name: str, **labels: str) -> float:
        """One sample of a worker's own series."""
        return (await self.scrape(worker.url))[f"penstock_worker_{name}", tuple(sorted(labels.items()))]

    async def reaches(self, worker: Worker, name: str, value: float, *, seconds: float = 30.0) -> None:
        """Wait until a worker's series has a value."""

        async def there() -> bool:
            return await self.of_worker(worker, name) == value

        await eventually(there, f"{name} of {worker.address} is {value:g}", seconds=seconds)

    async def close(self) -> None:
        """Take everything away."""
        for child in self._children:
            child.signal(signal.SIGKILL)
        for pod in self._kept:
            await self.kube.patch(PODS, pod, {"metadata": {"finalizers": None}}, namespace=NAMESPACE)
        for resource, name in reversed(self._objects):
            await self.kube.delete(resource, name, namespace=NAMESPACE, grace_seconds=0 if resource is PODS else None)


def raw(host: str, port: int) -> socket.socket:
    """A connected socket, for clients that do strange things."""
    return socket.create_connection((host, port), timeout=30)
