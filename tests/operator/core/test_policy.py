"""From a spec to policy and objectives: every unit converted once."""

from typing import Any

import pytest

from penstock_operator.core.policy import cost_per_replica_hour, objectives, scaling_policy
from penstock_operator.core.scaling import Policy
from penstock_operator.core.scaling.types import Mode
from penstock_operator.core.sla import Objective

FULL: dict[str, Any] = {
    "scaling": {
        "mode": "Advise",
        "minReplicas": 2,
        "maxReplicas": 20,
        "targets": {"tokensPerSecond": 2500, "queueDepth": 7},
        "budget": {"maxCostPerHour": "80.50"},
        "behavior": {
            "scaleUp": {"maxReplicasPerStep": 8},
            "scaleDown": {"stabilizationWindowSeconds": 30, "maxReplicasPerStep": 3},
        },
    },
    "cost": {"perAcceleratorHour": "2.50"},
    "runtime": {"accelerator": {"count": 4}},
}


def test_all_that_can_be_said(service) -> None:
    assert scaling_policy(service(**FULL).spec) == Policy(
        mode=Mode.ADVISE,
        min_replicas=2,
        max_replicas=20,
        target_tokens_per_second=2500.0,
        target_queue_depth=7.0,
        stabilization_seconds=30.0,
        max_up_step=8,
        max_down_step=3,
        cost_per_replica_hour=10.0,
        max_cost_per_hour=80.5,
    )


def test_defaults(service) -> None:
    policy = scaling_policy(service().spec)
    assert policy == Policy(min_replicas=1, max_replicas=6)
    assert policy is not None
    assert policy.stabilization_seconds == 120.0


@pytest.mark.parametrize(
    ("targets", "tokens", "depth"),
    [({"tokensPerSecond": 5}, 5.0, 4.0), ({"queueDepth": 9}, None, 9.0)],
    ids=["tokens only", "queue only"],
)
def test_one_target_leaves_the_other(service, targets: dict[str, int], tokens: float | None, depth: float) -> None:
    policy = scaling_policy(service(scaling={"maxReplicas": 3, "targets": targets}).spec)
    assert policy is not None
    assert (policy.target_tokens_per_second, policy.target_queue_depth) == (tokens, depth)


def test_every_mode_of_the_resource_is_one_of_the_policy(service) -> None:
    for mode in Mode:
        policy = scaling_policy(service(scaling={"maxReplicas": 3, "mode": mode.value}).spec)
        assert policy is not None
        assert policy.mode is mode


def test_a_fixed_count_has_no_policy(service) -> None:
    assert scaling_policy(service(scaling=None, replicas=3).spec) is None


def test_price(service) -> None:
    assert cost_per_replica_hour(service().spec) is None
    assert cost_per_replica_hour(service(**FULL).spec) == 10.0
    assert cost_per_replica_hour(service(**FULL | {"runtime": {"accelerator": {"count": 0}}}).spec) == 0


def test_objectives_in_seconds_and_percent(service) -> None:
    given = [
        {"metric": "TTFT", "percentile": 99, "thresholdMilliseconds": 2000},
        {"metric": "TPOT", "percentile": "99.9", "thresholdMilliseconds": 50},
        {"metric": "QueueWait", "percentile": 50, "thresholdMilliseconds": 1},
    ]
    assert objectives(service(sla={"objectives": given}).spec) == (
        Objective("TTFT", 99.0, 2.0),
        Objective("TPOT", 99.9, 0.05),
        Objective("QueueWait", 50.0, 0.001),
    )
    assert objectives(service().spec) == objectives(service(sla={}).spec) == ()


@pytest.mark.parametrize(
    ("engine", "args", "slots"),
    [
        ("Penstock", ["--max-num-seqs=64"], 64),
        ("VLLM", ["--max_num_seqs", "32"], 32),
        ("SGLang", ["--max-running-requests=48"], 48),
        ("TGI", ["--max-batch-size", "16"], 16),
        ("TensorRTLLM", ["--max_batch_size=8"], 8),
        ("SGLang", ["--max-num-seqs=64"], None),
        ("VLLM", ["--max-num-seqs"], None),
    ],
)
def test_every_engine_says_in_its_own_words_how_many_it_runs_at_once(
    service, engine: str, args: list[str], slots: int | None
) -> None:
    made = service(runtime={"engine": engine, "args": args}, scaling={"maxReplicas": 2})
    policy = scaling_policy(made.spec)
    assert policy is not None
    assert policy.max_sequences == slots


@pytest.mark.parametrize(
    ("engine", "args", "tokens"),
    [
        ("Penstock", [], 2048),
        ("VLLM", ["--max-num-batched-tokens=8192"], 8192),
        ("SGLang", ["--chunked-prefill-size", "4096"], 4096),
        ("TGI", [], 4096),
        ("TensorRTLLM", ["--max_num_tokens=512"], 512),
        ("SGLang", ["--chunked-prefill-size=-1"], 2048),
    ],
)
def test_every_engine_says_in_its_own_words_how_many_tokens_a_step_has(
    service, engine: str, args: list[str], tokens: int
) -> None:
    made = service(runtime={"engine": engine, "args": args}, scaling={"maxReplicas": 2})
    policy = scaling_policy(made.spec)
    assert policy is not None
    assert policy.step_tokens == tokens


def test_an_objective_on_the_wait_is_one_of_its_own(service) -> None:
    given = [{"metric": "QueueWait", "percentile": 95, "thresholdMilliseconds": 500}]
    policy = scaling_policy(service(sla={"objectives": given}).spec)
    assert policy is not None
    assert (policy.ttft_seconds, policy.wait_seconds) == (None, 0.5)
