"""A pod's status out of its containers' records: phase, conditions and container statuses. Pure.

Source of the rules: `getPhase` and `generateAPIPodStatus` in pkg/kubelet/kubelet_pods.go and the condition generators
in pkg/kubelet/status/generate.go of kubernetes/kubernetes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from penstock_lab.nodeagent.record import ContainerRecord

Phase = Literal["Pending", "Running", "Succeeded", "Failed"]
Condition = dict[str, Any]

CONDITIONS: Final = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
"""The conditions that a status from here has."""


@dataclass(frozen=True, slots=True)
class PodView:
    """What a status is computed from.

    Attributes:
        pod: The newest pod object; its own conditions answer readiness gates.
        init: Records of the init containers, in order.
        main: Records of the containers, in order.
        address: The pod's address, empty before it has one.
        host: The node's address.
        started_at: When the node agent took the pod on.
        ended: All processes are gone and nothing will be started again.
        refusal: Why the agent will not run this pod, empty if it will.
    """

    pod: dict[str, Any]
    init: list[ContainerRecord]
    main: list[ContainerRecord]
    address: str
    host: str
    started_at: str
    ended: bool
    refusal: str = ""


def phase(view: PodView) -> Phase:
    """Return the pod's phase."""
    if view.refusal:
        return "Failed"
    policy = view.pod["spec"].get("restartPolicy", "Always")
    codes = [record.exit_code for record in view.main]
    if view.ended or (policy != "Always" and all(code is not None for code in codes)):
        return _final_phase(view, policy, codes)
    if policy == "Never" and any(record.exit_code for record in view.init):
        return "Failed"
    begun = all(record.exit_code == 0 for record in view.init)
    never_ran = any("waiting" in record.state and not record.last_state for record in view.main)
    return "Running" if begun and not never_ran else "Pending"


def _final_phase(view: PodView, policy: str, codes: list[int | None]) -> Phase:
    if all(code == 0 for code in codes):
        return "Succeeded"
    if view.ended or policy == "Never":
        return "Failed"
    return "Running"


def pod_status(view: PodView, previous: dict[str, Any], now: str) -> dict[str, Any]:
    """Return the status to report; a condition keeps its transition time from `previous` while it does not change."""
    status: dict[str, Any] = {
        "phase": phase(view),
        "hostIP": view.host,
        "hostIPs": [{"ip": view.host}],
        "startTime": view.started_at,
        "containerStatuses": [record.to_status() for record in view.main],
    }
    if (generation := view.pod["metadata"].get("generation")) is not None:
        status["observedGeneration"] = generation
    if view.address:
        status |= {"podIP": view.address, "podIPs": [{"ip": view.address}]}
    if view.init:
        status["initContainerStatuses"] = [record.to_status() for record in view.init]
    if view.refusal:
        status |= {"reason": "NodeAgentRefused", "message": view.refusal}
    known = {condition["type"]: condition for condition in previous.get("conditions", ())}
    status["conditions"] = [
        _timed(condition, known.get(condition["type"]), now) for condition in _conditions(view, status["phase"])
    ]
    return status


def _conditions(view: PodView, current: Phase) -> list[Condition]:
    ready = _containers_ready(view, current)
    pod_ready = _gated(view, ready)
    return [
        _condition("PodReadyToStartContainers", value=bool(view.address) and not view.ended),
        _initialized(view, current),
        pod_ready,
        ready,
        _condition("PodScheduled", value=True),
    ]


def _initialized(view: PodView, current: Phase) -> Condition:
    missing = [record.name for record in view.init if record.exit_code != 0]
    if not missing:
        reason = "PodCompleted" if current == "Succeeded" else ""
        return _condition("Initialized", value=True, reason=reason)
    message = f"containers with incomplete status: [{' '.join(missing)}]"
    return _condition("Initialized", value=False, reason="ContainersNotInitialized", message=message)


def _containers_ready(view: PodView, current: Phase) -> Condition:
    if current in {"Succeeded", "Failed"}:
        reason = "PodCompleted" if current == "Succeeded" else "PodFailed"
        return _condition("ContainersReady", value=False, reason=reason)
    missing = [record.name for record in view.main if not record.ready]
    if not missing:
        return _condition("ContainersReady", value=True)
    message = f"containers with unready status: [{' '.join(missing)}]"
    return _condition("ContainersReady", value=False, reason="ContainersNotReady", message=message)


def _gated(view: PodView, containers_ready: Condition) -> Condition:
    if containers_ready["status"] != "True":
        return {**containers_ready, "type": "Ready"}
    true = {
        condition["type"]
        for condition in view.pod.get("status", {}).get("conditions", ())
        if condition["status"] == "True"
    }
    gates = [gate["conditionType"] for gate in view.pod["spec"].get("readinessGates", ())]
    missing = [gate for gate in gates if gate not in true]
    if not missing:
        return _condition("Ready", value=True)
    message = f"the status of pod readiness gates is not True: {missing}"
    return _condition("Ready", value=False, reason="ReadinessGatesNotReady", message=message)


def _condition(kind: str, *, value: bool, reason: str = "", message: str = "") -> Condition:
    # An empty reason or message must be sent: a strategic merge keeps what is left out.
    return {"type": kind, "status": str(value), "reason": reason, "message": message}


def _timed(condition: Condition, previous: Condition | None, now: str) -> Condition:
    same = previous is not None and previous["status"] == condition["status"]
    since = previous.get("lastTransitionTime", now) if same and previous is not None else now
    return {**condition, "lastTransitionTime": since}
