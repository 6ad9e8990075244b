"""`penstock explain` in words: from one service of `/state.json` to lines of at most 100 columns. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

Service = Mapping[str, Any]
WIDTH = 100
_UNKNOWN = "not known"
_SOURCES = {
    "Target": "spec.scaling.targets.tokensPerSecond",
    "StepModel": "learned from the engine's steps, for the objective on the time per token",
    "FirstToken": "learned from the engine's steps, for the objective on the first token",
    "Observed": "seen with requests waiting, less a margin",
}
_STATES = ("starting", "failing", "draining", "unschedulable")
_LIMITS = {
    "Max": "spec.scaling.maxReplicas is reached: raise it to let the load have more",
    "Budget": "spec.scaling.budget.maxCostPerHour pays for no more: raise it to let the load have more",
    "Rate": "one decision may go no further: see spec.scaling.behavior",
    "Quota": "no node has room for more replicas: add nodes, or free accelerators",
    "Unknown": "what the load asks for is not known, so nothing is removed",
}
_WAITS = {
    "Stabilizing": "fewer replicas must be right for a while first: spec.scaling.behavior.scaleDown",
    "Starting": "replicas are starting: nothing is removed before they serve",
    "RolloutInProgress": "a rollout is under way: nothing is removed before it ends",
    "QueueWithoutCapacity": "the capacity of a replica is not learned yet: set spec.scaling.targets.tokensPerSecond",
}
_TROUBLES = {
    "failing": "replicas fail: they crash, or their image cannot be pulled",
    "unschedulable": "replicas find no node with room",
    "draining": "replicas drain: they go when their requests are done",
}
# Conditions that are as they should be, or said elsewhere.
_CALM = {("ScalingActive", "SignalsFresh"), ("Ready", "ScaledToZero"), ("Available", "ScaledToZero")}


def lines(service: Service, *, source_detail: str = "", stale: str = "") -> list[str]:
    """What is to be said of one service.

    Args:
        service: element of `services` of `/state.json`, or what stands in for it.
        source_detail: why the metrics source gives nothing; empty when it answers.
        stale: why this is not the operator's own answer; empty when it is.
    """
    found = list(_head(service, stale))
    for title, body in (
        ("Why", _why(service)),
        ("Demand", _demand(service)),
        ("What other counts would mean", _prospects(service)),
        ("What holds it back", obstacles(service, source_detail=source_detail)),
        ("Objectives", _objectives(service)),
        ("Signals", _signals(service)),
        ("Cost", _cost(service)),
        ("Last decisions", _changes(service)),
        ("Conditions", _conditions(service)),
    ):
        text = list(body)
        if text:
            found += ["", title, *(part for line in text for part in _wrapped(line))]
    return found


def obstacles(service: Service, *, source_detail: str = "") -> list[str]:
    """What keeps the count from what the load asks for, or from being there; one line each."""
    decision = service.get("decision") or {}
    found = []
    if source_detail:
        asked = any(item["reason"] == "SignalsFromPods" for item in service.get("conditions") or [])
        held = "nothing is removed, and added only as far as the load is known"
        found.append(f"metrics source: {source_detail}; {'the workers are asked themselves' if asked else held}")
    if text := _LIMITS.get(str(decision.get("limited_by"))):
        found.append(f"limited by {decision['limited_by']}: {text}")
    if text := _WAITS.get(str(decision.get("reason"))):
        found.append(f"{decision['reason']}: {text}")
    for signal in service.get("signals") or []:
        if signal["state"] != "Fresh":
            detail = f" ({signal['detail']})" if signal.get("detail") else ""
            found.append(f"signal {signal['name']} is {signal['state']}{detail}: no fewer replicas until it is fresh")
    found += [f"{count} {text}" for name, text in _TROUBLES.items() if (count := service["replicas"].get(name))]
    for item in service.get("conditions") or []:
        bad = item["status"] == "False" if item["type"] != "ScalingLimited" else item["status"] == "True"
        if bad and (item["type"], item["reason"]) not in _CALM and item["type"] not in ("Available", "SLAMet"):
            found.append(f"{item['type']} is {item['status']} ({item['reason']}): {item['message']}")
    return found or ["nothing"]


def _head(service: Service, stale: str) -> Iterator[str]:
    replicas = service["replicas"]
    ready, desired = _number(replicas.get("ready")), _number(replicas.get("desired"))
    yield f"{service['namespace']}/{service['name']}: {ready} replicas ready, {desired} wanted"
    bounds = f"{_number(replicas.get('min'))} to {_number(replicas.get('max'))} replicas"
    engine, mode = service["engine"] or _UNKNOWN, service["mode"] or _UNKNOWN
    yield f"  model {service['model']}, engine {engine}, mode {mode}, {bounds}"
    states = [f"{replicas[name]} {name}" for name in _STATES if replicas.get(name)]
    if states:
        yield f"  {', '.join(states)}"
    if service.get("emulated") is not None:
        yield f"  EMULATED device {service['emulated']}: its speed is that of a model, not of an accelerator"
    if stale:
        yield from _wrapped(stale)


def _why(service: Service) -> Iterator[str]:
    for one in service.get("conditions") or []:
        if one["type"] == "Ready" and one["status"] == "False" and ("Ready", one["reason"]) not in _CALM:
            yield f"not ready, {one['reason']}: {one['message']}"
    decision = service.get("decision")
    if decision is None:
        if service["mode"] == "Manual":
            yield "spec.replicas fixes the count: nothing is decided"
        elif not service["mode"]:
            yield "the spec cannot be read, so nothing is decided: see the conditions"
        else:
            yield "nothing was decided yet"
        return
    act = "" if decision.get("act") in (True, None) else ", not carried out"
    yield f"{decision['reason']}{act}: {decision.get('message') or 'the numbers are known to the operator only'}"


def _demand(service: Service) -> Iterator[str]:
    load, capacity = service["load"], service["capacity"]
    if all(value is None for value in load.values()):
        return
    yield _pair("offered", f"{_rate(load)} = {_number(load['offered_tokens_per_second'], 0)} tok/s")
    yield _pair("served", f"{_number(load['served_tokens_per_second'], 0)} tok/s (saturates, so it asks for nothing)")
    each = capacity["tokens_per_second_per_replica"]
    known = _UNKNOWN if each is None else f"{each:.0f} tok/s ({_SOURCES.get(capacity['source'], capacity['source'])})"
    yield _pair("one replica", known)
    needed = service.get("needed_replicas")
    if needed is not None and each and load["offered_tokens_per_second"] is not None:
        flow = load["offered_tokens_per_second"] / each
        rest = max(0.0, needed - flow)
        backlog = f" + {rest:.2f} to work off the queue" if rest >= 0.005 else ""
        yield _pair("needed", f"{flow:.2f} replicas for the flow{backlog} = {needed:.2f}")
    names = (("running", "running"), ("waiting", "waiting in workers"), ("held", "held at gateways"))
    counts = [f"{_number(load[name], 0)} {text}" for name, text in names if load.get(name) is not None]
    yield _pair("requests", ", ".join(counts) or _UNKNOWN)
    if load.get("kv_use") is not None:
        yield _pair("KV cache", f"{_percent(load['kv_use'], 0)} in use")


def _rate(load: Mapping[str, Any]) -> str:
    rate, length = load["offered_requests_per_second"], load["tokens_per_request"]
    return f"{_number(rate, 2)} requests/s x {_number(length, 1)} tokens"


def _prospects(service: Service) -> Iterator[str]:
    rows = service.get("predictions") or []
    if not rows:
        return
    predicted = any(row["attainment"] is not None for row in rows)
    yield f"{'replicas':>8}  {'busy':>7}" + ("  predicted share in the SLA" if predicted else "")
    chosen = (service.get("decision") or {}).get("replicas")
    for row in rows:
        share = "no model yet" if row["attainment"] is None else f"{row['attainment'] * 100:.2f} %"
        mark = "  <- decided" if row["replicas"] == chosen else ""
        cells = f"{row['replicas']:>8}  {_percent(row['utilisation'], 0):>7}" + (f"  {share}" if predicted else "")
        yield f"{cells}{mark}"


def _objectives(service: Service) -> Iterator[str]:
    for one in service.get("objectives") or []:
        name = f"{one['metric']} p{one['percentile']}"
        if one["attainment"] is None:
            why = one.get("why_unknown") or "nothing measured in the window"
            yield f"{name:<14}  at most {_seconds(one['threshold_seconds'])}: {why}"
            continue
        value = f"{_seconds(one['value_seconds'])} of {_seconds(one['threshold_seconds'])}"
        met = f"{one['attainment'] * 100:.2f} % met in {_age(one['window_seconds'])}"
        yield f"{name:<14}  {value}, {met}{_budget(one['error_budget_left'])}"
        if one["value_seconds"] is not None and one["value_seconds"] <= one["threshold_seconds"] and _missed(one):
            yield f"{'':<14}  refused and failed requests are among the missed ones; the latency is of the others"


def _missed(objective: Mapping[str, Any]) -> bool:
    left = objective["error_budget_left"]
    return left is not None and left < 0


def _budget(left: float | None) -> str:
    if left is None:
        return ""
    if left >= 0:
        return f", error budget {_percent(left)} left"
    spent = 1 - left
    return f", error budget spent {spent:.{0 if spent >= 10 else 1}f} times over"


def _signals(service: Service) -> Iterator[str]:
    for one in service.get("signals") or []:
        seen = "never seen" if one["age_seconds"] is None else f"{_age(one['age_seconds'])} old"
        value = "" if one["value"] is None else f"{one['value']:.4g}"
        yield f"{one['name']:<16}  {one['state']:<13}  {value:>10}  {seen}  {one.get('detail') or ''}".rstrip()


def _cost(service: Service) -> Iterator[str]:
    cost = service.get("cost")
    if cost is None:
        return
    million = cost["per_million_tokens"]
    each = "" if million is None else f", {million:.2f} per million generated tokens"
    yield f"{_number(cost['per_hour'], 2)} {cost['currency']} per hour{each}"


def _changes(service: Service) -> Iterator[str]:
    for one in (service.get("decisions") or [])[:5]:
        when = datetime.fromtimestamp(one["at"], UTC).strftime("%H:%M:%S")
        advice = "" if one.get("act", True) else " (advised only)"
        yield f"{when}Z  {one['from']} -> {one['to']}{advice}  {one['reason']}: {one['message']}"


def _conditions(service: Service) -> Iterator[str]:
    for one in service.get("conditions") or []:
        yield f"{one['type']:<15}  {one['status']:<8}  {one['reason']}"


def _pair(name: str, text: str) -> str:
    return f"{name:<12}  {text}"


def _wrapped(text: str, indent: int = 2) -> Sequence[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent + 4),
        break_on_hyphens=False,
        drop_whitespace=True,
        replace_whitespace=False,
    ) or [""]


def _number(value: float | None, digits: int = 0) -> str:
    return "?" if value is None else f"{value:.{digits}f}"


def _percent(value: float | None, digits: int = 1) -> str:
    return "?" if value is None else f"{value * 100:.{digits}f} %"


def _seconds(value: float | None) -> str:
    if value is None:
        return "?"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s"


def _age(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
