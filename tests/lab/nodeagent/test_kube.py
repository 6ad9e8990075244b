"""The Kubernetes client against the real API server."""

import asyncio

import pytest

from penstock_lab.kube import Kube, KubeError, Resource
from penstock_lab.kubeconfig import Connection

CONFIG_MAPS = Resource("v1", "configmaps")
DEPLOYMENTS = Resource("apps/v1", "deployments")


def test_paths():
    assert CONFIG_MAPS.path() == "/api/v1/configmaps"
    assert DEPLOYMENTS.path(namespace="n", name="d", sub="scale") == "/apis/apps/v1/namespaces/n/deployments/d/scale"


@pytest.mark.cluster
async def test_create_read_patch_apply_delete(world):
    kube, namespace = world.kube, world.namespace
    made = await kube.create(CONFIG_MAPS, {"metadata": {"name": "c"}, "data": {"a": "1"}}, namespace=namespace)
    await kube.patch(CONFIG_MAPS, "c", {"data": {"b": "2"}}, namespace=namespace)
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"c": "3"}}
    manifest["metadata"]["namespace"] = namespace
    applied = await kube.apply(manifest, manager="someone")
    assert applied["data"] == {"a": "1", "b": "2", "c": "3"}
    listed = await kube.list(CONFIG_MAPS, namespace=namespace, fieldSelector="metadata.name=c")
    assert [item["metadata"]["uid"] for item in listed["items"]] == [made["metadata"]["uid"]]
    with pytest.raises(KubeError, match="409 Conflict"):
        await kube.delete(CONFIG_MAPS, "c", namespace=namespace, uid="another")
    await kube.delete(CONFIG_MAPS, "c", namespace=namespace, uid=made["metadata"]["uid"])
    with pytest.raises(KubeError) as refused:
        await kube.get(CONFIG_MAPS, "c", namespace=namespace)
    assert (refused.value.status, refused.value.reason) == (404, "NotFound")


@pytest.mark.cluster
async def test_conflicting_apply_is_refused_unless_forced(world):
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": world.namespace}}
    await world.kube.apply({**manifest, "data": {"a": "1"}}, manager="first")
    with pytest.raises(KubeError, match="409 Conflict"):
        await world.kube.apply({**manifest, "data": {"a": "2"}}, manager="second", force=False)
    assert (await world.kube.apply({**manifest, "data": {"a": "2"}}, manager="second"))["data"] == {"a": "2"}


@pytest.mark.cluster
async def test_unknown_kind_is_named(world):
    with pytest.raises(KubeError, match="v1 serves no kind Wish"):
        await world.kube.apply({"apiVersion": "v1", "kind": "Wish", "metadata": {"name": "w"}}, manager="m")


@pytest.mark.cluster
async def test_watch_begins_where_a_list_ended(world):
    version = (await world.kube.list(CONFIG_MAPS, namespace=world.namespace))["metadata"]["resourceVersion"]
    await world.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "w"}})
    await world.kube.delete(CONFIG_MAPS, "w", namespace=world.namespace)
    seen = []
    stream = world.kube.watch(CONFIG_MAPS, resource_version=version, namespace=world.namespace)
    async with asyncio.timeout(90):
        async for kind, found in stream:
            if found["metadata"]["name"] == "w":
                seen.append(kind)
            if kind == "DELETED":
                break
    await stream.aclose()
    assert seen == ["ADDED", "DELETED"]


@pytest.mark.cluster
async def test_token_of_nobody_is_refused(world, tmp_path):
    text = world.cluster.kubeconfig.read_text()
    token = world.kube.connection.token
    (tmp_path / "kubeconfig").write_text(text.replace(token, "wrong"))
    async with Kube.from_kubeconfig(tmp_path / "kubeconfig") as kube:
        with pytest.raises(KubeError, match="401 Unauthorized"):
            await kube.list(CONFIG_MAPS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "not a kubeconfig with a current context"),
        (
            """
current-context: c
contexts: [{name: c, context: {cluster: k, user: u}}]
clusters: [{name: k, cluster: {server: "http://127.0.0.1:1"}}]
users: [{name: u, user: {exec: {command: login}}}]
""",
            "must hold a token or a client certificate",
        ),
    ],
)
def test_bad_kubeconfig_names_the_file(tmp_path, text, message):
    path = tmp_path / "kubeconfig"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        Connection.from_kubeconfig(path)
