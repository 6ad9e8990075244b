"""What people see of the resource: subresources, columns, explain."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from kubernetes.client import ApiException

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.cluster

SOURCE = {"source": {"containerPath": "/models/tiny"}}


@contextmanager
def _service(api: Any, name: str, spec: dict[str, Any]) -> Iterator[dict[str, Any]]:
    manifest = {
        "apiVersion": "inference.penstock.dev/v1alpha1",
        "kind": "InferenceService",
        "metadata": {"name": name},
        "spec": {"model": SOURCE, **spec},
    }
    try:
        yield api.create(manifest, dry_run=False)
    finally:
        api.delete(name)


def _condition(kind: str, status: str, reason: str, message: str = "") -> dict[str, Any]:
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "observedGeneration": 1,
        "lastTransitionTime": "2026-11-21T10:00:00Z",
    }


def test_scale_works_on_a_fixed_number(api):
    with _service(api, "fixed", {"replicas": 2}):
        api.patch_status("fixed", {"replicas": 1, "selector": "inference.penstock.dev/service=fixed"})

        scaled = api.kubectl("scale", "infsvc/fixed", "--replicas=5")

        assert scaled.returncode == 0, scaled.stderr
        scale = api.scale("fixed")
        assert scale["spec"] == {"replicas": 5}
        assert scale["status"] == {"replicas": 1, "selector": "inference.penstock.dev/service=fixed"}


def test_scale_is_an_error_when_the_number_follows_demand(api):
    """Documented: nobody else can scale what the operator scales."""
    with _service(api, "auto", {"scaling": {"maxReplicas": 3}}), pytest.raises(ApiException) as refusal:
        api.scale("auto")

    assert refusal.value.status == 500
    assert '\\".spec.replicas\\" does not exist' in refusal.value.body


def test_the_server_adds_nothing_to_a_status(api):
    """A default would be a value that nobody observed."""
    status = {"conditions": [{key: value for key, value in _condition("Ready", "True", "Ready").items()
                              if key not in ("message", "observedGeneration")}]}  # fmt: skip
    with _service(api, "sparse", {"replicas": 1}):
        assert api.patch_status("sparse", status)["status"] == status


def test_a_full_status_is_stored_as_written_and_leaves_the_spec_alone(api):
    status = {
        "observedGeneration": 1,
        "selector": "inference.penstock.dev/service=full",
        "replicas": 4,
        "readyReplicas": 3,
        "desiredReplicas": 5,
        "decision": {
            "decidedAt": "2026-11-21T10:00:00Z",
            "reason": "PredictedBacklog",
            "limitedBy": "None",
            "predictions": [{"replicas": 4, "attainment": "0.962"}, {"replicas": 5, "attainment": "0.994"}],
            "signals": [{"name": "Arrivals", "state": "Fresh", "observedAt": "2026-11-21T09:59:57Z"}],
        },
        "learned": {"startupSecondsP90": 74, "confidence": "High"},
        "conditions": [_condition("Ready", "False", "NotEnoughReplicas", "3 of 4 replicas are ready")],
    }
    with _service(api, "full", {"scaling": {"maxReplicas": 5}}) as created:
        stored = api.patch_status("full", status)

    assert stored["status"] == status
    assert stored["spec"] == created["spec"]
    assert stored["metadata"]["generation"] == created["metadata"]["generation"]


@pytest.mark.parametrize(
    ("status", "field"),
    [
        ({"conditions": [_condition("Ready", "true", "Ready")]}, "status.conditions[0].status"),
        ({"conditions": [_condition("Ready", "True", "all is well")]}, "status.conditions[0].reason"),
        ({"conditions": [_condition("Ready", "True", "Ready")] * 2}, "status.conditions[1]"),
        ({"decision": {"decidedAt": "yesterday", "reason": "X"}}, "status.decision.decidedAt"),
        (
            {
                "decision": {
                    "decidedAt": "2026-11-21T10:00:00Z",
                    "reason": "X",
                    "predictions": [{"replicas": 1, "attainment": "96 %"}],
                }
            },
            "status.decision.predictions[0].attainment",
        ),
    ],
)
def test_a_malformed_status_is_refused(api, status, field):
    with _service(api, "broken", {"scaling": {"maxReplicas": 5}}), pytest.raises(ApiException) as refusal:
        api.patch_status("broken", status)

    assert refusal.value.status == 422
    assert field in refusal.value.body


def _table(api: Any, name: str, *options: str) -> dict[str, str]:
    """What kubectl prints of one service, by the heading of the column."""
    head, row = api.kubectl("get", "infsvc", name, *options).stdout.splitlines()
    starts = [match.start() for match in re.finditer(r"\S+", head)]
    ends = [*starts[1:], None]
    return {head[start:end].strip(): row[start:end].strip() for start, end in zip(starts, ends, strict=True)}


def test_columns_say_whether_it_is_up_how_many_and_why_not(api):
    spec = {
        "scaling": {"minReplicas": 2, "maxReplicas": 6},
        "model": {"source": {"huggingFace": {"repo": "Qwen/Qwen3-8B"}}},
        "cost": {"perAcceleratorHour": "2.50"},
    }
    message = "no node has a free nvidia.com/gpu"
    with _service(api, "columns", spec):
        conditions = [
            _condition("Ready", "False", "Unschedulable", message),
            _condition("SLAMet", "Unknown", "NoTraffic"),
            _condition("ScalingActive", "True", "SignalsFresh"),
            _condition("ScalingLimited", "True", "Quota"),
        ]
        api.patch_status("columns", {"readyReplicas": 1, "desiredReplicas": 4, "conditions": conditions})
        narrow, wide = _table(api, "columns"), _table(api, "columns", "-o", "wide")

    assert narrow.pop("AGE")
    assert narrow == {
        "NAME": "columns",
        "READY": "False",
        "REPLICAS": "1",
        "DESIRED": "4",
        "MIN": "2",
        "MAX": "6",
        "SLA": "Unknown",
        "REASON": "Unschedulable",
    }
    assert {name: cell for name, cell in wide.items() if name not in narrow and name != "AGE"} == {
        "MODEL": "Qwen/Qwen3-8B",
        "ENGINE": "Penstock",
        "SCALING": "SignalsFresh",
        "LIMITED": "Quota",
        "ACCELERATOR": "nvidia.com/gpu",
        "EACH": "1",
        "PRICE": "2.50",
        "MESSAGE": message,
    }


def test_columns_show_what_holds_when_nothing_is_set(api):
    """A fixed number is its own bounds."""
    with _service(api, "plain", {"replicas": 3}):
        shown = _table(api, "plain", "-o", "wide")

    assert (shown["MODEL"], shown["MIN"], shown["MAX"]) == ("/models/tiny", "3", "3")
    assert (shown["READY"], shown["SLA"], shown["PRICE"]) == ("", "", "")


def test_the_ready_condition_can_be_waited_for(api):
    with _service(api, "waited", {"replicas": 1}):
        api.patch_status("waited", {"conditions": [_condition("Ready", "True", "Ready")]})

        waited = api.kubectl("wait", "--for=condition=Ready", "--timeout=10s", "infsvc/waited")

    assert waited.returncode == 0, waited.stderr


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("inferenceservice", "A model served at a service level with the fewest accelerators."),
        ("inferenceservice.spec", "What is served, by what, and at which service level."),
        ("inferenceservice.spec.scaling", "How the number of replicas follows demand; excludes replicas."),
        ("inferenceservice.spec.scaling.mode", "ENUM: Auto Advise Paused"),
        (
            "inferenceservice.spec.scaling.targets.tokensPerSecond",
            "Generated tokens per second that one replica is trusted to carry at the current mix.",
        ),
        ("infsvc.spec.sla.objectives", "thresholdMilliseconds <integer> -required-"),
        ("infsvc.status.conditions", "Whether it holds."),
    ],
)
def test_explain_reads_well(api, path, says):
    explained = api.kubectl("explain", path)

    assert explained.returncode == 0, explained.stderr
    assert says in " ".join(explained.stdout.split())


def test_applying_twice_with_two_managers_keeps_both(api):
    """Objectives are a list by keys, one of which is an int-or-string: each manager owns its own."""
    manifest = """
apiVersion: inference.penstock.dev/v1alpha1
kind: InferenceService
metadata: {{name: shared}}
spec:
  model: {{source: {{containerPath: /models/tiny}}}}
  replicas: 1
  sla: {{objectives: [{{metric: TTFT, percentile: {percentile}, thresholdMilliseconds: 100}}]}}
"""
    try:
        for manager, percentile in (("one", "99"), ("two", '"99.9"'), ("one", "99")):
            applied = api.kubectl(
                "apply", "--server-side", f"--field-manager={manager}", "-f", "-",
                stdin=manifest.format(percentile=percentile),
            )  # fmt: skip
            assert applied.returncode == 0, applied.stderr
        found = api.kubectl("get", "infsvc", "shared", "-o", "jsonpath={.spec.sla.objectives[*].percentile}")
        assert found.stdout.split() == ["99", "99.9"]
    finally:
        api.delete("shared")
