"""Pods from start to Ready: probes, environment, volumes, images, scheduling."""

import json
import os

import pytest
import yaml

from penstock_lab.kube import Kube, Resource

pytestmark = pytest.mark.cluster

DEPLOYMENTS = Resource("apps/v1", "deployments")
READY_PROBE = {"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 1}


def waiting_reason(pod):
    statuses = pod["status"].get("containerStatuses", [{}])
    return statuses[0].get("state", {}).get("waiting", {}).get("reason")


async def test_deployment_becomes_ready_by_its_probes_and_each_pod_has_an_address(world):
    template = {
        "metadata": {"labels": {"app": "web"}},
        "spec": {
            "containers": [
                {
                    "name": "main",
                    "image": "test/app:1",
                    "ports": [{"name": "http", "containerPort": 8000}],
                    "startupProbe": {"tcpSocket": {"port": "http"}, "periodSeconds": 1, "failureThreshold": 30},
                    "readinessProbe": READY_PROBE,
                    "livenessProbe": {"exec": {"command": ["python", "-c", "pass"]}, "timeoutSeconds": 5},
                }
            ]
        },
    }
    spec = {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": template}
    await world.apply({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec})
    await world.until(
        lambda: world.kube.get(DEPLOYMENTS, "web", namespace=world.namespace),
        lambda deployment: deployment["status"].get("readyReplicas") == 3,
        "three ready replicas",
    )
    pods = await world.pods("app=web")
    assert len({pod["status"]["podIP"] for pod in pods}) == 3
    for pod in pods:
        about = await world.call(pod, "about")
        assert about["env"]["PENSTOCK_BIND_ADDRESS"] == pod["status"]["podIP"]
        assert about["env"]["HOSTNAME"] == pod["metadata"]["name"]
        status = pod["status"]["containerStatuses"][0]
        assert status["started"]
        assert status["containerID"].startswith("process://")
        assert pod["status"]["phase"] == "Running"


async def test_readiness_follows_the_probe_both_ways_and_nothing_restarts(world):
    await world.run_pod(
        "flip", readinessProbe={**READY_PROBE, "failureThreshold": 1}, env=[{"name": "READY", "value": "0"}]
    )
    pod = await world.pod_where("flip", lambda pod: pod["status"]["phase"] == "Running", "Running")
    event = await world.event("flip", "Unhealthy", "statuscode: 503")
    await world.until(lambda: world.call(pod, "set?ready=1"), bool, "the app to answer")
    await world.ready("flip")
    await world.call(pod, "set?ready=0")
    unready = await world.pod_where("flip", lambda pod: "False" in ready_status(pod), "not Ready again")
    condition = next(entry for entry in unready["status"]["conditions"] if entry["type"] == "Ready")
    assert (condition["reason"], condition["message"]) == (
        "ContainersNotReady",
        "containers with unready status: [main]",
    )
    assert unready["status"]["containerStatuses"][0]["restartCount"] == 0
    assert event["type"] == "Warning"


def ready_status(pod):
    return [entry["status"] for entry in pod["status"]["conditions"] if entry["type"] == "Ready"]


async def test_environment_downward_api_and_command_line(world):
    await world.apply(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "conf"}, "data": {"level": "debug", "n": "1"}}
    )
    await world.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key"}, "stringData": {"k": "s3"}})
    env = [
        {"name": "PLAIN", "value": "one"},
        {"name": "EXPANDED", "value": "$(PLAIN)-$(UNKNOWN)-$$(PLAIN)-$(CONF_level)"},
        {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "UID_", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
        {"name": "TIER", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['tier']"}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "LEVEL", "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "level"}}},
        {"name": "ABSENT", "valueFrom": {"configMapKeyRef": {"name": "no", "key": "no", "optional": True}}},
        {"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "key", "key": "k"}}},
        {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}},
        {"name": "MEMORY", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
        {"name": "MODEL", "value": "/models/config.json"},
    ]
    await world.run_pod(
        "env",
        metadata={"labels": {"tier": "gold"}},
        args=["--model=/models", "--name=$(NAME)", "http://host/models"],
        env=env,
        envFrom=[{"prefix": "CONF_", "configMapRef": {"name": "conf"}}],
        resources={"limits": {"cpu": "1500m", "memory": "64Mi"}},
        readinessProbe=READY_PROBE,
    )
    pod = await world.ready("env")
    about = await world.call(pod, "about")
    seen = about["env"]
    assert seen["EXPANDED"] == "one-$(UNKNOWN)-$(PLAIN)-debug"
    assert (seen["NAME"], seen["UID_"], seen["TIER"]) == ("env", pod["metadata"]["uid"], "gold")
    assert (seen["IP"], seen["NODE"]) == (pod["status"]["podIP"], pod["spec"]["nodeName"])
    assert (seen["LEVEL"], seen["SECRET"], seen["CPU"], seen["MEMORY"]) == ("debug", "s3", "1500", "64")
    assert "ABSENT" not in seen
    assert (seen["IMAGE"], seen["CONF_n"]) == ("app", "1")
    model, name, url = about["argv"]
    assert (name, url) == ("--name=env", "http://host/models")
    assert model.removeprefix("--model=") == os.path.dirname(seen["MODEL"]) != "/models"  # noqa: PTH120 - text, not a path
    assert await world.call(pod, f"file?path={seen['MODEL']}") == "weights"
    assert about["nice"] > 0
    assert "PWD" not in seen, "nothing of the agent's own environment may leak"


