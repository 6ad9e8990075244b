"""Two judges, one table: what the API server refuses the models refuse, by the same field and in the same words."""

from __future__ import annotations

import json
import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.client import ApiException

from penstock_operator.api import InferenceService, InvalidSpec

HERE = Path(__file__).parent
MINIMAL = {"model": {"source": {"containerPath": "/models/tiny"}}, "scaling": {"maxReplicas": 3}}


def _merge(base: dict[str, Any], patch: dict[str, Any]) -> None:
    for key, value in patch.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            _merge(base[key], value)
        else:
            base[key] = value


def _manifest(case: dict[str, Any]) -> dict[str, Any]:
    spec = deepcopy(MINIMAL)
    for path in case.get("without", ()):
        *parents, last = path.split(".")
        node: Any = spec
        for step in parents:
            node = node[step]
        del node[last]
    _merge(spec, case.get("spec", {}))
    return {
        "apiVersion": "inference.penstock.dev/v1alpha1",
        "kind": "InferenceService",
        "metadata": {"name": case.get("name", "chat")},
        "spec": spec,
    }


def _cases(file: str) -> list[Any]:
    cases = yaml.safe_load((HERE / file).read_text())
    return [pytest.param(case, id=case["case"]) for case in cases]


def _causes(refusal: ApiException) -> list[tuple[str, str]]:
    """Field and message of everything that the server found, keys of maps spelt as fields."""
    causes = json.loads(refusal.body)["details"]["causes"]
    return [
        (re.sub(r"\[([a-z][^]]*)\]", r".\1", cause["field"].replace("<nil>", "")), cause["message"]) for cause in causes
    ]


def _at(node: Any, path: str) -> Any:
    for step in path.split("."):
        node = node[step]
    return node


@pytest.mark.cluster
@pytest.mark.parametrize("case", _cases("accepted.yaml"))
def test_accepted_with_the_defaults_of_the_models(api, case):
    manifest = _manifest(case)

    stored = api.create(manifest)

    for path, value in case.get("gives", {}).items():
        assert _at(stored["spec"], path) == value, path
    assert InferenceService.parse(stored).spec == InferenceService.parse(manifest).spec


@pytest.mark.cluster
@pytest.mark.parametrize("case", _cases("refused.yaml"))
def test_refused_by_the_server(api, case):
    with pytest.raises(ApiException) as refusal:
        api.create(_manifest(case))

    assert refusal.value.status == 422
    said = [(field, message) for field, message in _causes(refusal.value) if case["says"] in message]
    assert case["field"] in [field for field, _ in said], _causes(refusal.value)


@pytest.mark.parametrize("case", _cases("refused.yaml"))
def test_refused_by_the_models(case):
    with pytest.raises(InvalidSpec) as refusal:
        InferenceService.parse(_manifest(case))

    said = {problem.path: problem.message for problem in refusal.value.problems}
    assert case["field"] in said
    assert case.get("models_say", case["says"]) in said[case["field"]]


@pytest.mark.cluster
def test_a_misspelt_field_is_refused(api):
    manifest = _manifest({"spec": {"scaling": {"minReplica": 1}}})

    with pytest.raises(ApiException) as refusal:
        api.create(manifest)

    assert 'unknown field \\"spec.scaling.minReplica\\"' in refusal.value.body


@pytest.mark.cluster
def test_every_problem_is_named_at_once(api):
    """Someone with three mistakes should not need four attempts."""
    manifest = _manifest(
        {"spec": {"scaling": {"minReplicas": 9, "idleSeconds": 1}, "rollout": {"maxSurge": 0}, "replicas": 1}}
    )

    with pytest.raises(ApiException) as refusal:
        api.create(manifest)

    assert {field for field, _ in _causes(refusal.value)} == {
        "spec",
        "spec.scaling.minReplicas",
        "spec.scaling.idleSeconds",
        "spec.rollout",
    }
