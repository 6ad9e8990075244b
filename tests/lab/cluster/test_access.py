"""kubectl, helm and Prometheus work against the cluster, under real authorization; the audit log tells who did what."""

# ruff: noqa: S310 - every address is one of the cluster's own, on loopback

from __future__ import annotations

import base64
import json
import ssl
import stat
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
import yaml

from penstock_contract import names
from waiting import eventually

EXPORTER = """
import os, prometheus_client, threading
prometheus_client.Gauge("loaded", "Whether the model is loaded").set(0)
prometheus_client.start_http_server(8000, addr=os.environ["PENSTOCK_BIND_ADDRESS"])
threading.Event().wait()
"""


def pod(name, *, labels=None, args, probe=None):
    container = {
        "name": "main",
        "image": "test/python:1",
        "args": args,
        "ports": [{"name": "http", "containerPort": 8000}, {"name": "admin", "containerPort": 8001}],
        **({"readinessProbe": probe} if probe else {}),
    }
    metadata = {"name": name, "labels": labels or {}}
    spec = {"containers": [container], "terminationGracePeriodSeconds": 1}
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})


def test_kubectl_sees_nodes_with_gpus(kubectl):
    nodes = json.loads(kubectl("get", "nodes", "--output=json"))["items"]
    assert [node["status"]["allocatable"]["nvidia.com/gpu"] for node in nodes] == ["4", "4"]
    assert "v1.36" in kubectl("version")


def test_helm_installs_and_uninstalls(cluster, kubectl, namespace, tmp_path):
    chart = tmp_path / "chart"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text("apiVersion: v2\nname: tiny\nversion: 0.1.0\n")
    template = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "{{ .Release.Name }}"},
        "data": {"k": "v"},
    }
    (chart / "templates" / "map.yaml").write_text(yaml.safe_dump(template))

    def helm(*arguments):
        command = [cluster.bin("helm"), f"--kubeconfig={cluster.kubeconfig}", f"--namespace={namespace}", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    helm("install", "mine", str(chart))
    assert "tiny-0.1.0" in helm("list")
    assert "configmap/mine" in kubectl("get", "configmaps", f"--namespace={namespace}", "--output=name")
    helm("uninstall", "mine")
    assert "configmap/mine" not in kubectl("get", "configmaps", f"--namespace={namespace}", "--output=name")


@pytest.mark.parametrize(("headers", "status"), [({}, 403), ({"Authorization": "Bearer guessed"}, 401)])
def test_strangers_are_kept_out(cluster, headers, status):
    authority = base64.b64decode(
        yaml.safe_load(cluster.kubeconfig.read_text())["clusters"][0]["cluster"]["certificate-authority-data"]
    )
    context = ssl.create_default_context(cadata=authority.decode())
    request = urllib.request.Request(f"{cluster.api_url}/api/v1/pods", headers=headers)
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, context=context, timeout=30)
    refused.value.close()
    assert refused.value.code == status


def test_secrets_are_the_owners_alone(cluster):
    for path in [cluster.kubeconfig, cluster.state_dir / "tokens.csv", *cluster.state_dir.glob("pki/*.key")]:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert stat.S_IMODE(cluster.state_dir.stat().st_mode) == 0o700


def test_the_audit_log_names_users_and_writes(cluster, kubectl, namespace):
    kubectl("create", "configmap", "seen", f"--namespace={namespace}")

    def created():
        events = [json.loads(line) for line in cluster.audit_log.read_text().splitlines()]
        return [
            event
            for event in events
            if event["verb"] == "create"
            and event["objectRef"].get("namespace") == namespace
            and event["objectRef"].get("name") == "seen"
        ]

    (event,) = eventually(created, what="the creation in the audit log")
    assert event["user"]["username"] == "penstock-admin"
    assert event["level"] == "Metadata"
    assert "requestObject" not in event


def test_prometheus_scrapes_worker_pods_before_they_are_ready(cluster, kubectl, namespace):
    labels = {names.SERVICE: "chat", "inferenceservice": "forged"}
    never = {"exec": {"command": ["false"]}}
    kubectl(
        "create",
        f"--namespace={namespace}",
        "-f",
        "-",
        stdin=pod("w", labels=labels, args=["-c", EXPORTER], probe=never),
    )
    kubectl("create", f"--namespace={namespace}", "-f", "-", stdin=pod("other", args=["-c", EXPORTER]))

    def loaded():
        query = urllib.parse.urlencode({"query": f'loaded{{namespace="{namespace}"}}'})
        with urllib.request.urlopen(f"{cluster.prometheus_url}/api/v1/query?{query}", timeout=30) as response:
            return json.load(response)["data"]["result"]

    (series,) = eventually(loaded, what="a sample of the pod that is not ready")
    labels = series["metric"]
    assert labels[names.LABEL_SERVICE] == "chat"
    assert labels[names.LABEL_NAMESPACE] == namespace
    assert labels[names.LABEL_POD] == "w"
    assert labels["job"] == "penstock-worker"
    assert labels["instance"].startswith(f"{cluster.address_prefix}.")
    ready = kubectl("get", "pod", "w", f"--namespace={namespace}", "--output=jsonpath={.status.conditions}")
    assert {c["type"]: c["status"] for c in json.loads(ready)}["Ready"] == "False"
    with urllib.request.urlopen(f"{cluster.prometheus_url}/api/v1/targets?state=active", timeout=30) as response:
        targets = json.load(response)["data"]["activeTargets"]
    mine = [t for t in targets if t["labels"][names.LABEL_NAMESPACE] == namespace]
    assert len(mine) == 1


def test_pods_write_logs_that_penstock_logs_prints(cluster, kubectl, namespace):
    from click.testing import CliRunner

    from penstock_lab.cluster.cli import logs

    kubectl("create", f"--namespace={namespace}", "-f", "-", stdin=pod("talker", args=["-c", "print('hello', 6 * 7)"]))
    where = ["-n", namespace, "--name", cluster.name, "--state-dir", str(cluster.state_dir)]
    eventually(lambda: "hello 42" in CliRunner().invoke(logs, ["talker", *where]).output, what="the pod's words")
    missing = CliRunner().invoke(logs, ["nobody", *where])
    assert missing.exit_code == 1
    assert f"{namespace}/talker" in missing.output
    assert Path(cluster.pod_logs).is_dir()
