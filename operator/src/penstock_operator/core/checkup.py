"""What `penstock doctor` makes of what it found: one result per question, each with its remedy. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from penstock_contract import names
from penstock_operator.api.crd import document
from penstock_operator.core.quantities import whole

Manifest = dict[str, Any]
_PATIENCE_TICKS = 12  # a tick that writes much takes several periods
_LEAST_PATIENCE_SECONDS = 30.0
# Reasons of ScalingActive that somebody asked for.
_WANTED = ("ManualReplicas", "Paused", "Advise")
APPLY_CRD = "kubectl apply --server-side -f crds/ (or helm upgrade with crds.install=true)"


class Level(StrEnum):
    """How bad it is."""

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Result:
    """The answer to one question.

    Attributes:
        level: OK, WARN (works, but look) or FAIL (does not work).
        check: what was looked at, one word.
        message: what was found.
        fix: what to do; empty when nothing is to be done.
    """

    level: Level
    check: str
    message: str
    fix: str = ""


def ok(check: str, message: str) -> Result:
    """All is well."""
    return Result(Level.OK, check, message)


def crd(live: Manifest | None) -> Result:
    """The CRD of the cluster beside the one of this version; None when there is none."""
    if live is None:
        return Result(Level.FAIL, "crd", f"{names.PLURAL}.{names.GROUP} is not installed", APPLY_CRD)
    established = [one for one in live.get("status", {}).get("conditions") or [] if one.get("type") == "Established"]
    if not any(one.get("status") == "True" for one in established):
        return Result(
            Level.FAIL, "crd", "it is not Established", "see kubectl describe crd " + live["metadata"]["name"]
        )
    served = {one["name"]: one for one in live["spec"]["versions"] if one.get("served")}
    if names.VERSION not in served:
        found = ", ".join(served) or "nothing"
        return Result(Level.FAIL, "crd", f"version {names.VERSION} is not served ({found} is)", APPLY_CRD)
    wanted = document()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    where = difference(served[names.VERSION].get("schema", {}).get("openAPIV3Schema"), wanted)
    if where is not None:
        text = f"its schema is not this version's: they differ at {where}"
        return Result(Level.FAIL, "crd", text, APPLY_CRD)
    return ok("crd", f"{names.PLURAL}.{names.GROUP} {names.VERSION}, schema as in this version")


def difference(live: Any, wanted: Any, path: str = "") -> str | None:
    """Path of the first place where two schemas differ, or None."""
    if isinstance(live, dict) and isinstance(wanted, dict):
        for key in sorted(live.keys() | wanted.keys()):
            if key not in live or key not in wanted:
                return f"{path}.{key}".lstrip(".")
            if found := difference(live[key], wanted[key], f"{path}.{key}"):
                return found
        return None
    if isinstance(live, list) and isinstance(wanted, list) and len(live) == len(wanted):
        pairs = zip(live, wanted, strict=True)
        return next((at for i, (a, b) in enumerate(pairs) if (at := difference(a, b, f"{path}[{i}]"))), None)
    return None if live == wanted else path.lstrip(".") or "its root"


def unseen_rights(why: str) -> Result:
    """The operator's rights could not be asked about; those of the one who runs this say nothing of them."""
    fix = "give --operator-namespace, or run it with an administrator's kubeconfig"
    return Result(Level.WARN, "rights", f"not checked: {why}", fix)


def rights(refused: Sequence[str], *, asked: int, whose: str) -> list[Result]:
    """One result for all rights that are granted, one for each that is not.

    Args:
        refused: such as `patch deployments/scale.apps`.
        asked: how many were asked for.
        whose: whose rights, in words.
    """
    if not refused:
        return [ok("rights", f"{whose} may do all {asked} things that it needs")]
    fix = "install the chart's roles (helm upgrade), or grant it: charts/penstock/templates/_rules.tpl"
    return [Result(Level.FAIL, "rights", f"{whose} may not {one}", fix) for one in refused]


