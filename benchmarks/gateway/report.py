"""From the raw result to the table that people read, and to what is not as it should be."""

from __future__ import annotations

from statistics import median
from typing import Any, Final

GOAL_MS: Final = 2.0
Result = dict[str, Any]


def summary(result: Result) -> dict[str, dict[str, float]]:
    """Added latency at half load in ms, by target: median over rounds of the difference to direct in the same round."""
    direct = result["targets"]["direct"]["half"]
    found: dict[str, dict[str, float]] = {}
    for name, target in result["targets"].items():
        if name == "direct":
            continue
        found[name] = {
            f"{kind}_{percentile}": round(
                median(
                    here[f"{percentile}_ms"] - there[f"{percentile}_ms"]
                    for here, there in zip(target["half"][kind], direct[kind], strict=True)
                ),
                3,
            )
            for kind in target["half"]
            for percentile in ("p50", "p99")
        }
    return found


def problems(result: Result) -> list[str]:
    """Where the goal is missed."""
    added = result["summary"]["gateway"]
    return [
        f"{kind} are {added[f'{kind}_p99']:.2f} ms later in the 99th percentile, the goal is {GOAL_MS:g} ms"
        for kind in ("requests", "chunks")
        if added[f"{kind}_p99"] >= GOAL_MS
    ]


def table(result: Result) -> str:
    """A Markdown table, one column per target."""
    names = list(result["targets"])
    rows = [
        ("requests/s, 64 connections", lambda one: f"{one['requests']['per_second']:,}"),
        ("requests per second of proxy CPU", lambda one: _number(one["requests"], "per_core")),
        ("CPU per request", lambda one: _number(one["requests"], "microseconds", " µs")),
        ("streamed chunks/s", lambda one: _number(one.get("streams", {}), "per_second")),
        ("chunks per second of proxy CPU", lambda one: _number(one.get("streams", {}), "per_core")),
        ("CPU per chunk", lambda one: _number(one.get("streams", {}), "microseconds", " µs")),
        (
            f"whole reply at {result['half_requests_per_second']:,} requests/s, p50 / p99",
            lambda one: _half(one, "requests"),
        ),
        ("its core meanwhile: busy / waited for", _core),
        (f"chunk at {result['half_streams']:,} streams of 40/s, p50 / p99", lambda one: _half(one, "chunks")),
        ("memory, idle / with 2,000 open streams", _memory),
    ]
    lines = ["| | " + " | ".join(names) + " |", "|---|" + "---:|" * len(names)]
    lines += [
        f"| {label} | " + " | ".join(show(result["targets"][name]) for name in names) + " |" for label, show in rows
    ]
    added = result["summary"]
    for kind in ("requests", "chunks"):
        cells = [
            f"{added[name][f'{kind}_p50']:.2f} / {added[name][f'{kind}_p99']:.2f} ms"
            if f"{kind}_p99" in added.get(name, {})
            else "-"
            for name in names
        ]
        lines.append(f"| added to {kind} at half load, p50 / p99 | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _number(part: dict[str, float], key: str, unit: str = "") -> str:
    return f"{part[key]:,}{unit}" if key in part else "-"


def _core(one: Result) -> str:
    rounds = one["half"]["requests"]
    if "busy" not in rounds[0]:
        return "-"
    return " / ".join(f"{median(each[name] for each in rounds):.0%}" for name in ("busy", "waited"))


def _half(one: Result, kind: str) -> str:
    if kind not in one["half"]:
        return "-"
    return (
        " / ".join(f"{median(each[f'{name}_ms'] for each in one['half'][kind]):.2f}" for name in ("p50", "p99")) + " ms"
    )


def _memory(one: Result) -> str:
    if "memory" not in one:
        return "-"
    part = one["memory"]
    return f"{part['before_mib']:.0f} / {part['open_mib']:.0f} MiB ({part['per_stream_kib']:.0f} KiB each)"
