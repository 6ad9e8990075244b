"""The chart installed by helm on a cluster of its own, whose audit log is that of this one installation.

One story is lived through once: install, serve, upgrade to rights in one namespace only, uninstall. The tests look at
what was seen on the way.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from audit import Request, granted, requests_of
from penstock_contract.profile import Profile
from penstock_contract.step import StepModel
from penstock_lab import install as lab
from penstock_lab.cluster import LocalCluster
from penstock_lab.kubectl import kubectl, kubectl_json
from serving import Api
from waiting import eventually

pytestmark = pytest.mark.cluster

TEAM = "team-a"
KEY = "a-key-of-the-test"
OPERATOR, GATEWAY = "penstock-operator", "penstock-gateway"
VALUES: dict[str, Any] = {
    "operator": {"tickSeconds": 1},
    "gateway": {"apiKeysSecretRef": {"name": "api-keys"}, "preStopSleepSeconds": 1, "drainSeconds": 5},
    "scrape": {"intervalSeconds": 1},
}
# Granted, and not to be seen in the audit log of this story.
UNSEEN = {
    (OPERATOR, "inference.penstock.dev", "inferenceservices/finalizers", "update"): (
        "asked for by the admission plugin OwnerReferencesPermissionEnforcement, which sends no request"
    ),
}
SERVICE = {
    "apiVersion": "inference.penstock.dev/v1alpha1",
    "kind": "InferenceService",
    "metadata": {"name": "chat"},
    "spec": {
        "model": {"source": {"containerPath": "/models/tiny"}},
        "runtime": {"image": "penstock/worker:dev", "args": ["--emulate-device=/models/profile.json"]},
        "scaling": {
            "minReplicas": 1,
            "maxReplicas": 2,
            "targets": {"tokensPerSecond": 150},
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 1}},
        },
    },
}
PROFILE = Profile(
    name="chart",
    model=StepModel(c0=0.005, cB=0.0, cKV=0.0, cP=0.0, cPP=0.0),
    kv_tokens=8192,
    max_num_seqs=4,
    max_num_batched_tokens=512,
    accelerators=1,
    startup_seconds=0.1,
    source="made up for the tests",
)


@dataclass(repr=False)
class Story:
    """What was seen.

    Attributes:
        pods: of the release, once it was installed.
        notes: what helm said then, by kind of installation.
        rules: granted to the ServiceAccounts while they had a ClusterRole.
        heard: requests of the ServiceAccounts while they had a ClusterRole.
        later: requests of the pods that started with a Role only.
        answers: HTTP answers, by what was asked.
        scraped: what a Prometheus with the chart's scrape configuration holds, by metric name.
        left: names of objects after the uninstallation, by kind.
    """

    pods: list[dict[str, Any]] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)
    rules: set[tuple[str, str, str, str]] = field(default_factory=set)
    heard: list[Request] = field(default_factory=list)
    later: list[Request] = field(default_factory=list)
    answers: dict[str, requests.Response] = field(default_factory=dict)
    scraped: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    left: dict[str, list[str]] = field(default_factory=dict)


@pytest.fixture(scope="module")
def cluster_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """One node, and a checkpoint that is made while the control plane starts."""
    models = tmp_path_factory.mktemp("models")
    command = [sys.executable, "-m", "penstock_operator.cli", "model", "make-tiny", str(models / "tiny"), "--vocab=512"]
    (models / "profile.json").write_text(json.dumps(PROFILE.to_json()))
    with (
        subprocess.Popen(command, stdout=subprocess.DEVNULL) as making,
        LocalCluster(f"chart-{os.getpid()}", models=models) as cluster,
    ):
        yield cluster
        assert making.wait(60) == 0


@pytest.fixture(scope="module")
def story(cluster_of_its_own: LocalCluster, tmp_path_factory: pytest.TempPathFactory) -> Story:
    cluster, seen = cluster_of_its_own, Story()
    api = Api(lambda *arguments, stdin=None: kubectl(cluster, *arguments, stdin=stdin), TEAM)
    for namespace in (lab.NAMESPACE, TEAM):
        lab.make_namespace(cluster, namespace)
    keys = f"--from-literal=keys={KEY}"
    kubectl(cluster, "create", "secret", "generic", "api-keys", "-n", lab.NAMESPACE, keys)

    release = lab.install(cluster, values=VALUES)
    seen.pods = release.pods()
    seen.notes["all"] = lab.helm(cluster, "get", "notes", release.name, "-n", release.namespace)
    api.apply(SERVICE)
    api.wait("chat", "Ready", "True", "Ready", seconds=120)
    worker = f"http://{api.ready_pods('chat')[0]['status']['podIP']}:8000"
    gateway = f"http://{release.address('gateway')}:8080"
    seen.answers["worker"] = complete(f"{worker}/v1/completions", key=None)
    seen.answers["gateway"] = complete(f"{gateway}/{TEAM}/chat/v1/completions", key=KEY)
    seen.answers["no key"] = complete(f"{gateway}/{TEAM}/chat/v1/completions", key=None)
    with prometheus(cluster, tmp_path_factory.mktemp("prometheus")) as query:
        seen.scraped = scraped(query)
    api.patch("infsvc", "chat", {"spec": {"scaling": {"minReplicas": 2}}})
    eventually(lambda: len(api.ready_pods("chat")) == 2, what="two replicas")
    api.patch("infsvc", "chat", {"spec": {"scaling": {"minReplicas": 1}}})
    eventually(lambda: len(api.pods("chat")) == 1, what="one has been drained and is gone")
    seen.rules = granted(kubectl_json(cluster, "get", "clusterroles"), release.name)
    seen.heard = requests_of(cluster.audit_log, lab.NAMESPACE)

    before = {pod["metadata"]["name"] for pod in release.pods()}
    fewer = VALUES["gateway"] | {"replicas": 1}
    lab.install(cluster, values=VALUES | {"watchNamespaces": [TEAM], "gateway": fewer})
    api.patch("infsvc", "chat", {"spec": {"runtime": {"env": [{"name": "LOG_LEVEL", "value": "debug"}]}}})
    generation = api.get("infsvc", "chat")["metadata"]["generation"]
    eventually(lambda: api.get("infsvc", "chat")["status"]["observedGeneration"] == generation, what="observed")
    api.wait("chat", "Progressing", "True", "Complete")
    gateway = f"http://{release.address('gateway')}:8080"
    seen.answers["gateway of one namespace"] = complete(f"{gateway}/{TEAM}/chat/v1/completions", key=KEY)
    seen.later = [one for one in requests_of(cluster.audit_log, lab.NAMESPACE) if one.pod not in before]
    seen.notes["one"] = lab.helm(cluster, "get", "notes", release.name, "-n", release.namespace)

    release.uninstall()
    worker = f"http://{api.ready_pods('chat')[0]['status']['podIP']}:8000"
    seen.answers["after the uninstallation"] = complete(f"{worker}/v1/completions", key=None)
    seen.left = left(cluster)
    return seen


def complete(url: str, *, key: str | None) -> requests.Response:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return requests.post(
        url, json={"model": "chat", "prompt": "Hello", "max_tokens": 8, "ignore_eos": True}, headers=headers, timeout=30
    )


@contextlib.contextmanager
def prometheus(cluster: LocalCluster, folder: Path) -> Iterator[Callable[[str], list[dict[str, Any]]]]:
    """A Prometheus that has nothing but what the chart's ConfigMap says; yields a function that runs a query."""
    found = kubectl_json(cluster, "get", "configmap", "penstock-scrape-configs", "-n", lab.NAMESPACE)
    config = yaml.safe_load(found["data"]["penstock.yaml"])
    for job in config["scrape_configs"]:
        for discovery in job["kubernetes_sd_configs"]:
            discovery["kubeconfig_file"] = str(cluster.kubeconfig)  # it runs outside of the cluster
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [
        cluster.bin("prometheus"),
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]

    def query(text: str) -> list[dict[str, Any]]:
        answer = requests.get(f"http://127.0.0.1:{port}/api/v1/query", params={"query": text}, timeout=5)
        return [item["metric"] for item in answer.json()["data"]["result"]]

    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            yield query
        finally:
            process.terminate()