def operator(pods: Sequence[Manifest], ready: int, *, theirs: str | None, ours: str) -> Result:
    """The operator's pods and version.

    Args:
        pods: its pods.
        ready: how many of them are ready.
        theirs: version of the one that answers; None when none does.
        ours: version of this command.
    """
    logs = f"see kubectl logs -l {names.LABEL_NAME}={names.MANAGED_BY} -A --tail=20"
    if theirs is None:
        if not pods:
            return Result(Level.FAIL, "operator", "no pod of it runs", "helm install penstock charts/penstock")
        return Result(Level.FAIL, "operator", f"{ready} of {len(pods)} pods are ready, and none answers", logs)
    if clash := overlap(pods):
        return clash
    if theirs != ours:
        text = f"it runs version {theirs}, this command is {ours}"
        return Result(Level.WARN, "operator", text, "upgrade the older of the two")
    where = f" in namespace {pods[0]['metadata']['namespace']}" if pods else " (no pod of this cluster)"
    return ok("operator", f"runs{where} and answers, version {theirs}")


def overlap(pods: Sequence[Manifest]) -> Result | None:
    """Two operators that watch the same namespace decide against each other; those that share none do not."""
    for number, one in enumerate(pods):
        for other in pods[number + 1 :]:
            mine, theirs = watched(one), watched(other)
            if mine and theirs and not mine & theirs:
                continue
            shared = ", ".join(sorted(mine & theirs or mine or theirs)) or "all namespaces"
            text = f"{_place(one)} and {_place(other)} both watch {shared}, and decide against each other"
            return Result(Level.FAIL, "operator", text, "keep one release with one replica, or set watchNamespaces")
    return None


def watched(pod: Manifest) -> frozenset[str]:
    """Namespaces that an operator's pod watches; empty is all of them."""
    return frozenset(part.strip() for part in (setting(pod, "PENSTOCK_NAMESPACES") or "").split(",") if part.strip())


def setting(pod: Manifest, name: str) -> str | None:
    """A variable of a pod's environment, as far as the pod itself says it."""
    for container in pod.get("spec", {}).get("containers") or []:
        for entry in container.get("env") or []:
            if entry["name"] == name and "value" in entry:
                return str(entry["value"])
    return None


def _place(pod: Manifest) -> str:
    return f"pod {pod['metadata']['namespace']}/{pod['metadata']['name']}"


def ticks(state: Manifest, *, now: float) -> Result | None:
    """Whether the operator still decides; None when it does, or is too old to tell.

    Args:
        state: `/state.json`.
        now: Unix seconds here.
    """
    fix = f"see kubectl logs -l {names.LABEL_NAME}={names.MANAGED_BY} -A --tail=20, and restart it"
    late = max(_LEAST_PATIENCE_SECONDS, _PATIENCE_TICKS * float(state.get("tick_seconds") or 0))
    if "ticked_at" in state:
        if state["ticked_at"] is None:
            return Result(Level.WARN, "operator", "it has not decided anything yet", "wait a tick, and run it again")
        silence = state["at"] - state["ticked_at"]
        if silence > late:
            return Result(Level.FAIL, "operator", f"its last tick began {silence:.0f} s ago: its loop hangs", fix)
    if now - state["at"] > late:
        text = f"its page is of {now - state['at']:.0f} s ago"
        return Result(Level.WARN, "operator", text, "mend the clocks, or what keeps old answers between here and there")
    return None


def gateways(total: int, ready: int) -> Result:
    """The gateways' pods."""
    if not total:
        text = "none: nothing holds requests at zero replicas, and demand is what workers see"
        return Result(Level.WARN, "gateways", text, "set gateway.enabled=true in the chart, unless that is intended")
    if not ready:
        return Result(
            Level.FAIL,
            "gateways",
            f"none of {total} pods is ready",
            f"see kubectl logs -l {names.LABEL_NAME}={names.GATEWAY_NAME} -A",
        )
    if ready < total:
        return Result(Level.WARN, "gateways", f"{ready} of {total} pods are ready", "see kubectl get pods -A")
    return ok("gateways", f"{ready} of {total} pods are ready")


