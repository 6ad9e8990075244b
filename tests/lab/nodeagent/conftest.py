"""A local cluster for the node agent's tests, and what they ask of it."""

import asyncio
import sys
import uuid
from pathlib import Path

import aiohttp
import psutil
import pytest

from penstock_lab.cluster.local import LocalCluster
from penstock_lab.kube import UNREACHABLE, Kube, KubeError, Resource

PODS = Resource("v1", "pods")
NAMESPACES = Resource("v1", "namespaces")
ACCOUNTS = Resource("v1", "serviceaccounts")
APP = Path(__file__).with_name("app.py")
DEADLINE_SECONDS = 120.0


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nodeagent")
    models = folder / "models"
    models.mkdir()
    (models / "config.json").write_text("weights")
    images = {
        "test/app:*": {"argv": ["{python}", str(APP)], "env": {"IMAGE": "app"}, "paths": {"/models": str(models)}},
        "test/shell:1": {"argv": ["sh", "-c"], "args": ["exit 0"]},
        "test/python:1": {"argv": ["{python}", "-c"]},
        "test/warm:1": {"argv": ["{python}", "-m", "http.server"], "preload": ["decimal", "http"]},
        "test/timeit:1": {"argv": ["{python}", "-m", "timeit", "-n1", "-r1"], "preload": ["decimal"]},
        "test/unloadable:1": {"argv": ["{python}", "-m", "timeit", "-n1", "-r1"], "preload": ["no_such_module"]},
        "test/broken:1": {"argv": ["/nowhere/to/be/found"]},
    }
    with LocalCluster(
        "nodeagent-tests",
        nodes=2,
        gpus_per_node=2,
        prometheus=False,
        audit=False,
        images=images,
        state_dir=folder / "state",
    ) as running:
        yield running


class World:
    """One namespace of the cluster, seen from a test."""

    def __init__(self, cluster, kube, http, namespace):
        self.cluster, self.kube, self.http, self.namespace = cluster, kube, http, namespace

    async def until(self, ask, accept, what):
        """Ask until the answer is accepted, and return it; errors of an absent server or object count as not yet."""
        answer = None
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                while True:
                    try:
                        answer = await ask()
                        if accept(answer):
                            return answer
                    except (KubeError, *UNREACHABLE) as error:
                        answer = error
                    await asyncio.sleep(0.03)
        except TimeoutError:
            raise AssertionError(f"waited in vain for {what}; last seen: {answer!r}") from None

    async def apply(self, manifest):
        manifest["metadata"]["namespace"] = self.namespace
        return await self.kube.apply(manifest, manager="test")

    async def run_pod(self, name, *, image="test/app:1", spec=(), metadata=(), **container):
        """Create a pod with one container `main`; lists and dicts as in the API."""
        main = {"name": "main", "image": image, "ports": [{"name": "http", "containerPort": 8000}], **container}
        manifest = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, **dict(metadata)},
            "spec": {"containers": [main], "terminationGracePeriodSeconds": 20, **dict(spec)},
        }
        return await self.apply(manifest)

    async def pod(self, name):
        return await self.kube.get(PODS, name, namespace=self.namespace)

    async def pods(self, selector):
        return (await self.kube.list(PODS, namespace=self.namespace, labelSelector=selector))["items"]

    async def pod_where(self, name, accept, what):
        return await self.until(lambda: self.pod(name), accept, f"pod {name}: {what}")

    async def ready(self, name):
        return await self.pod_where(name, is_ready, "Ready")

    async def gone(self, name):
        async def missing():
            try:
                return (await self.pod(name))["status"]
            except KubeError as error:
                return error.status

        await self.until(missing, lambda status: status == 404, f"pod {name}: gone")

    async def call(self, pod, path):
        """GET a path of the pod's app; its JSON answer."""
        async with self.http.get(f"http://{pod['status']['podIP']}:8000/{path}") as response:
            return await response.json(content_type=None)

    async def end_of(self, *pids):
        async def alive():
            return [pid for pid in pids if psutil.pid_exists(pid)]

        await self.until(alive, lambda left: not left, "processes to be gone")

    async def delete(self, name, **options):
        await self.kube.delete(PODS, name, namespace=self.namespace, **options)

    async def log_has(self, pod, text):
        async def read():
            return self.log(pod)

        return await self.until(read, lambda log: text in log, f"log of {pod} to hold {text!r}")

    def log(self, pod, container="main"):
        path = self.cluster.pod_logs / f"{self.namespace}_{pod}_{container}.log"
        return path.read_text() if path.exists() else ""

    async def event(self, name, reason, text=""):
        """Wait for an event about a pod with that reason and that text in its message."""

        async def ask():
            selector = f"involvedObject.name={name},reason={reason}"
            found = await self.kube.list(Resource("v1", "events"), namespace=self.namespace, fieldSelector=selector)
            return [event for event in found["items"] if text in event["message"]]

        return (await self.until(ask, bool, f"an event {reason} about {name} that says {text!r}"))[0]

    def history(self, name):
        """Watch a pod from now on; used as `async with`, gives the list that its statuses are added to."""
        return History(self, name)


class History:
    def __init__(self, world, name):
        self.world, self.name, self.seen = world, name, []

    async def __aenter__(self):
        pod = await self.world.pod(self.name)
        self.task = asyncio.create_task(self.watch(pod["metadata"]["resourceVersion"]))
        return self.seen

    async def watch(self, version):
        selector = f"metadata.name={self.name}"
        stream = self.world.kube.watch(
            PODS, resource_version=version, namespace=self.world.namespace, fieldSelector=selector
        )
        async for kind, pod in stream:
            if kind == "DELETED":
                return
            if kind == "MODIFIED":
                self.seen.append(pod)

    async def __aexit__(self, kind, *_):
        if kind is not None:
            self.task.cancel()
        await asyncio.wait([self.task], timeout=DEADLINE_SECONDS)
        self.task.cancel()


def is_ready(pod):
    return any(entry["type"] == "Ready" and entry["status"] == "True" for entry in pod["status"].get("conditions", ()))


@pytest.fixture
async def world(cluster):
    namespace = f"t-{uuid.uuid4().hex[:8]}"
    async with Kube.from_kubeconfig(cluster.kubeconfig) as kube, aiohttp.ClientSession() as http:
        await kube.create(NAMESPACES, {"metadata": {"name": namespace}})
        world = World(cluster, kube, http, namespace)
        await world.until(
            lambda: kube.get(ACCOUNTS, "default", namespace=namespace), lambda _: True, "the default service account"
        )
        yield world
        await kube.delete(NAMESPACES, namespace)
        for pod in (await kube.list(PODS, namespace=namespace))["items"]:
            await kube.delete(PODS, pod["metadata"]["name"], namespace=namespace, grace_seconds=0)


@pytest.fixture
def python():
    return sys.executable
