"""Reading the resource."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from penstock_contract.names import OBJECTIVE_METRICS
from penstock_operator.api import (
    REASONS,
    AcceptedReason,
    Condition,
    ConditionType,
    InferenceService,
    InvalidSpec,
    Objective,
    ReadyReason,
    Runtime,
    Scaling,
)
from penstock_operator.api.status import Decision


def _raw(**spec: Any) -> dict[str, Any]:
    base = {"model": {"source": {"containerPath": "/models/tiny"}}, "scaling": {"maxReplicas": 3}}
    return {
        "apiVersion": "inference.penstock.dev/v1alpha1",
        "kind": "InferenceService",
        "metadata": {"name": "chat", "namespace": "team-a", "uid": "u", "generation": 2, "managedFields": []},
        "spec": base | spec,
    }


def test_fields_of_a_newer_version_are_ignored():
    service = InferenceService.parse(_raw(invented={"later": True}))

    assert service.metadata.generation == 2
    assert not hasattr(service.spec, "invented")


def test_problems_are_named_by_field_in_the_spelling_of_the_resource():
    raw = _raw(runtime={"args": ["--ok", "--port=1"], "startupTimeoutSeconds": "long"}, rollout={"maxSurge": 0})

    with pytest.raises(InvalidSpec) as refusal:
        InferenceService.parse(raw)

    assert [problem.path for problem in refusal.value.problems] == [
        "spec.runtime.args[1]",
        "spec.runtime.startupTimeoutSeconds",
        "spec.rollout",
    ]
    assert refusal.value.reason is AcceptedReason.INVALID_SPEC
    assert "spec.rollout: maxSurge and maxUnavailable must not both be 0" in str(refusal.value)


def test_a_status_that_cannot_be_read_counts_as_none():
    """Status is output: it must never keep the operator from the spec."""
    service = InferenceService.parse({**_raw(), "status": {"replicas": -3, "conditions": "gone"}})

    assert service.status is None
    assert service.spec.scaling.max_replicas == 3


def test_a_broken_spec_is_reported_without_the_broken_status():
    with pytest.raises(InvalidSpec) as refusal:
        InferenceService.parse({**_raw(rollout={"maxSurge": 0}), "status": {"replicas": -3}})

    assert [problem.path for problem in refusal.value.problems] == ["spec.rollout"]


def test_what_is_written_reads_back_the_same():
    service = InferenceService.parse({**_raw(), "status": {"readyReplicas": 1}})

    assert InferenceService.parse(service.model_dump(mode="json", by_alias=True, exclude_none=True)) == service


def test_models_are_frozen():
    service = InferenceService.parse(_raw())

    with pytest.raises(ValidationError):
        service.spec.scaling.max_replicas = 4


@pytest.mark.parametrize(("name", "served"), [(None, "chat"), ("qwen3-8b", "qwen3-8b")])
def test_the_served_name_defaults_to_that_of_the_resource(name, served):
    model = {"source": {"containerPath": "/models/tiny"}, "name": name}

    assert InferenceService.parse(_raw(model=model)).served_name == served


@pytest.mark.parametrize(("count", "size", "parallelism"), [(0, None, 1), (8, None, 8), (8, 2, 2)])
def test_tensor_parallelism_defaults_to_the_accelerators(count, size, parallelism):
    runtime = Runtime.model_validate({"accelerator": {"count": count}, "tensorParallelSize": size})

    assert runtime.tensor_parallelism == parallelism


@pytest.mark.parametrize(("idle", "after"), [(None, 600), (0, 0), (30, 30)])
def test_the_idle_time_defaults_only_where_it_applies(idle, after):
    assert Scaling(min_replicas=0, max_replicas=1, idle_seconds=idle).idle_after_seconds == after


@pytest.mark.parametrize(("percentile", "target"), [(99, "0.99"), ("99.9", "0.999"), ("99.999", "0.99999")])
def test_a_percentile_is_an_exact_share(percentile, target):
    objective = Objective(metric="TTFT", percentile=percentile, threshold_milliseconds=1500)

    assert objective.target == Decimal(target)
    assert objective.threshold_seconds == 1.5


@pytest.mark.parametrize("metric", OBJECTIVE_METRICS)
def test_every_metric_of_the_contract_can_be_an_objective(metric):
    assert Objective(metric=metric, percentile=99, threshold_milliseconds=1).metric == metric


def test_times_are_whole_seconds_in_utc():
    """What is read back equals what was written, or every tick would be a transition."""
    local = datetime(2026, 11, 21, 11, 0, 0, 654321, tzinfo=timezone(timedelta(hours=1)))
    condition = Condition(type=ConditionType.READY, status="True", reason=ReadyReason.READY, last_transition_time=local)

    written = condition.model_dump(mode="json", by_alias=True)

    assert written["lastTransitionTime"] == "2026-11-21T10:00:00Z"
    assert written["type"] == written["reason"] == "Ready"
    assert Condition.model_validate(written) == condition


def test_a_time_without_a_zone_is_refused():
    with pytest.raises(ValidationError, match="timezone"):
        Decision(decided_at=datetime(2026, 11, 21), reason="X")  # noqa: DTZ001 - the point of the test


def test_a_long_message_is_cut_and_says_so():
    condition = Condition(
        type="Ready", status="False", reason="WorkerCrashed", message="x" * 5000,
        last_transition_time=datetime.now(UTC),
    )  # fmt: skip

    assert len(condition.message) == 2048
    assert condition.message.endswith("…")


def test_a_condition_is_found_by_its_type():
    status = InferenceService.parse(
        {
            **_raw(),
            "status": {
                "conditions": [
                    {"type": "Ready", "status": "True", "reason": "Ready", "lastTransitionTime": "2026-11-21T10:00:00Z"}
                ]
            },
        }
    ).status

    assert status.condition(ConditionType.READY).status == "True"
    assert status.condition(ConditionType.SLA_MET) is None


def test_every_condition_has_its_reasons_and_every_reason_its_sentence():
    assert list(REASONS) == list(ConditionType)
    for condition, reasons in REASONS.items():
        assert condition.meaning.endswith(".")
        assert len(reasons) > 0
        for reason in reasons:
            assert reason.meaning.endswith("."), reason
            assert Condition(
                type=condition, status="True", reason=reason, last_transition_time=datetime.now(UTC)
            ).reason == str(reason)
