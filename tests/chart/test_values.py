"""The values: every one is described, every wrong one is refused by name, and the schema agrees with the defaults."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from penstock_lab.install import CHART
from penstock_operator.core.scaling.safety import LONGEST_GAP_SECONDS
from penstock_operator.runtime.settings import ENGINES

Template = Callable[..., subprocess.CompletedProcess[str]]
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())


def resolved(node: dict[str, Any]) -> dict[str, Any]:
    reference = node.get("$ref")
    return SCHEMA["$defs"][reference.removeprefix("#/$defs/")] if reference else node


def objects(node: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    node = resolved(node)
    if node.get("type") == "object":
        yield path, node
    for name, child in node.get("properties", {}).items():
        yield from objects(child, f"{path}.{name}")
    if "items" in node:
        yield from objects(node["items"], f"{path}[]")


def test_the_schema_is_closed() -> None:
    for path, node in objects(SCHEMA):
        if path != ".global":  # whatever another chart that includes this one shares
            assert node.get("additionalProperties", True) is not True, path


def test_schema_and_defaults_have_the_same_fields() -> None:
    def compare(values: Any, node: dict[str, Any], path: str) -> None:
        properties = resolved(node).get("properties")
        if not isinstance(values, dict) or properties is None or path.endswith((".resources", ".affinity")):
            return
        assert set(values) == set(properties) - {"global"}, path
        for name, value in values.items():
            compare(value, properties[name], f"{path}.{name}")

    compare(VALUES, SCHEMA, "")


def test_every_value_is_described() -> None:
    lines = (CHART / "values.yaml").read_text().splitlines()
    for above, line in zip(["", *lines], lines, strict=False):
        if re.fullmatch(r" *[A-Za-z]+: .+", line) and not re.match(r" *(requests|limits): {", line):
            assert re.match(r" *# -- \S", above), line


def test_the_page_of_the_values_is_that_of_the_chart() -> None:
    script = CHART.parents[1] / "scripts" / "values_reference.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_schema_knows_the_engines_and_bounds_of_the_operator() -> None:
    operator = SCHEMA["properties"]["operator"]["properties"]
    assert set(operator["workerImages"]["properties"]) == set(ENGINES)
    assert operator["tickSeconds"]["maximum"] == LONGEST_GAP_SECONDS


WRONG: dict[str, Any] = {
    "prometheus.url": "prometheus:9090",
    "prometheus.tokenSecretRef.name": "Not_A_Name",
    "watchNamespaces.0": "Team A",
    "crds": False,
    "operator.tickSeconds": 0,
    "operator.resyncSeconds": 86_401,
    "operator.concurrency": 1.5,
    "operator.workerImages.Penstock": 1,
    "operator.image.digest": "latest",
    "operator.image.pullPolicy": "Sometimes",
    "operator.tolerations.0.effect": "Never",
    "gateway.enabled": "yes",
    "gateway.replicas": 0,
    "gateway.service.port": 70_000,
    "gateway.service.type": "ExternalName",
    "gateway.nodeSelector.pool": 3,
    "scrape.intervalSeconds": 0,
    "podMonitor.labels.release": True,
    "prometheus.headers.X-Scope-OrgID": 1,
    "prometheus.basicAuthSecretRef.passwordKey": "pass word",
    "operator.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution": [],
    "alerts.prometheusRule": "yes",
    "alerts.runbookUrl": "docs/runbook.md",
    "dashboard.labels.grafana_dashboard": 1,
    "networkPolicy.prometheusFrom.0.ipBlock.cidr": "everywhere",
    "networkPolicy.workerNamespaces.0": "Team A",
}
UNKNOWN = (
    "operator.tickSecond",
    "gateway.replicaCount",
    "prometheus.uri",
    "operator.workerImages.vLLM",
    "operator.resources.cpu",
    "metrics",
    "networkPolicy.from",
    "gateway.affinity.node",
    "alerts.rules",
)


@pytest.fixture(scope="module")
def refusal(template: Template) -> str:
    """What helm says of all the wrong values at once, the unknown fields among them."""
    values: dict[str, Any] = {}
    for path, value in [*WRONG.items(), *((path, "x") for path in UNKNOWN)]:
        merge(values, nested(path, value))
    done = template(values)
    assert done.returncode != 0
    return done.stderr


@pytest.mark.parametrize("path", WRONG)
def test_a_wrong_value_is_refused_by_name(refusal: str, path: str) -> None:
    assert f"at '/{path.replace('.', '/')}': " in refusal


@pytest.mark.parametrize("path", UNKNOWN)
def test_a_field_that_does_not_exist_is_refused_by_name(refusal: str, path: str) -> None:
    above, _, name = path.rpartition(".")
    assert f"at '{above and '/'}{above.replace('.', '/')}': additional properties '{name}' not allowed" in refusal


def test_without_prometheus_it_says_what_to_set(template: Template) -> None:
    done = template({"prometheus": {"url": ""}})
    assert done.returncode != 0
    assert "prometheus.url is empty: set it to the query API of your Prometheus" in done.stderr


def test_a_header_that_is_a_credential_is_refused(template: Template) -> None:
    done = template({"prometheus": {"headers": {"authorization": "Bearer x"}}})
    assert done.returncode != 0
    assert "prometheus.headers.Authorization would be readable in the Deployment" in done.stderr


def test_two_credentials_are_refused(template: Template) -> None:
    done = template({"prometheus": {"tokenSecretRef": {"name": "a"}, "basicAuthSecretRef": {"name": "b"}}})
    assert done.returncode != 0
    assert "prometheus.tokenSecretRef.name and prometheus.basicAuthSecretRef.name are both set" in done.stderr


def test_a_fence_without_prometheus_is_refused(template: Template) -> None:
    done = template({"networkPolicy": {"enabled": True}})
    assert done.returncode != 0
    assert "networkPolicy.prometheusFrom is empty: name the pods of your Prometheus" in done.stderr


def test_another_chart_may_include_it(template: Template) -> None:
    assert template({"global": {"anything": 1}}).returncode == 0


def nested(path: str, value: Any) -> Any:
    for part in reversed(path.split(".")):
        value = [value] if part.isdecimal() else {part: value}
    return value


def merge(into: dict[str, Any], more: dict[str, Any]) -> None:
    for name, value in more.items():
        if isinstance(into.get(name), dict) and isinstance(value, dict):
            merge(into[name], value)
        else:
            into[name] = value
