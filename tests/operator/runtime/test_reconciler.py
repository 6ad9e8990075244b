"""One reconcile at a time against a real API server: what it writes, what it leaves alone, that it comes to rest."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from penstock_contract import names
from penstock_lab.cluster import LocalCluster
from penstock_operator.adapters.errors import KubeError
from penstock_operator.adapters.kube import KubeClient, load_configuration
from penstock_operator.core.drift import covers
from penstock_operator.core.engines import ENGINES
from penstock_operator.runtime.cache import Cache
from penstock_operator.runtime.handlers import MANAGED
from penstock_operator.runtime.reconciler import Reconciler

ROOT = Path(__file__).resolve().parents[3]
CHILDREN = ("Deployment", "Service", "PodDisruptionBudget")
Manifest = dict[str, Any]


class CountingClient(KubeClient):
    """The real client, which also tells what it wrote."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.wrote: list[str] = []

    async def apply(self, manifest: Manifest, *, manager: str, force: bool = True) -> Manifest:
        self.wrote.append(manifest["kind"])
        return await super().apply(manifest, manager=manager, force=force)

    async def apply_status(self, manifest: Manifest, *, manager: str) -> Manifest:
        self.wrote.append("status")
        return await super().apply_status(manifest, manager=manager)


class World:
    """A reconciler with a cache that is filled by lists, as at a start."""

    def __init__(self, kube: CountingClient, namespace: str) -> None:
        self.kube, self.namespace = kube, namespace
        self.restart()

    def restart(self) -> None:
        self.cache = Cache()
        self.reconciler = Reconciler(
            self.kube, self.cache, default_images={name: f"reg/{name.lower()}:1" for name in ENGINES}, clock=lambda: 1e9
        )

    async def reconcile(self, name: str = "chat") -> None:
        await self.list()
        self.kube.wrote = []
        await self.reconciler.reconcile((self.namespace, name))

    async def list(self) -> None:
        for kind in (names.KIND, *CHILDREN):
            known = self.cache.identities(kind)
            found = await self.kube.list(kind, label_selector="" if kind == names.KIND else MANAGED)
            self.cache.replace(kind, found, known=known)

    async def get(self, kind: str, name: str = "chat") -> Manifest | None:
        return await self.kube.get(kind, namespace=self.namespace, name=name)

    async def condition(self, kind: str) -> Manifest:
        live = await self.get(names.KIND)
        assert live is not None
        return next(item for item in live["status"]["conditions"] if item["type"] == kind)


@pytest.fixture
async def world(cluster: LocalCluster, crd: None, namespace: str) -> AsyncIterator[World]:
    kube = CountingClient(await load_configuration(str(cluster.kubeconfig)), namespaces=(namespace,))
    yield World(kube, namespace)
    await kube.close()


@pytest.fixture
def apply(kubectl, namespace: str):
    def applied(manifest: Manifest) -> None:
        kubectl("apply", "-n", namespace, "-f", "-", stdin=json.dumps(manifest))

    return applied


def service(**spec: Any) -> Manifest:
    """A resource that asks for no pod."""
    base = {"model": {"source": {"containerPath": "/models/tiny"}}, "replicas": 0}
    kind = {"apiVersion": names.API_VERSION, "kind": names.KIND, "metadata": {"name": "chat"}}
    return kind | {"spec": {key: value for key, value in (base | spec).items() if value is not None}}


AWKWARD = {
    "env": [{"name": "EMPTY"}, {"name": "HOME", "value": "/home/me"}, {"name": "ONE", "value": "1.0"}],
    "resources": {"requests": {"cpu": "0.5", "memory": "1024Mi"}, "limits": {"cpu": 4, "memory": "1e10"}},
    "accelerator": {"count": 1},
    "scheduling": {
        "nodeSelector": {"pool": ""},
        "tolerations": [{"operator": "Exists"}, {"key": "a", "effect": "NoExecute", "tolerationSeconds": 0}],
    },
}


@pytest.mark.parametrize("engine", ENGINES)
async def test_it_comes_to_rest_and_stays_there_after_a_restart(world: World, apply, engine: str) -> None:
    """Whatever the API server makes of a manifest, it must still cover what was sent."""
    apply(service(runtime=AWKWARD | {"engine": engine}))
    await world.reconcile()
    assert [kind for kind in world.kube.wrote if kind != "status"] == list(CHILDREN)
    await world.reconcile()
    assert set(world.kube.wrote) <= {"status"}, "the Deployment was observed meanwhile"
    for _ in range(2):
        world.restart()
        await world.reconcile()
        assert [kind for kind in world.kube.wrote if kind != "status"] == []


