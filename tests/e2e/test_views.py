"""What people look at, on a real cluster: the state page, `penstock explain`, `penstock doctor`, the web page."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import yaml

from browsing import browser_or_skip, visit
from penstock_lab.cluster import LocalCluster
from penstock_lab.install import NAMESPACE, install
from penstock_lab.kube import Kube
from penstock_lab.load import client
from penstock_lab.load.schedule import Lengths, Phase, plan
from penstock_lab.load.targets import ReadyPods
from penstock_lab.operator import OperatorProcess
from serving import Api
from waiting import eventually

WIDTH = 100


@pytest.fixture(scope="module")
def views(cluster: LocalCluster, kubectl: Callable[..., str], operator: OperatorProcess, models: Any) -> Iterator[Api]:
    """A namespace with one autoscaled service that has had some load, and the operator as a process."""
    name = "views"
    kubectl("create", "namespace", name)
    kubectl("wait", f"--namespace={name}", "--for=create", "serviceaccount/default", "--timeout=120s")
    yield Api(kubectl, name, kubeconfig=cluster.kubeconfig)
    kubectl("delete", "infsvc", "--all", f"--namespace={name}", "--cascade=foreground", "--timeout=180s")
    kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="module")
def served(views: Api, cluster: LocalCluster, operator: OperatorProcess) -> dict[str, Any]:
    """The state of the service after some seconds of load."""
    views.apply(manifest())
    views.wait("chat", "Ready", "True")

    async def load() -> None:
        planned = plan([Phase("load", 20.0, 3.0)], Lengths(prompt=(16, 32), output=(24, 40)), vocabulary=512, seed=1)
        async with (
            Kube.from_kubeconfig(cluster.kubeconfig) as kube,
            ReadyPods(kube, namespace=views.namespace, service="chat") as pods,
        ):
            outcomes = await client.run(planned, pick=pods.pick, model="chat")
            assert [outcome.error for outcome in outcomes if outcome.error] == []

    def now() -> dict[str, Any]:
        found: dict[str, Any] = state(operator, f"{views.namespace}/chat")["services"][0]
        return found

    def during() -> dict[str, Any] | None:
        found = now()
        likely = 20 < (found["load"]["tokens_per_request"] or 0) < 45  # the first seconds know too little
        return found if likely else None

    def after() -> dict[str, Any] | None:
        found = now()
        return found if found["objectives"][0]["attainment"] is not None else None

    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(asyncio.run, load())
        busy = eventually(during, what="the load is seen")
        loading.result()
    return eventually(after, what="the objective is measured") | {"load": busy["load"]}


def manifest(name: str = "chat", **scaling: Any) -> dict[str, Any]:
    return {
        "apiVersion": "inference.penstock.dev/v1alpha1",
        "kind": "InferenceService",
        "metadata": {"name": name},
        "spec": {
            "model": {"source": {"containerPath": "/models/tiny"}},
            "runtime": {
                "image": "penstock/worker:dev",
                "args": ["--emulate-device=/models/profile.json"],
                "accelerator": {"count": 1},
            },
            "scaling": {"minReplicas": 1, "maxReplicas": 4, "targets": {"tokensPerSecond": 150}} | scaling,
            "sla": {"objectives": [{"metric": "TTFT", "percentile": 99, "thresholdMilliseconds": 5000}]},
            "cost": {"perAcceleratorHour": "2.50"},
            "drain": {"timeoutSeconds": 10},
        },
    }


def state(operator: OperatorProcess, service: str) -> dict[str, Any]:
    with urlopen(f"{operator.url}/state.json?service={service}", timeout=30) as answer:  # noqa: S310 - loopback
        return json.loads(answer.read())


def penstock(
    cluster: LocalCluster, *arguments: str, code: int = 0, operator: OperatorProcess | None = None
) -> subprocess.CompletedProcess[str]:
    """A `penstock` command as somebody with the administrator's kubeconfig runs it."""
    url = [] if operator is None else [f"--operator-url={operator.url}"]
    done = subprocess.run(
        [sys.executable, "-m", f"penstock_operator.commands.{arguments[0]}", *arguments[1:], *url],
        env=os.environ | {"KUBECONFIG": str(cluster.kubeconfig)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def verdicts(done: subprocess.CompletedProcess[str]) -> dict[str, list[dict[str, str]]]:
    """Results of `doctor -o json` by check."""
    found: dict[str, list[dict[str, str]]] = {}
    for one in json.loads(done.stdout)["results"]:
        found.setdefault(one["check"], []).append(one)
    return found


def test_the_state_page_holds_what_the_views_show(served: dict[str, Any]) -> None:
    assert served["emulated"] == "e2e", "as the worker says, not as the file is called"
    assert (served["engine"], served["mode"], served["model"]) == ("Penstock", "Auto", "chat")
    assert served["replicas"]["ready"] >= 1
    assert served["capacity"] == {"tokens_per_second_per_replica": 150, "source": "Target"}
    assert served["cost"]["per_hour"] >= 2.5
    objective = served["objectives"][0]
    assert objective["attainment"] == 1.0
    assert objective["error_budget_left"] == 1.0
    assert 0 < objective["value_seconds"] < objective["threshold_seconds"]
    assert {one["name"]: one["state"] for one in served["signals"]}["Arrivals"] == "Fresh"
    assert max(point[1] or 0 for point in served["history"]) > 0, "offered load is in the history"
    assert max(point[9] or 0 for point in served["history"]) > 0, "served load is in the history"
    assert [one["status"] for one in served["conditions"] if one["type"] == "Ready"] == ["True"]


def test_explain_says_what_a_service_does_and_why(
    served: dict[str, Any], views: Api, cluster: LocalCluster, operator: OperatorProcess
) -> None:
    text = penstock(cluster, "explain", "chat", "-n", views.namespace, operator=operator).stdout
    for part in (
        "EMULATED device e2e",
        "Why",
        "Demand",
        "150 tok/s",
        "TTFT p99",
        "error budget 100.0 % left",
        "Arrivals",
    ):
        assert part in text, text
    assert max(len(line) for line in text.splitlines()) <= WIDTH
    answer = json.loads(penstock(cluster, "explain", f"{views.namespace}/chat", "-o", "json", operator=operator).stdout)
    assert answer["service"]["name"] == "chat"
    assert answer["why_not_live"] == ""


def test_explain_without_an_operator_tells_the_written_status(
    served: dict[str, Any], views: Api, cluster: LocalCluster
) -> None:
    """No pod of this cluster is the operator, which runs as a process: nobody answers."""
    text = penstock(cluster, "explain", "chat", "-n", views.namespace).stdout
    assert "The operator does not answer, so this is its last written status" in text
    assert "replicas ready" in text
    assert "ScalingActive" in text


def test_explain_names_the_services_that_there_are(
    served: dict[str, Any], views: Api, cluster: LocalCluster, operator: OperatorProcess
) -> None:
    done = penstock(cluster, "explain", "chta", "-n", views.namespace, operator=operator, code=1)
    assert f"no InferenceService chta in namespace {views.namespace}; there are chat" in done.stderr


async def test_the_page_of_the_real_operator(served: dict[str, Any], operator: OperatorProcess) -> None:
    async with visit(browser_or_skip(), operator.url) as seen:
        await seen.page.wait_for_selector(".cards")
        decided = "document.querySelector('main').innerText.includes('error budget')"
        await seen.page.wait_for_function(decided)  # the page follows the operator, whose first decision may come later
        shown = await seen.text("main")
        for part in ("views / chat", "EMULATED e2e", "TTFT p99", "error budget 100\u00a0% left", "SignalsFresh"):
            assert part in shown, shown
        assert await seen.page.locator(".charts path.offered").count() > 0
        assert seen.complaints == []


def test_doctor_finds_a_sound_cluster_sound(
    served: dict[str, Any], views: Api, cluster: LocalCluster, operator: OperatorProcess
) -> None:
    url = f"--prometheus-url={cluster.prometheus_url}"
    found = verdicts(penstock(cluster, "doctor", "-o", "json", url, operator=operator))
    levels = {check: {one["level"] for one in results} for check, results in found.items()}
    assert levels == {
        "api-server": {"OK"},
        "crd": {"OK"},
        "rights": {"WARN"},  # the operator runs as a process, so its account is not seen
        "operator": {"OK"},
        "gateways": {"WARN"},  # there are none
        "prometheus": {"OK"},
        "scrape": {"OK"},
        "series": {"OK"},
        "labels": {"OK"},
        "nodes": {"OK"},
        "services": {"OK"},
    }, found


def test_doctor_fails_and_says_how_to_mend_it(
    served: dict[str, Any], views: Api, cluster: LocalCluster, operator: OperatorProcess
) -> None:
    url = f"--prometheus-url={cluster.prometheus_url}"
    cluster.stop("prometheus")
    try:
        eventually(
            lambda: state(operator, f"{views.namespace}/chat")["metrics_source"]["ok"] is False,
            what="the operator misses Prometheus",
        )
        done = penstock(cluster, "doctor", url, operator=operator, code=1)
        explained = penstock(cluster, "explain", "chat", "-n", views.namespace, operator=operator).stdout
    finally:
        cluster.start("prometheus")
    assert "FAIL  prometheus" in done.stdout
    assert "cannot be reached" in done.stdout
    assert "fix: start" in done.stdout
    assert max(len(line) for line in done.stdout.splitlines()) <= WIDTH
    assert "metrics source: Prometheus at" in " ".join(explained.split())


def pretender(namespace: str) -> dict[str, Any]:
    """A pod that says it is the operator, and never runs."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "pretender",
            "namespace": namespace,
            "labels": {"app.kubernetes.io/name": "penstock-operator"},
        },
        "spec": {
            "nodeSelector": {"no": "such-node"},
            "containers": [{"name": "operator", "image": "penstock/worker:dev"}],
        },
    }


def as_service_account(
    cluster: LocalCluster, views: Api, file: Path, *, name: str = "penstock-operator", namespace: str = NAMESPACE
) -> Path:
    """A kubeconfig with the rights of an account; by default the chart's operator, as `helm test` has them."""
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    token = views.run("create", "token", name, "-n", namespace).strip()
    for user in config["users"]:
        user["user"] = {"token": token}
    file.write_text(yaml.safe_dump(config))
    return file


def test_views_of_an_operator_that_runs_as_a_pod(
    served: dict[str, Any], views: Api, cluster: LocalCluster, operator: OperatorProcess, tmp_path: Path
) -> None:
    """The chart's operator: found by its labels, asked at its own address since no proxy goes to loopback."""
    operator.stop()
    values = {"operator": {"tickSeconds": 1}, "gateway": {"replicas": 1}, "crds": {"install": False}}
    release = install(cluster, values=values)
    try:
        answer = json.loads(penstock(cluster, "explain", f"{views.namespace}/chat", "-o", "json").stdout)
        assert answer["why_not_live"] == "", answer
        address = release.address("operator")
        assert address in answer["source"]
        found = verdicts(penstock(cluster, "doctor", "-o", "json"))
        assert [one["level"] for one in found["gateways"]] == ["OK"], found
        assert "ServiceAccount penstock-system/penstock-operator" in found["rights"][0]["message"]
        assert [one["level"] for one in found["prometheus"]] == ["OK"], "its URL is in the operator's settings"
        assert {one["level"] for results in found.values() for one in results} <= {"OK", "WARN"}, found
        mine = as_service_account(cluster, views, tmp_path / "kubeconfig")
        found = verdicts(penstock(cluster, "doctor", "-o", "json", f"--kubeconfig={mine}"))
        assert [one["level"] for one in found["nodes"]] == ["WARN"], "the operator may not see nodes"
        assert [one["level"] for one in found["rights"]] == ["OK"], "it may ask about itself"
        assert {one["level"] for results in found.values() for one in results} <= {"OK", "WARN"}, found
        views.run("create", "serviceaccount", "nobody", "-n", views.namespace)
        nobody = as_service_account(cluster, views, tmp_path / "nobody", name="nobody", namespace=views.namespace)
        found = verdicts(penstock(cluster, "doctor", "-o", "json", f"--kubeconfig={nobody}"))
        assert "account is not visible" in found["rights"][0]["message"], "the caller is not judged in its place"
        assert {one["level"] for results in found.values() for one in results} <= {"OK", "WARN"}, found
        views.run("apply", "-f", "-", stdin=json.dumps(pretender(views.namespace)))
        refused = penstock(cluster, "explain", f"{views.namespace}/chat", code=1)
        assert f"penstock-system, {views.namespace} say that they are the operator" in refused.stderr
        assert "--operator-namespace" in refused.stderr
        chosen = ("explain", f"{views.namespace}/chat", "-o", "json", f"--operator-namespace={NAMESPACE}")
        assert address in json.loads(penstock(cluster, *chosen).stdout)["source"]
        found = verdicts(penstock(cluster, "doctor", "-o", "json", code=1))
        assert "both watch all namespaces" in found["operator"][0]["message"]
    finally:
        release.uninstall()