def scraped(query: Callable[[str], list[dict[str, str]]]) -> dict[str, list[dict[str, str]]]:
    def series() -> dict[str, list[dict[str, str]]] | None:
        names = (
            "penstock_worker_requests_running",
            "penstock_operator_desired_replicas",
            "penstock_gateway_requests_held",
        )
        found = {name: query(name) for name in names}
        return found if all(found.values()) else None

    return eventually(series, what="all three are scraped")


def left(cluster: LocalCluster) -> dict[str, list[str]]:
    kinds = "deployments,pods,services,poddisruptionbudgets,configmaps,serviceaccounts,roles,rolebindings"
    found = kubectl_json(cluster, "get", kinds, "-n", lab.NAMESPACE)["items"]
    found += kubectl_json(cluster, "get", "roles,rolebindings", "-n", TEAM)["items"]
    ours = "-l=app.kubernetes.io/part-of=penstock"
    found += kubectl_json(cluster, "get", "clusterroles,clusterrolebindings,crds", ours)["items"]
    names: dict[str, list[str]] = {}
    for item in found:
        if item["metadata"]["name"] not in ("kube-root-ca.crt", "default"):
            names.setdefault(item["kind"], []).append(item["metadata"]["name"])
    return names


def test_operator_and_gateways_run_under_restricted_pod_security(story: Story) -> None:
    names = sorted(pod["metadata"]["labels"]["app.kubernetes.io/name"] for pod in story.pods)
    assert names == [GATEWAY, GATEWAY, OPERATOR]
    for pod in story.pods:
        (status,) = pod["status"]["containerStatuses"]
        assert status["ready"]
        assert status["restartCount"] == 0


