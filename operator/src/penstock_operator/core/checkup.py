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
Key = tuple[str, str]
_GOOD_INTERVAL_SECONDS = 15.0
_LONGEST_INTERVAL_SECONDS = 60.0
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


@dataclass(frozen=True, slots=True)
class Series:
    """What the metrics source has of one service.

    Attributes:
        ready: ready pods, which should all be scraped.
        missing: metric names without any series.
        reporting: pods with a fresh scrape.
        age_seconds: of the newest sample; None without one.
    """

    ready: int
    missing: tuple[str, ...]
    reporting: int
    age_seconds: float | None


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
    if len(pods) > 1:
        text = f"{len(pods)} pods run; two operators decide against each other"
        return Result(Level.FAIL, "operator", text, "keep one release, with one replica")
    if theirs != ours:
        text = f"it runs version {theirs}, this command is {ours}"
        return Result(Level.WARN, "operator", text, "upgrade the older of the two")
    where = "" if pods else " (no pod of this cluster)"
    return ok("operator", f"runs and answers, version {theirs}{where}")


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


def interval(seconds: float | None) -> Result:
    """The scrape interval of the workers."""
    change = "set scrape.intervalSeconds in the chart (5 is good), or the interval of your own job"
    if seconds is None:
        return Result(Level.WARN, "scrape", "no worker was scraped in the last minute", "see the series below")
    if seconds > _LONGEST_INTERVAL_SECONDS:
        return Result(Level.FAIL, "scrape", f"workers are scraped every {seconds:.0f} s: too slow to scale by", change)
    if seconds > _GOOD_INTERVAL_SECONDS:
        text = f"workers are scraped every {seconds:.0f} s: load is seen {4 * seconds:.0f} s late"
        return Result(Level.WARN, "scrape", text, change)
    return ok("scrape", f"workers are scraped every {seconds:.1f} s")


def series(key: Key, found: Series, *, window_seconds: float) -> Result:
    """What the metrics source has of one service."""
    name, check = "/".join(key), "series"
    if not found.ready:
        return ok(check, f"{name}: no ready replica, so nothing is to be scraped")
    selector = f"{names.SERVICE}={key[1]}"
    if found.missing:
        fix = f"see Prometheus' targets for pods with {selector}: the job must set namespace, inferenceservice and pod"
        return Result(Level.FAIL, check, f"{name}: no series of {', '.join(found.missing)}", fix)
    if found.age_seconds is None or found.age_seconds > window_seconds:
        age = "unknown" if found.age_seconds is None else f"{found.age_seconds:.0f} s"
        text = f"{name}: the newest sample is too old ({age})"
        return Result(Level.FAIL, check, text, f"see Prometheus' targets for pods with {selector}")
    if found.reporting < found.ready:
        text = f"{name}: {found.reporting} of {found.ready} ready pods are scraped, so nothing is removed"
        return Result(Level.WARN, check, text, f"see Prometheus' targets for pods with {selector}")
    return ok(check, f"{name}: all there, {found.age_seconds:.1f} s old, {found.reporting} of {found.ready} pods")


def labels(*, renamed: int, unclaimed: Sequence[str], doubled: Sequence[str]) -> list[Result]:
    """Labels of the scraped series.

    Args:
        renamed: gateway series whose own service label was renamed by a target's.
        unclaimed: services that workers speak of although no target is labelled so.
        doubled: pods that are scraped twice.
    """
    found = []
    if renamed:
        fix = "the job of the gateways must not set namespace or inferenceservice on its targets"
        found.append(Result(Level.FAIL, "labels", f"{renamed} gateway series lost their service's label", fix))
    found += [
        Result(
            Level.FAIL,
            "labels",
            f"workers say that they are {name}, their targets do not",
            "set honor_labels: false in the workers' job, and its labels by relabelling",
        )
        for name in unclaimed
    ]
    if doubled:
        text = f"{len(doubled)} pods are scraped twice, so their load counts twice: {', '.join(doubled[:3])}"
        found.append(Result(Level.FAIL, "labels", text, "keep one of PodMonitor and scrape configuration"))
    return found or [ok("labels", "namespace, inferenceservice and pod come from the targets, each pod once")]


def accelerators(services: Sequence[Manifest], nodes: Sequence[Manifest]) -> list[Result]:
    """Whether nodes offer what the services ask for; one result per resource."""
    offered: dict[str, int] = {}
    for node in nodes:
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
            fix = "install the device plugin of the accelerator, or change spec.runtime.accelerator.resourceName"
            found.append(Result(Level.FAIL, "nodes", f"no node offers {resource}, which services ask for", fix))
        elif have < needed:
            text = f"nodes offer {have} {resource}; the services' least replicas take {needed}"
            found.append(Result(Level.WARN, "nodes", text, "add nodes, or lower minReplicas"))
        else:
            found.append(ok("nodes", f"nodes offer {have} {resource}; the services' least replicas take {needed}"))
    return found or [ok("nodes", "no service asks for accelerators")]


def services(found: Sequence[Manifest]) -> list[Result]:
    """Conditions of the services: one result for all good ones, one for each other."""
    results, good = [], 0
    for service in found:
        name = f"{service['metadata']['namespace']}/{service['metadata']['name']}"
        said = {one["type"]: one for one in (service.get("status") or {}).get("conditions") or []}
        accepted, ready = said.get("Accepted"), said.get("Ready")
        if accepted is None:
            text = f"{name}: the operator has not looked at it"
            results.append(Result(Level.WARN, "services", text, "does it run, and watch this namespace?"))
        elif accepted["status"] == "False":
            text = f"{name} is not accepted ({accepted['reason']}): {accepted['message']}"
            results.append(Result(Level.FAIL, "services", text, f"kubectl edit infsvc -n {name.replace('/', ' ')}"))
        elif ready is not None and ready["status"] != "True" and ready["reason"] != "ScaledToZero":
            text = f"{name} is not ready ({ready['reason']}): {ready['message']}"
            results.append(Result(Level.WARN, "services", text, f"penstock explain -n {name.replace('/', ' ')}"))
        else:
            good += 1
    return [ok("services", f"{good} of {len(found)} InferenceServices are as they should be"), *results]


def summary(results: Sequence[Result]) -> Mapping[str, int]:
    """How many of each level."""
    return {level.value: sum(one.level is level for one in results) for level in Level}
