"""Alerts and dashboard: they ask for what is exported, and each alert leads to its section of the runbook.

Whether Prometheus understands the expressions, and what they find, is seen in test_install.
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from chart import Rendered
from pages import Page
from penstock_contract.metrics import GATEWAY, OPERATOR, WORKER
from penstock_gateway.errors import CLIENT_CLOSED, REASONS
from penstock_lab.install import CHART
from penstock_operator.core.scaling.types import SignalState

Render = Callable[..., Rendered]
ROOT = CHART.parents[1]
DASHBOARD = json.loads((CHART / "files" / "dashboard.json").read_text())
GROUPS = yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())["groups"]
RULES = [rule for group in GROUPS for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
RECORDED = {rule["record"] for rule in RULES if "record" in rule}
BY_NAME = {
    metric.name + suffix: {
        *metric.labels,
        "namespace",
        "inferenceservice",
        "pod",
        *(["le"] if suffix == "_bucket" else []),
    }
    for metric in (*WORKER, *GATEWAY, *OPERATOR)
    for suffix in (("_bucket", "_count", "_sum") if metric.kind == "histogram" else ("",))
}


def panels() -> Iterator[tuple[str, str]]:
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]


EXPRESSIONS = [*((rule.get("alert") or rule["record"], rule["expr"]) for rule in RULES), *panels()]


@pytest.mark.parametrize(("where", "expression"), EXPRESSIONS)
def test_only_what_is_exported_is_asked_for(where: str, expression: str) -> None:
    names = set(re.findall(r"penstock[:_][a-z_:0-9]+", expression))
    assert names - BY_NAME.keys() - RECORDED == set(), where
    assert names or expression.startswith("vector("), where
    for name, matchers in re.findall(r"(penstock_[a-z_]+)\{([^}]*)\}", expression):
        assert set(re.findall(r"(\w+)=?[!=~]", matchers)) <= BY_NAME[name], where


def test_values_of_labels_are_those_that_exist() -> None:
    text = json.dumps([expression for _, expression in EXPRESSIONS])
    assert set(re.findall(r'state!?=\\"(\w+)', text)) <= {str(state) for state in SignalState}
    assert set(re.findall(r'reason!?=\\"(\w+)', text)) == {CLIENT_CLOSED} <= set(REASONS)
    assert set(re.findall(r'result=\\"(\w+)', text)) == {"missed"}


def test_what_a_percentile_allows_is_the_same_everywhere() -> None:
    budgets = {
        rule["labels"]["percentile"]: float(rule["expr"].removeprefix("vector(").removesuffix(")"))
        for rule in RULES
        if rule.get("record") == "penstock:objective_budget:ratio"
    }
    assert budgets == {name: pytest.approx(1 - float(name) / 100) for name in budgets}
    (shown,) = [expression for title, expression in panels() if title.startswith("Error budget")]
    found = dict(re.findall(r'vector\(([\d.]+)\), "percentile", "([\d.]+)"', shown))
    assert {name: float(share) for share, name in found.items()} == budgets


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_what_is_wrong_and_where_to_read_on(name: str) -> None:
    rule = ALERTS[name]
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == f"RUNBOOK#{name.lower()}"
    assert name.lower() in Page(ROOT / "docs" / "runbook.md").anchors


def test_the_runbook_has_no_section_for_an_alert_that_is_gone() -> None:
    anchors = Page(ROOT / "docs" / "runbook.md").anchors
    assert {anchor for anchor in anchors if anchor.startswith("penstock")} == {name.lower() for name in ALERTS}


def test_the_first_page_says_how_many_there_are() -> None:
    assert f"The chart has {len(ALERTS)} alerts " in (ROOT / "README.md").read_text()


def test_both_kinds_of_prometheus_get_the_same_rules(render: Render) -> None:
    rendered = render(ci="full")
    (rule,) = rendered.kind("PrometheusRule")
    file = rendered.one("ConfigMap", "llm-alerts")["data"]["penstock-alerts.yaml"]
    assert yaml.safe_load(file) == rule["spec"]
    assert [group["name"] for group in rule["spec"]["groups"]] == [group["name"] for group in GROUPS]
    assert "https://docs.example/runbook#penstockoperatordown" in file
    assert "RUNBOOK" not in file


def test_without_a_page_alerts_link_nowhere(render: Render) -> None:
    file = render({"alerts": {"configMap": True}}).one("ConfigMap", "penstock-alerts")["data"]["penstock-alerts.yaml"]
    rules = [rule for group in yaml.safe_load(file)["groups"] for rule in group["rules"]]
    assert len(rules) == len(RULES)
    assert {key for rule in rules if "alert" in rule for key in rule["annotations"]} == {"summary", "description"}


def test_without_gateways_nobody_misses_them(render: Render) -> None:
    values: dict[str, Any] = {"alerts": {"configMap": True}, "gateway": {"enabled": False}}
    file = render(values).one("ConfigMap", "penstock-alerts")["data"]["penstock-alerts.yaml"]
    assert "penstock.gateway" not in [group["name"] for group in yaml.safe_load(file)["groups"]]


def test_the_dashboard_reaches_grafana_as_it_is(render: Render) -> None:
    configmap = render(ci="full").one("ConfigMap", "llm-dashboard")
    assert json.loads(configmap["data"]["penstock.json"]) == DASHBOARD
    assert configmap["metadata"]["labels"]["grafana_dashboard"] == "1"


def test_panels_have_their_own_number_and_place() -> None:
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(numbers)) == len(numbers)
    places = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & places, panel["title"]
        assert at["x"] + at["w"] <= 24
        places |= cells
        assert panel["type"] == "row" or panel["description"]