def test_tokens_come_from_the_worker_and_through_the_gateway(story: Story) -> None:
    for asked in ("worker", "gateway", "gateway of one namespace", "after the uninstallation"):
        answer = story.answers[asked]
        assert answer.status_code == 200, f"{asked}: {answer.text}"
        assert answer.json()["usage"]["completion_tokens"] == 8


def test_the_gateway_asks_for_the_key_of_the_secret(story: Story) -> None:
    assert story.answers["no key"].status_code == 401


def test_no_request_beyond_the_rules(story: Story) -> None:
    """With a ClusterRole, and with a Role in the one namespace that is served."""
    for part in (story.heard, story.later):
        assert {one.account for one in part} == {OPERATOR, GATEWAY}
        assert sorted({one.refused for one in part} - {""}) == []
        assert {need for one in part for need in one.needs} <= story.rules


def test_no_verb_that_nobody_used(story: Story) -> None:
    used = {need for one in story.heard for need in one.needs}
    assert sorted(story.rules - used - UNSEEN.keys()) == []
    assert UNSEEN.keys() <= story.rules, "remove from the table what is not granted any more"


def test_namespaced_rights_are_asked_for_there_only(story: Story) -> None:
    assert {one.namespace for one in story.later} == {TEAM, lab.NAMESPACE}


def test_samples_speak_of_the_service_and_nobody_renames_them(story: Story) -> None:
    for name, series in story.scraped.items():
        for labels in series:
            assert (labels["namespace"], labels["inferenceservice"]) == (TEAM, "chat"), name
            assert labels["pod"].startswith(("chat-", OPERATOR, GATEWAY))
            assert not [label for label in labels if label.startswith("exported_")], name


def test_the_notes_say_what_is_served_and_what_comes_next(story: Story) -> None:
    assert "all namespaces" in story.notes["all"]
    assert "the namespaces team-a" in story.notes["one"]
    for text in ("kubectl rollout status", "kubectl apply -n ", "kubectl port-forward", "Authorization: Bearer"):
        assert text in story.notes["one"]


def test_only_the_crd_is_left(story: Story) -> None:
    """And with it the services, whose workers still answer (above)."""
    assert story.left == {"CustomResourceDefinition": ["inferenceservices.inference.penstock.dev"]}
