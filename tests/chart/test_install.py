"""The chart installed by helm on a cluster of its own, whose audit log is that of this one installation.

One story is lived through once: install the chart as it was, serve, upgrade to the chart as it is, then to rights in
one namespace only, uninstall. The tests look at what was seen on the way.
"""

import contextlib
import io
import json
import os
import socket
import subprocess
import sys
import tarfile
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
OLD_VALUES: dict[str, Any] = {
    "operator": {"tickSeconds": 1},
    "gateway": {"apiKeysSecretRef": {"name": "api-keys"}, "preStopSleepSeconds": 1, "drainSeconds": 5},
    "scrape": {"intervalSeconds": 1},
}
VALUES: dict[str, Any] = OLD_VALUES | {
    "prometheus": {"headers": {"X-Scope-OrgID": "anonymous"}},
    "alerts": {"configMap": True},
    "dashboard": {"enabled": True},
    "networkPolicy": {
        "enabled": True,
        "prometheusFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
        "workerNamespaces": [TEAM],
    },
}
# The chart before alerts, dashboard, fences, doctor and further credentials of Prometheus.
PREVIOUS = "331308746f9e2be47e798ed7890290c7f3517cc8"
# No worker holds an accelerator, nothing failed, no answer has the 16 tokens that a TPOT takes, all was decided before,
# and predictions take an objective that the number of replicas moves.
NOT_YET = {
    "Cost per hour",
    "Cost per million tokens",
    "Signals that are not fresh",
    "Operator's errors",
    "Time per output token",
    "Decisions by reason",
    "Predicted attainment by replicas",
}
Ask = Callable[..., dict[str, Any]]
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
        "sla": {"objectives": [{"metric": "E2E", "percentile": 99, "thresholdMilliseconds": 60000}]},
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
        rules_health: how that Prometheus finds the chart's rules, by name.
        alerts: that fire there.
        burn: what it recorded of the budget's use.
        panels: series that it has for the dashboard, by panel.
        upgraded: uids of the worker's pods before and after the upgrade from the previous chart.
        examined: what `helm test` said.
        left: names of objects after the uninstallation, by kind.
    """

    pods: list[dict[str, Any]] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)
    rules: set[tuple[str, str, str, str]] = field(default_factory=set)
    heard: list[Request] = field(default_factory=list)
    later: list[Request] = field(default_factory=list)
    answers: dict[str, requests.Response] = field(default_factory=dict)
    scraped: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    rules_health: dict[str, str] = field(default_factory=dict)
    alerts: set[str] = field(default_factory=set)
    burn: list[dict[str, Any]] = field(default_factory=list)
    panels: dict[str, int] = field(default_factory=dict)
    upgraded: tuple[list[str], list[str]] | None = None
    examined: str = ""
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

    before_upgrade = None
    if previous := previous_chart(tmp_path_factory.mktemp("previous")):
        lab.install(cluster, values=OLD_VALUES | {"gateway": OLD_VALUES["gateway"] | {"replicas": 1}}, chart=previous)
        api.apply(SERVICE)
        api.wait("chat", "Ready", "True", "Ready", seconds=120)
        before_upgrade = uids(api)
    release = lab.install(cluster, values=VALUES)
    seen.pods = release.pods()
    seen.notes["all"] = lab.helm(cluster, "get", "notes", release.name, "-n", release.namespace)
    api.apply(SERVICE)
    api.wait("chat", "Ready", "True", "Ready", seconds=120)
    seen.upgraded = (before_upgrade, uids(api)) if before_upgrade else None
    worker = f"http://{api.ready_pods('chat')[0]['status']['podIP']}:8000"
    gateway = f"http://{release.address('gateway')}:8080"
    seen.answers["worker"] = complete(f"{worker}/v1/completions", key=None)
    seen.answers["gateway"] = complete(f"{gateway}/{TEAM}/chat/v1/completions", key=KEY)
    seen.answers["no key"] = complete(f"{gateway}/{TEAM}/chat/v1/completions", key=None)
    with prometheus(cluster, tmp_path_factory.mktemp("prometheus")) as ask:
        seen.scraped = scraped(ask)
        watched(cluster, ask, seen, lambda: complete(f"{gateway}/{TEAM}/chat/v1/completions", key=KEY))
    api.patch("infsvc", "chat", {"spec": {"scaling": {"minReplicas": 2}}})
    eventually(lambda: len(api.ready_pods("chat")) == 2, what="two replicas")
    api.patch("infsvc", "chat", {"spec": {"scaling": {"minReplicas": 1}}})
    eventually(lambda: len(api.pods("chat")) == 1, what="one has been drained and is gone")
    seen.rules = granted(kubectl_json(cluster, "get", "clusterroles"), release.name)
    seen.heard = requests_of(cluster.audit_log, lab.NAMESPACE)

    seen.examined = examined(cluster, release)
    before = {one.pod for one in requests_of(cluster.audit_log, lab.NAMESPACE)}
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


def previous_chart(folder: Path) -> Path | None:
    """The chart as it was; None where the repository does not reach back so far."""
    archive = subprocess.run(
        ["git", "-C", str(lab.CHART.parents[1]), "archive", PREVIOUS, "charts/penstock"],
        capture_output=True,
        check=False,
    )
    if archive.returncode:
        return None
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(folder, filter="data")
    return folder / "charts" / "penstock"


def uids(api: Api) -> list[str]:
    return sorted(pod["metadata"]["uid"] for pod in api.pods("chat"))


def examined(cluster: LocalCluster, release: lab.Release) -> str:
    """What helm says of its test; what the doctor said if it failed."""
    try:
        return lab.helm(cluster, "test", release.name, "-n", release.namespace, "--timeout=60s")
    except lab.InstallError as error:
        logs = [path.read_text() for path in cluster.pod_logs.glob(f"{release.namespace}_penstock-doctor_*.log")]
        raise AssertionError("\n".join([str(error), *logs])) from error


def complete(url: str, *, key: str | None) -> requests.Response:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return requests.post(
        url, json={"model": "chat", "prompt": "Hello", "max_tokens": 8, "ignore_eos": True}, headers=headers, timeout=30
    )


@contextlib.contextmanager
def prometheus(cluster: LocalCluster, folder: Path) -> Iterator[Ask]:
    """A Prometheus that has nothing but what the chart's ConfigMaps say; yields a function that asks its API."""
    found = kubectl_json(cluster, "get", "configmap", "penstock-scrape-configs", "-n", lab.NAMESPACE)
    config = yaml.safe_load(found["data"]["penstock.yaml"])
    config |= {"global": {"evaluation_interval": "1s"}, "rule_files": [f"{folder}/alerts.yaml"]}
    rules = kubectl_json(cluster, "get", "configmap", "penstock-alerts", "-n", lab.NAMESPACE)
    (folder / "alerts.yaml").write_text(rules["data"]["penstock-alerts.yaml"])
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

    def ask(path: str, **parameters: str) -> dict[str, Any]:
        answer = requests.get(f"http://127.0.0.1:{port}/api/v1/{path}", params=parameters, timeout=5).json()
        assert answer["status"] == "success", f"{parameters}: {answer}"
        return answer["data"]

    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            yield ask
        finally:
            process.terminate()


