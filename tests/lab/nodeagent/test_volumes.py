"""Volumes as folders, against the real API server: content, refresh, claims, tokens, refusals."""

from datetime import UTC, datetime, timedelta

import pytest
import yaml

from penstock_lab.nodeagent.configs import ConfigSource
from penstock_lab.nodeagent.errors import MountError
from penstock_lab.nodeagent.payload import PayloadReader
from penstock_lab.nodeagent.sandbox import NodeInfo, Sandbox
from penstock_lab.nodeagent.tokens import Tokens
from penstock_lab.nodeagent.volumes import Volumes

pytestmark = pytest.mark.cluster

NODE = NodeInfo(name="node-1", address="127.9.255.1", capacity={"cpu": "4"})


def volumes_of(world, tmp_path, *volumes, uid="u"):
    pod = {
        "metadata": {"name": "p", "namespace": world.namespace, "uid": uid, "annotations": {"a": "1"}},
        "spec": {"volumes": list(volumes), "containers": []},
    }
    sandbox = Sandbox(pod=pod, node=NODE, address="127.9.0.1", folder=tmp_path, logs=tmp_path)
    tokens = Tokens(world.kube, sandbox)
    reader = PayloadReader(
        sandbox=sandbox, configs=ConfigSource(world.kube), tokens=tokens, root_certificate=world.kube.connection.ca_data
    )
    return Volumes(sandbox=sandbox, kube=world.kube, reader=reader, tokens=tokens), tokens


def config_map(data, name="conf"):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def mounted(volumes, name, **mount):
    return volumes.mounts({"volumeMounts": [{"name": name, "mountPath": "/x", **mount}]})["/x"]


async def test_config_map_is_refreshed_atomically_and_sub_paths_lead_to_files(world, tmp_path):
    await world.apply(config_map({"a": "1", "gone": "x"}))
    volumes, _ = volumes_of(world, tmp_path, {"name": "v", "configMap": {"name": "conf"}})
    await volumes.mount()
    folder = tmp_path / "volumes" / "v"
    assert mounted(volumes, "v") == str(folder)
    with open(mounted(volumes, "v", subPath="a")) as file:  # noqa: PTH123, ASYNC230 - as a program in the pod would
        assert file.read() == "1"
    before = (folder / "..data").readlink()
    await volumes.refresh()
    assert (folder / "..data").readlink() == before, "unchanged content is not written again"
    await world.apply(config_map({"a": "2", "b": "3"}))
    await volumes.refresh()
    visible = {path.name: path.read_text() for path in folder.iterdir() if not path.name.startswith("..")}
    assert visible == {"a": "2", "b": "3"}
    assert len(list(folder.glob("..*"))) == 2, "the link and the folder it leads to"


async def test_missing_sources_are_named(world, tmp_path):
    for source, message in [
        ({"configMap": {"name": "nope"}}, 'volume "v" : configmap "nope" not found'),
        ({"secret": {"secretName": "nope"}}, 'secret "nope" not found'),
        ({"persistentVolumeClaim": {"claimName": "nope"}}, '"nope" not found'),
        ({"hostPath": {"path": str(tmp_path / "nope")}}, "does not exist"),
        ({"nfs": {"server": "s", "path": "/"}}, "volumes of type nfs are not supported"),
    ]:
        volumes, _ = volumes_of(world, tmp_path, {"name": "v", **source})
        with pytest.raises(MountError) as error:
            await volumes.mount()
        assert message in str(error.value)
    volumes, _ = volumes_of(world, tmp_path, {"name": "v", "configMap": {"name": "nope", "optional": True}})
    await volumes.mount()
    assert list((tmp_path / "volumes" / "v").glob("[!.]*")) == []


async def test_claim_leads_to_the_folder_of_its_volume(world, tmp_path):
    models = tmp_path / "models"
    models.mkdir()
    spec = {"accessModes": ["ReadWriteOnce"], "storageClassName": world.namespace}
    source = {
        "hostPath": {"path": str(models)},
        "capacity": {"storage": "1Gi"},
        "persistentVolumeReclaimPolicy": "Retain",
    }
    volume = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": world.namespace}}
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "models"}}
    request = {"resources": {"requests": {"storage": "1Gi"}}}
    await world.apply({**volume, "spec": spec | source})
    await world.apply({**claim, "spec": spec | request | {"volumeName": world.namespace}})
    volumes, _ = volumes_of(world, tmp_path, {"name": "v", "persistentVolumeClaim": {"claimName": "models"}})
    await volumes.mount()
    assert mounted(volumes, "v") == str(models)


async def test_projected_token_becomes_a_kubeconfig_and_is_renewed_in_time(world, tmp_path):
    await world.run_pod("p", image="test/no-such:1")
    uid = (await world.pod("p"))["metadata"]["uid"]
    sources = [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
    ]
    volumes, tokens = volumes_of(world, tmp_path, {"name": "api", "projected": {"sources": sources}}, uid=uid)
    await volumes.mount()
    folder = tmp_path / "volumes" / "api"
    assert (folder / "namespace").read_text() == world.namespace
    assert "BEGIN CERTIFICATE" in (folder / "ca.crt").read_text()
    token, path = (folder / "token").read_text(), volumes.kubeconfig({"volumeMounts": [{"name": "api"}]})
    document = yaml.safe_load((tmp_path / "kubeconfig" / "api.yaml").read_text())
    assert path == str(tmp_path / "kubeconfig" / "api.yaml")
    assert document["users"][0]["user"]["token"] == token
    assert (folder / "token").stat().st_mode & 0o077 == 0
    now = datetime.now(UTC)
    projection = sources[0]["serviceAccountToken"]
    assert await tokens.token(projection, now=now + timedelta(hours=18)) == token
    assert await tokens.token(projection, now=now + timedelta(hours=20)) != token
