"""What a real gateway process exports is what the contract's table says: names, types, labels, buckets."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from penstock_contract.metrics import GATEWAY, LATENCY_BUCKETS
from penstock_contract.names import API_VERSION, KIND, OBJECTIVE_METRICS
from penstock_gateway.errors import REASONS
from waiting import eventually
from worker_process import free_ports, parse_samples

LABELS = {"namespace": "conformance", "inferenceservice": "chat"}
PERCENTILES = ("90", "99.9")
OBJECTIVES = [
    {"metric": metric, "percentile": percentile, "thresholdMilliseconds": 1000}
    for metric in OBJECTIVE_METRICS[:4]
    for percentile in (90, "99.9")
]
MANIFEST = {
    "apiVersion": API_VERSION,
    "kind": KIND,
    "metadata": {"name": LABELS["inferenceservice"], "namespace": LABELS["namespace"]},
    "spec": {
        "model": {"source": {"containerPath": "/models/tiny"}},
        "replicas": 0,
        "sla": {"objectives": OBJECTIVES},
        "routing": {"maxHeldRequests": 0},
    },
}


@pytest.fixture(scope="module")
def gateway(kubectl, crd, kubeconfig, tmp_path_factory):
    """URLs of a gateway that watches one namespace: the API, the admin port."""
    kubectl("create", "namespace", LABELS["namespace"])
    port, admin_port = free_ports(2)
    env = {
        "KUBECONFIG": str(kubeconfig),
        "PENSTOCK_NAMESPACES": LABELS["namespace"],
        "PENSTOCK_BIND_ADDRESS": "127.0.0.1",
        "PENSTOCK_GATEWAY_PORT": str(port),
        "PENSTOCK_GATEWAY_ADMIN_PORT": str(admin_port),
    }
    log = tmp_path_factory.mktemp("conformance") / "gateway.log"
    with log.open("wb") as sink:
        process = subprocess.Popen([sys.executable, "-m", "penstock_gateway"], env=os.environ | env, stderr=sink)
    admin = f"http://127.0.0.1:{admin_port}"
    try:
        eventually(lambda: requests.get(f"{admin}/readyz", timeout=30).ok, what="the gateway is ready")
        yield f"http://127.0.0.1:{port}", admin
    finally:
        process.kill()
        process.wait()
        kubectl("delete", "namespace", LABELS["namespace"], "--wait=false")


@pytest.fixture(scope="module")
def exposed(gateway, kubectl):
    """Expositions without a service, with one that nobody asked, and after a request that was refused."""
    url, admin = gateway

    def scrape() -> requests.Response:
        return requests.get(f"{admin}/metrics", timeout=30)

    found = {"empty": scrape()}
    kubectl("apply", "-f", "-", stdin=json.dumps(MANIFEST))
    eventually(lambda: requests.get(f"{admin}/demand", timeout=30).json()["services"], what="the service is known")
    found["fresh"] = scrape()
    asked = requests.post(f"{url}/conformance/chat/v1/completions", json={"prompt": [1, 2, 3]}, timeout=30)
    assert asked.status_code == 429
    return found | {"refused": scrape()}


@pytest.fixture(params=["empty", "fresh", "refused"])
def exposition(request, exposed):
    return exposed[request.param]


def test_every_family_is_there_with_its_type_help_and_nothing_else(exposition):
    families = {family.name: family for family in text_string_to_metric_families(exposition.text)}
    for metric in GATEWAY:
        family = families.pop(metric.name.removesuffix("_total"))
        assert (family.type, family.documentation) == (metric.kind, metric.help)
    assert not families
    assert exposition.headers["Content-Type"].startswith("text/plain")


def test_labels_are_those_of_the_table(exposition):
    families = {family.name: family for family in text_string_to_metric_families(exposition.text)}
    for metric in GATEWAY:
        for sample in families[metric.name.removesuffix("_total")].samples:
            assert set(sample.labels) - {"le"} == set(metric.labels)
            assert {key: sample.labels[key] for key in LABELS} == LABELS


def test_a_service_that_is_gone_has_no_series(exposed):
    assert parse_samples(exposed["empty"].text) == {}


@pytest.mark.parametrize("state", ["fresh", "refused"])
def test_every_series_exists_before_it_counts(exposed, state):
    series = [(name, dict(labels)) for name, labels in parse_samples(exposed[state].text)]

    def values(name, *labels):
        return {tuple(found[label] for label in labels) for one, found in series if one == f"penstock_gateway_{name}"}

    assert values("requests_failed_total", "reason") == {(reason,) for reason in REASONS}
    assert values("objective_total", "metric", "percentile", "result") == {
        (metric, percentile, result)
        for metric in ("TTFT", "TPOT", "QueueWait")  # ITL is the worker's to tell
        for percentile in PERCENTILES
        for result in ("met", "missed")
    }


@pytest.mark.parametrize("state", ["fresh", "refused"])
def test_histograms_have_the_shared_buckets(exposed, state):
    samples = parse_samples(exposed[state].text)
    for metric in GATEWAY:
        bounds = [float(dict(labels)["le"]) for name, labels in samples if name == f"{metric.name}_bucket"]
        assert sorted(bounds) == ([*LATENCY_BUCKETS, float("inf")] if metric.kind == "histogram" else [])


def test_all_starts_at_zero_and_a_refusal_is_counted(exposed):
    assert set(parse_samples(exposed["fresh"].text).values()) == {0.0}
    counted = {
        (name.removeprefix("penstock_gateway_"), tuple(value for key, value in labels if key not in LABELS)): value
        for (name, labels), value in parse_samples(exposed["refused"].text).items()
        if value
    }
    missed = {
        ("objective_total", (metric, percentile, "missed")): 1.0
        for metric in ("TTFT", "TPOT", "QueueWait")
        for percentile in PERCENTILES
    }
    assert counted == missed | {
        ("requests_arrived_total", ()): 1.0,
        ("prompt_tokens_total", ()): 3.0,
        ("requests_failed_total", ("queue_full",)): 1.0,
    }