def golden(engine: str) -> list[Manifest]:
    path = ROOT / "tests" / "operator" / "core" / "golden" / f"{engine.lower()}.yaml"
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("engine", ENGINES)
async def test_the_api_server_takes_the_golden_files_as_they_are(world: World, engine: str) -> None:
    for manifest in golden(engine):
        del manifest["metadata"]["ownerReferences"]  # of a resource that does not exist: it would be collected
        manifest["metadata"]["namespace"] = world.namespace
        if manifest["kind"] == "Deployment":
            manifest["spec"]["replicas"] = 0
        assert covers(await world.kube.apply(manifest, manager=names.OPERATOR_MANAGER), manifest)


MINE = {"app": "mine"}
POD = {"metadata": {"labels": MINE}, "spec": {"containers": [{"name": "a", "image": "b"}]}}
FOREIGN: dict[str, Manifest] = {
    "Service": {"apiVersion": "v1", "spec": {"selector": MINE, "ports": [{"name": "http", "port": 80}]}},
    "PodDisruptionBudget": {
        "apiVersion": "policy/v1",
        "spec": {"selector": {"matchLabels": MINE}, "maxUnavailable": 0},
    },
    "Deployment": {
        "apiVersion": "apps/v1",
        "spec": {"replicas": 0, "selector": {"matchLabels": MINE}, "template": POD},
    },
}


@pytest.mark.parametrize("labels", [{}, {names.LABEL_MANAGED_BY: names.MANAGED_BY}], ids=["plain", "with our label"])
@pytest.mark.parametrize("kind", FOREIGN)
async def test_an_object_of_somebody_else_is_left_alone(world: World, apply, kind: str, labels: dict[str, str]) -> None:
    apply(FOREIGN[kind] | {"kind": kind, "metadata": {"name": "chat", "labels": labels}})
    before = await world.get(kind)
    apply(service())
    await world.reconcile()
    assert world.kube.wrote == ["status"]
    assert before is not None
    after = await world.get(kind)
    assert after is not None
    assert after["spec"] == before["spec"]
    assert "ownerReferences" not in after["metadata"]
    accepted = await world.condition("Accepted")
    assert (accepted["status"], accepted["reason"]) == ("False", "NameConflict")
    assert accepted["message"].startswith(f"{kind} chat exists")
    assert (await world.condition("Ready"))["reason"] == "NameConflict"


async def test_a_conflict_that_is_gone_is_forgotten(world: World, apply, kubectl) -> None:
    apply(FOREIGN["Service"] | {"kind": "Service", "metadata": {"name": "chat"}})
    apply(service())
    await world.reconcile()
    kubectl("delete", "service", "chat", "-n", world.namespace)
    await world.reconcile()
    assert (await world.condition("Accepted"))["status"] == "True"
    assert await world.get("Deployment") is not None


async def test_what_the_api_server_refuses_is_said_in_the_status(world: World, apply) -> None:
    apply(
        service(runtime={"accelerator": {"count": 0}, "resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}})
    )
    with pytest.raises(KubeError):
        await world.reconcile()
    accepted = await world.condition("Accepted")
    assert (accepted["status"], accepted["reason"]) == ("False", "InvalidSpec")
    assert "must be less than or equal to cpu limit" in accepted["message"]
    with pytest.raises(KubeError):
        await world.reconcile()
    assert world.kube.wrote == ["Deployment"], "a refusal that stands is not written again"
    apply(
        service(runtime={"accelerator": {"count": 0}, "resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "1"}}})
    )
    await world.reconcile()
    assert (await world.condition("Accepted"))["status"] == "True"


async def test_a_label_that_was_taken_off_a_child_is_put_back(world: World, apply, kubectl) -> None:
    apply(service())
    await world.reconcile()
    kubectl("label", "service", "chat", f"{names.LABEL_MANAGED_BY}-", "-n", world.namespace)
    await world.reconcile()
    assert "Service" in world.kube.wrote
    live = await world.get("Service")
    assert live is not None
    assert live["metadata"]["labels"][names.LABEL_MANAGED_BY] == names.MANAGED_BY
    await world.reconcile()
    assert world.kube.wrote == []


@pytest.mark.parametrize("namesake", [False, True])
async def test_a_deletion_that_was_missed_brings_no_child_back(world: World, apply, kubectl, *, namesake: bool) -> None:
    """The garbage collector would take it, that event would have it created again, and so on until the next list."""
    apply(service())
    await world.list()
    kubectl("delete", "infsvc", "chat", "-n", world.namespace)
    if namesake:
        apply(service())
    await world.reconciler.reconcile((world.namespace, "chat"))
    assert world.kube.wrote == []
    assert await world.get("Deployment") is None


async def test_nothing_is_written_for_a_resource_on_its_way_out(world: World, apply, kubectl) -> None:
    held = service()
    held["metadata"]["finalizers"] = ["example.com/hold"]
    apply(held)
    kubectl("delete", "infsvc", "chat", "-n", world.namespace, "--wait=false")
    await world.reconcile()
    assert world.kube.wrote == []
    kubectl("patch", "infsvc", "chat", "-n", world.namespace, "--type=merge", '-p={"metadata":{"finalizers":null}}')
