"""The rights that doctor asks for are those that the chart grants."""

from pathlib import Path

import yaml

from penstock_operator.core.rights import RIGHTS

RULES = Path(__file__).parents[3] / "charts" / "penstock" / "templates" / "_rules.tpl"


def test_they_are_those_of_the_chart() -> None:
    text = RULES.read_text().partition('{{- define "penstock.operatorRules" -}}')[2].partition("{{- end -}}")[0]
    chart = {
        (group, resource): set(rule["verbs"])
        for rule in yaml.safe_load(text)
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    assert {(right.group, right.resource): set(right.verbs) for right in RIGHTS} == chart