async def test_volumes_are_folders_and_config_maps_are_files(world):
    await world.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "conf"}, "data": {"a.txt": "A"}})
    writer = {
        "name": "writer",
        "image": "test/shell:1",
        "args": ["cp /etc/conf/renamed.txt /scratch/copied && cat /etc/info/labels >> /scratch/copied"],
        "volumeMounts": [
            {"name": "scratch", "mountPath": "/scratch"},
            {"name": "conf", "mountPath": "/etc/conf"},
            {"name": "info", "mountPath": "/etc/info"},
        ],
    }
    labels = {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}
    volumes = [
        {"name": "scratch", "emptyDir": {}},
        {"name": "conf", "configMap": {"name": "conf", "items": [{"key": "a.txt", "path": "renamed.txt"}]}},
        {"name": "info", "downwardAPI": labels},
    ]
    await world.run_pod(
        "vol",
        metadata={"labels": {"tier": "gold"}},
        spec={"initContainers": [writer], "volumes": volumes},
        env=[{"name": "COPY", "value": "/data/copied"}],
        volumeMounts=[{"name": "scratch", "mountPath": "/data"}],
        readinessProbe=READY_PROBE,
    )
    pod = await world.ready("vol")
    copy = (await world.call(pod, "about"))["env"]["COPY"]
    assert await world.call(pod, f"file?path={copy}") == 'Atier="gold"'
    init = pod["status"]["initContainerStatuses"][0]["state"]["terminated"]
    assert (init["exitCode"], init["reason"]) == (0, "Completed")


async def test_missing_config_map_holds_the_pod_until_it_appears(world):
    await world.run_pod(
        "late",
        env=[{"name": "X", "valueFrom": {"configMapKeyRef": {"name": "late", "key": "x"}}}],
        readinessProbe=READY_PROBE,
    )
    pod = await world.pod_where("late", lambda pod: waiting_reason(pod) == "CreateContainerConfigError", "held")
    assert pod["status"]["containerStatuses"][0]["state"]["waiting"]["message"] == 'configmap "late" not found'
    assert pod["status"]["phase"] == "Pending"
    await world.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "late"}, "data": {"x": "now"}})
    assert (await world.call(await world.ready("late"), "about"))["env"]["X"] == "now"


async def test_service_account_token_speaks_to_the_api_server_under_rbac(world):
    await world.run_pod("sa", readinessProbe=READY_PROBE)
    await world.run_pod("none", spec={"automountServiceAccountToken": False}, readinessProbe=READY_PROBE)
    pod = await world.ready("sa")
    path = (await world.call(pod, "about"))["env"]["KUBECONFIG"]
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    kubeconfig = yaml.safe_load(await world.call(pod, f"file?path={path}"))
    copy = world.cluster.state_dir / "sa-kubeconfig"
    copy.write_text(json.dumps(kubeconfig))
    async with Kube.from_kubeconfig(copy) as kube:
        who = await kube.create(Resource("authentication.k8s.io/v1", "selfsubjectreviews"), review)
    assert who["status"]["userInfo"]["username"] == f"system:serviceaccount:{world.namespace}:default"
    assert who["status"]["userInfo"]["extra"]["authentication.kubernetes.io/pod-name"] == ["sa"]
    assert "KUBECONFIG" not in (await world.call(await world.ready("none"), "about"))["env"]


async def test_unknown_image_is_reported_as_a_kubelet_would(world):
    await world.run_pod("typo", image="test/no-such:1")
    pod = await world.pod_where("typo", lambda pod: waiting_reason(pod) == "ImagePullBackOff", "ImagePullBackOff")
    assert (
        'failed to pull image "test/no-such:1"' in pod["status"]["containerStatuses"][0]["state"]["waiting"]["message"]
    )
    assert pod["status"]["phase"] == "Pending"
    await world.event("typo", "Failed", "test/no-such:1")
    await world.delete("typo")
    await world.gone("typo")


async def test_too_many_gpus_stay_pending_with_the_schedulers_words(world):
    gpus = {"limits": {"nvidia.com/gpu": "2"}}
    for name in ("a", "b", "c"):
        await world.run_pod(name, resources=gpus)

    def two_run_one_waits(pods):
        phases = sorted(pod["status"]["phase"] for pod in pods)
        return phases == ["Pending", "Running", "Running"] and any(map(unschedulable, pods))

    pods = await world.until(lambda: world.pods(""), two_run_one_waits, "two pods of three to run")
    assert {pod["spec"]["nodeName"] for pod in pods if "nodeName" in pod["spec"]} == {"node-1", "node-2"}
    message = next(filter(None, map(unschedulable, pods)))["message"]
    assert "2 Insufficient nvidia.com/gpu" in message


def unschedulable(pod):
    conditions = pod["status"].get("conditions", ())
    return next((entry for entry in conditions if entry.get("reason") == "Unschedulable"), None)


async def test_sidecars_are_refused_with_a_reason(world):
    sidecar = {"name": "side", "image": "test/app:1", "restartPolicy": "Always"}
    await world.run_pod("car", spec={"initContainers": [sidecar]})
    pod = await world.pod_where("car", lambda pod: pod["status"]["phase"] == "Failed", "refused")
    assert "sidecars are not supported" in pod["status"]["message"]
