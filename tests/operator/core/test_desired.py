"""The children of a service. The golden files are one full set per engine: PENSTOCK_GOLDEN=write writes them anew."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from penstock_contract import names
from penstock_operator.api import InferenceService, InferenceServiceSpec
from penstock_operator.core.desired import Manifest, Owner, children
from penstock_operator.core.drift import covers
from penstock_operator.core.engines import ENGINES
from penstock_operator.core.pod import EXIT_SECONDS, LEAVE_ENDPOINTS_SECONDS, pod_template

GOLDEN = Path(__file__).parent / "golden"
OWNER = Owner("team-a", "chat", "u-1")
IMAGES = {engine: f"registry.example/{engine.lower()}:1" for engine in ENGINES}

# A change of every top-level field of the spec. A new field without an entry fails a test below.
CHANGES: dict[str, dict[str, Any]] = {
    "model": {"model": {"name": "tiny", "maxModelLen": 4096, "source": {"containerPath": "/models/tiny"}}},
    "runtime": {"runtime": {"engine": "Penstock", "image": "penstock/worker:other"}},
    "drain": {"drain": {"timeoutSeconds": 7}},
    "sla": {
        "sla": {
            "windowSeconds": 60,
            "objectives": [{"metric": "TTFT", "percentile": "99.9", "thresholdMilliseconds": 1}],
        }
    },
    "replicas": {"replicas": 7, "scaling": None},
    "scaling": {
        "scaling": {
            "mode": "Paused",
            "minReplicas": 0,
            "maxReplicas": 9,
            "idleSeconds": 5,
            "targets": {"tokensPerSecond": 1, "queueDepth": 1},
            "budget": {"maxCostPerHour": "9.99"},
            "behavior": {
                "scaleUp": {"maxReplicasPerStep": 1},
                "scaleDown": {"stabilizationWindowSeconds": 1, "maxReplicasPerStep": 1},
            },
        },
        "cost": {"perAcceleratorHour": "0.01"},
    },
    "cost": {"cost": {"perAcceleratorHour": "99.5", "currency": "EUR"}},
    "routing": {"routing": {"maxHeldRequests": 1, "holdTimeoutSeconds": 1}},
    "rollout": {"rollout": {"maxSurge": 0, "maxUnavailable": 3}},
}
TEMPLATE_FIELDS = {"model", "runtime", "drain"}


def made(spec: InferenceServiceSpec, *, replicas: int | None = 2) -> dict[str, Manifest]:
    return {manifest["kind"]: manifest for manifest in children(OWNER, spec, replicas=replicas, default_images=IMAGES)}


def template(spec: InferenceServiceSpec) -> str:
    return json.dumps(made(spec)["Deployment"]["spec"]["template"])


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, child in value.items():
            yield from leaves(child, f"{path}.{key}")
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from leaves(child, f"{path}[{index}]")
    else:
        yield path, value


def full(engine: str) -> dict[str, Any]:
    """A spec of every optional field that reaches the children."""
    hub = {
        "huggingFace": {
            "repo": "Qwen/Qwen3-8B",
            "revision": "9c925d6",
            "tokenSecretRef": {"name": "hf", "key": "token"},
        }
    }
    source = {
        "Penstock": {"pvc": {"claimName": "models", "path": "qwen3-8b"}},
        "VLLM": hub,
        "SGLang": {"image": {"reference": "reg/qwen3@sha256:0"}},
        "TGI": hub,
        "TensorRTLLM": {"containerPath": "/models/qwen3-8b"},
    }[engine]
    return {
        "model": {"name": "qwen3-8b", "maxModelLen": 8192, "source": source},
        "runtime": {
            "engine": engine,
            "imagePullSecrets": [{"name": "reg"}],
            "serviceAccountName": "chat-models",
            "accelerator": {"count": 1 if engine == "Penstock" else 2},
            "resources": {"requests": {"cpu": "4", "memory": "32Gi"}, "limits": {"memory": "64Gi"}},
            "args": ["--some-flag=1"],
            "env": [{"name": "LOG_LEVEL", "value": "info"}, {"name": "EMPTY"}],
            "startupTimeoutSeconds": 901,
            "scheduling": {
                "runtimeClassName": "nvidia",
                "priorityClassName": "online",
                "nodeSelector": {"pool": "gpu"},
                "tolerations": [{"key": "dedicated", "operator": "Equal", "value": "llm", "effect": "NoSchedule"}],
            },
        },
        "drain": {"timeoutSeconds": 60},
        "rollout": {"maxSurge": 2, "maxUnavailable": 1},
    }


@pytest.mark.parametrize("engine", ENGINES)
def test_golden(service, engine: str) -> None:
    manifests = list(made(service(**full(engine)).spec).values())
    path = GOLDEN / f"{engine.lower()}.yaml"
    if os.environ.get("PENSTOCK_GOLDEN") == "write":
        path.write_text(yaml.safe_dump_all(manifests, sort_keys=False), encoding="utf-8")
    assert list(yaml.safe_load_all(path.read_text(encoding="utf-8"))) == manifests


def test_every_field_of_the_spec_is_tried() -> None:
    aliases = {field.alias or name for name, field in InferenceServiceSpec.model_fields.items()}
    assert set(CHANGES) == aliases


@pytest.mark.parametrize("field", CHANGES)
def test_only_model_runtime_and_drain_reach_the_pods(service, field: str) -> None:
    before, after = service().spec, service(**CHANGES[field]).spec
    assert before != after
    assert (template(before) == template(after)) == (field not in TEMPLATE_FIELDS)


class Unreadable:
    """A value that cannot be looked at."""

    def __getattribute__(self, name: str) -> Any:
        raise AssertionError(f"the pod template depends on .{name}")

    __bool__ = __iter__ = __len__ = __str__ = __int__ = lambda _: pytest.fail("the pod template depends on this")


@pytest.mark.parametrize("field", sorted(InferenceServiceSpec.model_fields.keys() - TEMPLATE_FIELDS))
def test_the_template_never_looks_at_another_field(service, field: str) -> None:
    """Whatever its depth, and whatever is added to it later."""
    spec = service().spec
    blinded = spec.model_copy(update={field: Unreadable()})
    templates = [json.dumps(pod_template("chat", one, default_images=IMAGES)) for one in (spec, blinded)]
    assert templates[0] == templates[1]


@pytest.mark.parametrize("replicas", [None, 0, 3])
@pytest.mark.parametrize("engine", ENGINES)
def test_no_field_is_null_and_none_is_an_empty_string(service, engine: str, replicas: int | None) -> None:
    for spec in (service(**full(engine)).spec, service(runtime={"engine": engine}).spec):
        for manifest in made(spec, replicas=replicas).values():
            assert not [path for path, value in leaves(manifest) if value is None or value == ""]


@pytest.mark.parametrize("kind", ["Deployment", "Service", "PodDisruptionBudget"])
def test_children_belong_to_the_resource(service, kind: str) -> None:
    metadata = made(service().spec)[kind]["metadata"]
    assert (metadata["namespace"], metadata["name"]) == ("team-a", "chat")
    assert metadata["labels"][names.LABEL_MANAGED_BY] == names.MANAGED_BY
    assert metadata["ownerReferences"] == [
        {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "name": "chat",
            "uid": "u-1",
            "controller": True,
            "blockOwnerDeletion": True,
        }
    ]


def test_an_owner_knows_its_children() -> None:
    mine = {"metadata": {"ownerReferences": [OWNER.reference()]}}
    namesake = {"metadata": {"ownerReferences": [OWNER.reference() | {"uid": "u-2"}]}}
    mere_reference = {"metadata": {"ownerReferences": [OWNER.reference() | {"controller": False}]}}
    assert OWNER.controls(mine)
    assert not any(OWNER.controls(other) for other in (namesake, mere_reference, {"metadata": {}}))


def test_replicas_are_left_out_for_the_autoscaler(service) -> None:
    spec = service().spec
    assert "replicas" not in made(spec, replicas=None)["Deployment"]["spec"]
    assert made(spec, replicas=0)["Deployment"]["spec"]["replicas"] == 0


@pytest.mark.parametrize("kind", ["Deployment", "Service", "PodDisruptionBudget"])
def test_all_select_the_pods_of_the_template(service, kind: str) -> None:
    manifests = made(service().spec)
    labels = manifests["Deployment"]["spec"]["template"]["metadata"]["labels"]
    selector = manifests[kind]["spec"]["selector"]
    assert selector.get("matchLabels", selector).items() <= labels.items()


def test_the_hash_changes_when_a_field_is_dropped(service) -> None:
    runtime = {"engine": "Penstock", "image": "i", "env": [{"name": "A", "value": "1"}]}
    before, after = made(service(runtime=runtime).spec), made(service(runtime=runtime | {"env": []}).spec)
    live = before["Deployment"]
    assert covers(live, before["Deployment"])
    assert not covers(live, after["Deployment"])
    assert covers(before["Service"], after["Service"])


def test_handing_over_the_count_shows_in_the_hash(service) -> None:
    spec = service().spec
    assert not covers(made(spec, replicas=2)["Deployment"], made(spec, replicas=None)["Deployment"])


def test_a_variable_that_the_user_names_stands_and_no_name_occurs_twice(service) -> None:
    own = [
        {"name": "HOME", "value": "/home/me"},
        {"name": "HF_TOKEN", "value": "t"},
        {"name": "HF_HOME", "value": "/c"},
    ]
    model = full("VLLM")["model"]
    spec = service(model=model, runtime={"engine": "VLLM", "env": own}).spec
    assert made(spec)["Deployment"]["spec"]["template"]["spec"]["containers"][0]["env"] == own


def test_a_public_repository_needs_no_token(service) -> None:
    model = {"source": {"huggingFace": {"repo": "Qwen/Qwen3-8B"}}}
    pod = made(service(model=model, runtime={"engine": "VLLM"}).spec)["Deployment"]["spec"]["template"]["spec"]
    assert [item["name"] for item in pod["containers"][0]["env"]] == ["HOME", "HF_HOME"]


@pytest.mark.parametrize(("count", "tolerated"), [(0, False), (1, True)])
def test_accelerators_are_asked_for_and_their_taint_tolerated(service, count: int, *, tolerated: bool) -> None:
    runtime = {"accelerator": {"resourceName": "amd.com/gpu", "count": count}, "resources": {"requests": {"cpu": 4}}}
    pod = pod_template("chat", service(runtime=runtime).spec, default_images=IMAGES)["spec"]
    resources = pod["containers"][0]["resources"]
    assert ("amd.com/gpu" in [item["key"] for item in pod.get("tolerations", [])]) is tolerated
    assert resources["requests"]["cpu"] == "4"
    assert (resources.get("limits", {}).get("amd.com/gpu") == str(count)) is tolerated
    assert (resources["requests"].get("amd.com/gpu") == str(count)) is tolerated


def test_the_image_is_the_users_or_the_operators(service) -> None:
    def image(**runtime: Any) -> str:
        pod = pod_template("chat", service(runtime=runtime).spec, default_images=IMAGES)["spec"]
        return pod["containers"][0]["image"]

    assert image(engine="SGLang") == "registry.example/sglang:1"
    assert image(engine="SGLang", image="mine:2") == "mine:2"


@pytest.mark.parametrize("seconds", [10, 11, 1800, 86400])
def test_probes_and_deadline_allow_the_whole_start(service, seconds: int) -> None:
    deployment = made(service(runtime={"startupTimeoutSeconds": seconds}).spec)["Deployment"]["spec"]
    probe = deployment["template"]["spec"]["containers"][0]["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= seconds
    assert deployment["progressDeadlineSeconds"] > seconds


@pytest.mark.parametrize("seconds", [0, 120, 3600])
def test_the_grace_period_holds_the_drain(service, seconds: int) -> None:
    pod = made(service(drain={"timeoutSeconds": seconds}).spec)["Deployment"]["spec"]["template"]["spec"]
    left = pod["terminationGracePeriodSeconds"] - pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert left >= seconds + EXIT_SECONDS
    assert LEAVE_ENDPOINTS_SECONDS > 0


def test_the_pod_is_restricted(service) -> None:
    pod = made(service().spec)["Deployment"]["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["securityContext"]["readOnlyRootFilesystem"] is True


@pytest.mark.parametrize("source", [{"pvc": {"claimName": "m"}}, {"image": {"reference": "reg/m"}}])
def test_a_mounted_model_is_read_only(service, source: dict[str, Any]) -> None:
    pod = made(service(model={"source": source}).spec)["Deployment"]["spec"]["template"]["spec"]
    mount = next(item for item in pod["containers"][0]["volumeMounts"] if item["name"] == "model")
    assert mount["readOnly"] is True
    assert {item["name"] for item in pod["containers"][0]["volumeMounts"]} == {item["name"] for item in pod["volumes"]}


def test_the_budget_never_blocks_the_drain_of_a_node(service) -> None:
    budget = made(service().spec)["PodDisruptionBudget"]["spec"]
    assert budget["maxUnavailable"] == 1
    assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
    assert "minAvailable" not in budget


def test_same_spec_same_manifests(resource) -> None:
    first, second = (InferenceService.parse(resource(**full("VLLM"))).spec for _ in range(2))
    assert made(first) == made(second)
