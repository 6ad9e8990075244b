"""A resource from apply to delete, on a real control plane with real workers."""

import json
import os
import signal
from pathlib import Path

import pytest

from penstock_lab.cluster import LocalCluster
from penstock_lab.operator import OperatorProcess
from serving import Api, Chat
from waiting import always, eventually


def test_apply_serves(api: Api, chat: Chat) -> None:
    api.apply(chat())
    api.wait("chat", "Ready", "True", "Ready")
    status = api.get("infsvc", "chat")["status"]
    assert status["readyReplicas"] == 1
    assert status["desiredReplicas"] == 1
    assert {item["type"] for item in status["conditions"]} == {
        "Ready", "Accepted", "Available", "Progressing", "SLAMet", "ScalingActive", "ScalingLimited",
    }  # fmt: skip
    (pod,) = api.ready_pods("chat")
    assert pod["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    row = api.run("get", "infsvc", "-n", api.namespace, "--no-headers")
    assert row.split()[:2] == ["chat", "True"]


def test_an_edited_template_rolls_and_an_edited_bound_does_not(api: Api, chat: Chat) -> None:
    api.apply(chat())
    api.wait("chat", "Ready", "True", "Ready")
    (first,) = api.ready_pods("chat")
    api.patch("infsvc", "chat", {"spec": {"scaling": {"maxReplicas": 4}, "sla": {"windowSeconds": 600}}})
    observed = api.get("infsvc", "chat")["metadata"]["generation"]
    eventually(lambda: api.get("infsvc", "chat")["status"]["observedGeneration"] == observed, what="observed")
    assert api.get("deployment", "chat")["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "1"
    api.patch("infsvc", "chat", {"spec": {"runtime": {"env": [{"name": "LOG_LEVEL", "value": "debug"}]}}})

    fewest = [1]

    def rolled() -> bool:
        pods = api.ready_pods("chat")
        fewest.append(len(pods))
        return len(pods) == 1 and pods[0]["metadata"]["uid"] != first["metadata"]["uid"]

    eventually(rolled, what="the pod of the new template alone is ready", every=0.2)
    assert min(fewest) == 1, "a new pod is ready before the old one goes"
    api.wait("chat", "Progressing", "True", "Complete")


def test_deletion_takes_everything_along(api: Api, chat: Chat) -> None:
    api.apply(chat())
    api.wait("chat", "Ready", "True")
    api.run("delete", "infsvc", "chat", "-n", api.namespace, "--timeout=120s")
    kinds = "deployments,replicasets,pods,services,poddisruptionbudgets"
    eventually(lambda: not json.loads(api.run("get", kinds, "-n", api.namespace, "-o", "json"))["items"], what="gone")


def test_a_killed_worker_comes_back(api: Api, chat: Chat) -> None:
    api.apply(chat())
    api.wait("chat", "Ready", "True")
    (pod,) = api.ready_pods("chat")
    os.kill(_process_of(pod), signal.SIGKILL)
    eventually(lambda: api.pods("chat")[0]["status"]["containerStatuses"][0]["restartCount"] == 1, what="restarted")
    ended = api.pods("chat")[0]["status"]["containerStatuses"][0]["lastState"]["terminated"]
    assert ended["exitCode"] == 137
    eventually(lambda: len(api.ready_pods("chat")) == 1, what="the restarted worker is ready")
    assert api.ready_pods("chat")[0]["status"]["containerStatuses"][0]["restartCount"] == 1


def _process_of(pod: dict[str, object]) -> int:
    """The process that listens on the pod's address, from the kernel's tables."""
    address = pod["status"]["podIP"]  # type: ignore[index]  # of the API server: nested as Kubernetes says
    wanted = "".join(f"{int(part):02X}" for part in reversed(address.split("."))) + ":1F40"
    inode = next(
        line.split()[9]
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
        if line.split()[1] == wanted and line.split()[3] == "0A"
    )
    for folder in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if str(folder.readlink()) == f"socket:[{inode}]":
                return int(folder.parts[2])
        except OSError:
            continue
    raise AssertionError(f"nobody listens on {address}")


@pytest.mark.parametrize(("path", "text"), [("/models/nothing", "/models/nothing"), ("/models/broken", "config.json")])
def test_a_broken_checkpoint_is_named_in_the_conditions(
    api: Api, chat: Chat, models: Path, path: str, text: str
) -> None:
    (models / "broken").mkdir(exist_ok=True)
    api.apply(chat(model={"source": {"containerPath": path}}))
    found = api.wait("chat", "Available", "False", "WorkerCrashed")
    assert text in found["message"] or text.replace("/models", str(models)) in found["message"]
    assert "\n" not in found["message"]
    assert "Traceback" not in found["message"]
    assert api.condition("chat", "Ready")["reason"] == "WorkerCrashed"


def test_an_unsupported_spec_keeps_the_last_good_workload(api: Api, chat: Chat) -> None:
    api.apply(chat())
    api.wait("chat", "Ready", "True")
    before = api.get("deployment", "chat")["metadata"]["generation"]
    source = {"containerPath": None, "huggingFace": {"repo": "Qwen/Qwen3-8B"}}
    api.patch("infsvc", "chat", {"spec": {"model": {"source": source}}})
    found = api.wait("chat", "Accepted", "False", "EngineNotSupported")
    assert "spec.model.source.huggingFace" in found["message"]
    assert api.condition("chat", "Ready")["status"] == "False"
    assert api.get("deployment", "chat")["metadata"]["generation"] == before
    assert len(api.ready_pods("chat")) == 1
    api.patch("infsvc", "chat", {"spec": {"model": {"source": {"containerPath": "/models/tiny", "huggingFace": None}}}})
    api.wait("chat", "Accepted", "True", "Valid")


def test_a_foreign_edit_of_a_child_is_put_back(api: Api, chat: Chat) -> None:
    api.apply(chat())
    api.wait("chat", "Ready", "True")
    container = {"name": "worker", "image": "penstock/worker:evil"}
    api.run(
        "patch", "deployment", "chat", "-n", api.namespace, "--type=strategic",
        f"--patch={json.dumps({'spec': {'template': {'spec': {'containers': [container]}}}})}",
    )  # fmt: skip
    api.patch("service", "chat", {"spec": {"selector": {"app.kubernetes.io/name": "other"}}})
    api.run("delete", "pdb", "chat", "-n", api.namespace)

    def restored() -> bool:
        template = api.get("deployment", "chat")["spec"]["template"]["spec"]
        service = api.get("service", "chat")["spec"]["selector"]
        return (
            template["containers"][0]["image"] == "penstock/worker:dev"
            and service["app.kubernetes.io/name"] == "penstock-worker"
            and bool(api.get("pdb", "chat"))
        )

    eventually(restored, what="image, selector and budget are back")


def test_a_count_that_somebody_changes_is_put_back(api: Api, chat: Chat) -> None:
    api.apply(chat())
    api.wait("chat", "ScalingActive", "True", "SignalsFresh")
    api.run("scale", "deployment", "chat", "--replicas=3", "-n", api.namespace)
    eventually(lambda: api.get("deployment", "chat")["spec"]["replicas"] == 1, what="one replica again", seconds=180)


def test_an_object_of_another_owner_is_not_taken(api: Api, chat: Chat) -> None:
    api.run("create", "service", "clusterip", "chat", "--tcp=80", "-n", api.namespace)
    labels = "app.kubernetes.io/managed-by=penstock-operator"
    api.run("label", "service", "chat", labels, "-n", api.namespace)
    api.apply(chat())
    api.wait("chat", "Accepted", "False", "NameConflict")
    assert "ownerReferences" not in api.get("service", "chat")["metadata"]


def test_too_few_accelerators_are_reported(api: Api, chat: Chat) -> None:
    api.apply(
        chat(
            scaling=None,
            replicas=1,
            runtime=chat()["spec"]["runtime"] | {"accelerator": {"count": 40}, "tensorParallelSize": 1},
        )
    )
    found = api.wait("chat", "Progressing", "False", "Unschedulable")
    assert "nvidia.com/gpu" in found["message"]


def test_a_steady_state_writes_nothing_not_even_after_a_restart(
    api: Api, chat: Chat, operator: OperatorProcess, cluster: LocalCluster
) -> None:
    api.apply(chat())
    api.wait("chat", "Ready", "True", "Ready")
    api.wait("chat", "ScalingActive", "True", "SignalsFresh")
    api.wait("chat", "SLAMet", "Unknown")
    start = eventually(lambda: _quiet(cluster, api.namespace, seconds=6.0), what="writes stop")
    ticks = _ticks(operator)
    eventually(lambda: _ticks(operator) >= ticks + 5, what="five more ticks")
    before = api.get("infsvc", "chat")["status"]
    operator.stop(kill=True)
    operator.start()
    eventually(lambda: _ticks(operator) >= 8, what="eight ticks after the restart")
    assert api.get("infsvc", "chat")["status"] == before
    writes = _writes(cluster, api.namespace)
    assert len(writes) >= start, "the audit log is still the same"
    assert writes[start:] == []
    assert api.get("deployment", "chat")["spec"]["replicas"] == 1


def _ticks(operator: OperatorProcess) -> float:
    lines = operator.metrics().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("penstock_operator_tick_seconds_count"))


def _writes(cluster: LocalCluster, namespace: str) -> list[str]:
    """What the operator wrote in a namespace, from the API server's audit log."""
    found = []
    for line in cluster.audit_log.read_text().splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # the line being written
        if entry.get("verb") in ("get", "list", "watch") or "aiohttp" not in entry.get("userAgent", ""):
            continue
        if not {"system:masters"} & set(entry["user"].get("groups", ())):
            continue  # the node agent
        if (entry.get("objectRef") or {}).get("namespace") == namespace and entry["stage"] == "ResponseComplete":
            found.append(f"{entry['verb']} {entry['requestURI']}")
    return found


def _quiet(cluster: LocalCluster, namespace: str, *, seconds: float) -> int | None:
    """Number of writes so far, once none has come for `seconds`."""
    before = len(_writes(cluster, namespace))
    always(lambda: len(_writes(cluster, namespace)) == before, what="a write", seconds=seconds, every=0.5)
    return before