def scraped(ask: Ask) -> dict[str, list[dict[str, str]]]:
    def series() -> dict[str, list[dict[str, str]]] | None:
        names = (
            "penstock_worker_requests_running",
            "penstock_operator_desired_replicas",
            "penstock_gateway_requests_held",
        )
        found = {name: [item["metric"] for item in ask("query", query=name)["result"]] for name in names}
        return found if all(found.values()) else None

    return eventually(series, what="all three are scraped")


def watched(cluster: LocalCluster, ask: Ask, seen: Story, serve: Callable[[], object]) -> None:
    """What rules and dashboard make of it, while requests come: a rate is of what came between two scrapes."""

    def rules() -> list[dict[str, Any]]:
        return [rule for group in ask("rules")["groups"] for rule in group["rules"]]

    burn = 'penstock:objective_burn:ratio_rate5m{metric="E2E"} >= 0'

    def burnt() -> list[dict[str, Any]]:
        serve()
        return ask("query", query=burn)["result"]

    seen.burn = eventually(burnt, what="the use of the budget is recorded", every=1.0)
    eventually(lambda: "unknown" not in {rule["health"] for rule in rules()}, what="every rule was evaluated")
    seen.rules_health = {rule["name"]: rule["health"] for rule in rules()}
    seen.alerts = {alert["labels"]["alertname"] for alert in ask("alerts")["alerts"] if alert["state"] == "firing"}
    configmap = kubectl_json(cluster, "get", "configmap", "penstock-dashboard", "-n", lab.NAMESPACE)
    for panel in json.loads(configmap["data"]["penstock.json"])["panels"]:
        for target in panel.get("targets", ()):
            text = target["expr"].replace("$__rate_interval", "30s")
            text = text.replace("$namespace", TEAM).replace("$service", "chat")
            found = len(ask("query", query=text)["result"])
            seen.panels[panel["title"]] = seen.panels.get(panel["title"], 0) + found


def left(cluster: LocalCluster) -> dict[str, list[str]]:
    kinds = (
        "deployments,pods,services,poddisruptionbudgets,configmaps,serviceaccounts,roles,rolebindings,networkpolicies"
    )
    found = kubectl_json(cluster, "get", kinds, "-n", lab.NAMESPACE)["items"]
    found += kubectl_json(cluster, "get", "roles,rolebindings,networkpolicies", "-n", TEAM)["items"]
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


def test_an_upgrade_from_the_previous_chart_leaves_workers_alone(story: Story) -> None:
    if story.upgraded is None:
        pytest.skip(f"the repository does not hold commit {PREVIOUS}: a clone with its history does")
    before, after = story.upgraded
    assert before == after
    assert len(after) == 1


def test_prometheus_takes_the_rules_and_nothing_is_wrong_with_the_release(story: Story) -> None:
    assert {name: health for name, health in story.rules_health.items() if health != "ok"} == {}
    assert {"PenstockOperatorDown", "PenstockObjectiveMissed"} <= story.rules_health.keys()
    assert story.alerts == {"PenstockDeviceEmulated"}
    (burn,) = story.burn
    assert (burn["metric"]["percentile"], float(burn["value"][1])) == ("99", 0.0)


def test_the_dashboard_shows_what_there_is(story: Story) -> None:
    empty = {title for title, found in story.panels.items() if not found}
    assert empty <= NOT_YET, "panels without a series"


def test_helm_test_finds_all_that_the_operator_needs(story: Story) -> None:
    assert "Phase:          Succeeded" in story.examined


def test_the_notes_say_what_is_served_and_what_comes_next(story: Story) -> None:
    assert "all namespaces" in story.notes["all"]
    assert "the namespaces team-a" in story.notes["one"]
    for text in (
        "kubectl rollout status",
        "helm test penstock",
        "kubectl apply -n ",
        "kubectl port-forward",
        "Authorization: Bearer",
    ):
        assert text in story.notes["one"]


def test_only_the_crd_is_left(story: Story) -> None:
    """And with it the services, whose workers still answer (above)."""
    assert story.left == {"CustomResourceDefinition": ["inferenceservices.inference.penstock.dev"]}
