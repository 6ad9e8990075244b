"""What happens when the agent or the API server goes away and comes back."""

import os
import signal
import ssl

import pytest

from penstock_lab.kube import KubeError, Resource
from penstock_lab.nodeagent import strays

pytestmark = pytest.mark.cluster

NODES = Resource("v1", "nodes")
PODS = Resource("v1", "pods")
LEASES = Resource("coordination.k8s.io/v1", "leases")
READY_PROBE = {"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 1}


def main_status(pod):
    return pod["status"].get("containerStatuses", [{}])[0]


def ready(pod):
    return any(entry["type"] == "Ready" and entry["status"] == "True" for entry in pod["status"].get("conditions", ()))


def component(world, name):
    return next(entry for entry in world.cluster.status()["components"] if entry["name"] == name)


async def forget_history(world):
    """Compact etcd, as the API server does every five minutes: a watch cannot go on from before."""
    certificate = next(world.cluster.state_dir.rglob("etcd-client.crt"))
    tls = ssl.create_default_context()
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    tls.load_cert_chain(certificate, certificate.with_suffix(".key"))
    url = f"https://127.0.0.1:{component(world, 'etcd')['port']}/v3/kv"
    async with world.http.post(f"{url}/range", json={"key": "AA=="}, ssl=tls) as response:
        revision = (await response.json())["header"]["revision"]
    async with world.http.post(f"{url}/compaction", json={"revision": revision}, ssl=tls) as response:
        response.raise_for_status()


async def test_node_is_registered_with_capacity_labels_and_lease(world):
    node = await world.kube.get(NODES, "node-2")
    assert node["status"]["allocatable"]["nvidia.com/gpu"] == "2"
    assert node["status"]["capacity"]["pods"] == "110"
    assert node["metadata"]["labels"]["kubernetes.io/hostname"] == "node-2"
    conditions = {entry["type"]: entry["status"] for entry in node["status"]["conditions"]}
    assert conditions["Ready"] == "True"
    lease = await world.kube.get(LEASES, "node-2", namespace="kube-node-lease")
    assert lease["spec"]["holderIdentity"] == "node-2"


async def test_pods_outlive_an_api_server_and_their_end_is_told_when_it_returns(world):
    await world.run_pod("stays", readinessProbe=READY_PROBE)
    await world.run_pod("ends", readinessProbe=READY_PROBE, spec={"restartPolicy": "Never"})
    stays, ends = await world.ready("stays"), await world.ready("ends")
    before = (await world.call(stays, "about"))["pid"]
    version = (await world.pod("ends"))["metadata"]["resourceVersion"]
    for name in ("a", "b"):  # so that this version is no longer the newest of all
        await world.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}})
    world.cluster.kill("kube-apiserver")
    await forget_history(world)
    await world.call(ends, "exit?code=6")
    await world.log_has("ends", "exiting with 6")
    world.cluster.start("kube-apiserver")
    told = await world.pod_where("ends", lambda pod: pod["status"]["phase"] == "Failed", "its end")
    assert main_status(told)["state"]["terminated"]["exitCode"] == 6
    after = await world.ready("stays")
    assert (await world.call(after, "about"))["pid"] == before
    assert main_status(after)["restartCount"] == 0
    with pytest.raises(KubeError) as forgotten:  # so the agent, too, has had to list anew
        await anext(world.kube.watch(PODS, resource_version=version))
    assert forgotten.value.status == 410
    await world.run_pod("next", readinessProbe=READY_PROBE)
    await world.ready("next")


async def test_killed_agent_leaves_no_process_and_the_next_one_carries_on(world):
    """SIGKILL of the agent ends all containers and what they started; a new agent takes the pods over as restarts."""
    await world.run_pod("kept", readinessProbe=READY_PROBE)
    await world.run_pod("once", readinessProbe=READY_PROBE, spec={"restartPolicy": "Never"})
    await world.run_pod("deleted", env=[{"name": "STUBBORN", "value": "1"}], readinessProbe=READY_PROBE)
    kept, once = await world.ready("kept"), await world.ready("once")
    deleted = await world.ready("deleted")
    pids = [(await world.call(pod, "about"))["pid"] for pod in (kept, once, deleted)]
    pids.append(await world.call(kept, "child"))
    world.cluster.kill("node-agent")
    await world.end_of(*pids)
    assert not strays.find(["PENSTOCK_POD_UID=" + kept["metadata"]["uid"]])
    await world.delete("deleted")
    world.cluster.start("node-agent")
    again = await world.pod_where(
        "kept", lambda pod: ready(pod) and main_status(pod)["restartCount"] == 1, "Ready after one restart"
    )
    assert main_status(again)["lastState"]["terminated"]["reason"] == "ContainerStatusUnknown"
    assert again["status"]["podIP"] == kept["status"]["podIP"]
    failed = await world.pod_where("once", lambda pod: pod["status"]["phase"] == "Failed", "Failed")
    assert main_status(failed)["state"]["terminated"]["exitCode"] == 137
    await world.gone("deleted")


async def test_stopped_agent_ends_its_pods_in_order_and_deletes_nothing(world):
    await world.run_pod("held", readinessProbe=READY_PROBE)
    pod = await world.ready("held")
    pid = (await world.call(pod, "about"))["pid"]
    world.cluster.stop("node-agent")
    await world.end_of(pid)
    assert world.log("held").split() == ["serving", "SIGTERM"]
    stopped = await world.pod("held")
    assert main_status(stopped)["state"]["terminated"]["exitCode"] == 0
    assert not ready(stopped)
    node = await world.kube.get(NODES, "node-1")
    assert {"Ready": "False"}.items() <= {
        entry["type"]: entry["status"] for entry in node["status"]["conditions"]
    }.items()
    world.cluster.start("node-agent")
    again = await world.ready("held")
    assert main_status(again)["restartCount"] == 1


async def test_what_others_write_into_the_status_is_put_right(world):
    """As after a partition: the node lifecycle controller had made the pod not Ready."""
    await world.run_pod("righted", readinessProbe=READY_PROBE)
    await world.ready("righted")
    condition = {"type": "Ready", "status": "False", "reason": "NodeNotReady"}
    status = {"status": {"conditions": [condition]}}
    async with world.history("righted") as seen:
        await world.kube.patch(PODS, "righted", status, namespace=world.namespace, sub="status", kind="strategic")
        await world.until(lambda: world.pod("righted"), lambda pod: seen and ready(pod), "the pod to be Ready again")
        await world.delete("righted")
    assert not ready(seen[0])
    assert ready(seen[1])


@pytest.mark.slow
async def test_silent_agent_makes_its_nodes_not_ready_until_it_speaks_again(world):
    def ready_of(node):
        return next(entry["status"] for entry in node["status"]["conditions"] if entry["type"] == "Ready")

    async def node():
        return await world.kube.get(NODES, "node-1")

    await world.run_pod("partitioned", readinessProbe=READY_PROBE)
    await world.ready("partitioned")
    pid = component(world, "node-agent")["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        await world.until(node, lambda found: ready_of(found) == "Unknown", "the node to be given up")
        await world.pod_where("partitioned", lambda pod: not ready(pod), "not Ready")
    finally:
        os.kill(pid, signal.SIGCONT)
    await world.until(node, lambda found: ready_of(found) == "True", "the node to be Ready again")
    again = await world.ready("partitioned")
    assert main_status(again)["restartCount"] == 0