def accelerators(services: Sequence[Manifest], nodes: Sequence[Manifest]) -> list[Result]:
    """Whether nodes that take pods offer what the services ask for; one result per resource."""
    offered: dict[str, int] = {}
    for node in filter(_takes_pods, nodes):
        for resource, quantity in (node.get("status", {}).get("allocatable") or {}).items():
            offered[resource] = offered.get(resource, 0) + whole(quantity)
    least: dict[str, int] = {}
    for service in services:
        spec = service["spec"]
        accelerator = spec.get("runtime", {}).get("accelerator", {})
        resource, count = accelerator.get("resourceName", "nvidia.com/gpu"), int(accelerator.get("count", 1))
        replicas = int((spec.get("scaling") or {}).get("minReplicas", spec.get("replicas") or 0))
        if count:
            least[resource] = least.get(resource, 0) + count * replicas
    found = []
    for resource, needed in sorted(least.items()):
        have = offered.get(resource, 0)
        if not have:
            # A pool of nodes may be scaled to 0, and grow when a pod asks; nothing here can tell.
            text = f"no node that takes pods offers {resource} now, which services ask for"
            fix = (
                "nothing, if a pool of nodes grows from 0; else uncordon nodes, install the device plugin, or change "
                "spec.runtime.accelerator.resourceName"
            )
            found.append(Result(Level.WARN, "nodes", text, fix))
        elif have < needed:
            text = f"nodes offer {have} {resource}; the services' least replicas take {needed}"
            found.append(Result(Level.WARN, "nodes", text, "add nodes, or lower minReplicas"))
        else:
            found.append(ok("nodes", f"nodes offer {have} {resource}; the services' least replicas take {needed}"))
    return found or [ok("nodes", "no service asks for accelerators")]


def _takes_pods(node: Manifest) -> bool:
    """Whether a node is neither cordoned nor lost."""
    ready = [one for one in node.get("status", {}).get("conditions") or [] if one.get("type") == "Ready"]
    lost = any(one.get("status") != "True" for one in ready)
    return not lost and not node.get("spec", {}).get("unschedulable")


def services(found: Sequence[Manifest]) -> list[Result]:
    """Conditions of the services: one result for all good ones, one for each other."""
    results, good = [], 0
    for service in found:
        name = f"{service['metadata']['namespace']}/{service['metadata']['name']}"
        said = {one["type"]: one for one in (service.get("status") or {}).get("conditions") or []}
        accepted, amiss = said.get("Accepted"), _amiss(said)
        if accepted is None:
            text = f"{name}: the operator has not looked at it"
            results.append(Result(Level.WARN, "services", text, "does it run, and watch this namespace?"))
        elif accepted["status"] == "False":
            text = f"{name} is not accepted {_reason(accepted)}"
            results.append(Result(Level.FAIL, "services", text, f"kubectl edit infsvc -n {name.replace('/', ' ')}"))
        elif amiss:
            text = f"{name}: {'; '.join(amiss)}"
            results.append(Result(Level.WARN, "services", text, f"penstock explain -n {name.replace('/', ' ')}"))
        else:
            good += 1
    return [ok("services", f"{good} of {len(found)} InferenceServices are as they should be"), *results]


def _amiss(said: Mapping[str, Manifest]) -> list[str]:
    """What the conditions of an accepted service say that somebody should look at."""
    found = []
    ready, scaling, met = said.get("Ready"), said.get("ScalingActive"), said.get("SLAMet")
    if ready is not None and ready["status"] != "True" and ready.get("reason") != "ScaledToZero":
        found.append(f"not ready {_reason(ready)}")
    elif ready is not None and ready["status"] == "True" and ready.get("reason") not in ("Ready", None):
        found.append(f"ready, but {_reason(ready)}")
    if scaling is not None and scaling["status"] == "False" and scaling.get("reason") not in _WANTED:
        found.append(f"not scaled as it should be {_reason(scaling)}")
    if met is not None and met["status"] == "False":
        found.append(f"misses its objectives {_reason(met)}")
    return found


def _reason(condition: Manifest) -> str:
    return f"({condition.get('reason') or 'no reason'}): {condition.get('message') or 'no message'}"


def summary(results: Sequence[Result]) -> Mapping[str, int]:
    """How many of each level."""
    return {level.value: sum(one.level is level for one in results) for level in Level}
