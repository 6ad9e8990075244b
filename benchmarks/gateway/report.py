"""From the raw result to the table that people read, and to what is not as it should be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from statistics import median
from typing import Any, Final

GOAL_MS: Final = 2.0
# Half of the most that the gateway keeps up with, and of what it does for clients that ask again at once.
LOADS: Final = {"half": "half load", "half_pressed": "half of requests/s"}
Result = dict[str, Any]


def summary(result: Result) -> dict[str, dict[str, float]]:
    """Added latency in ms, by target: median over rounds of the difference to direct in the same round."""
    return {
        name: {
            f"{load}_{kind}_{percentile}": round(median(_added(result, name, load, kind, percentile)), 3)
            for load in LOADS
            for kind in target[load]
            for percentile in ("p50", "p99")
        }
        for name, target in result["targets"].items()
        if name != "direct"
    }


def _added(result: Result, name: str, load: str, kind: str, percentile: str) -> list[float]:
    """By round."""
    here, there = (result["targets"][one][load][kind] for one in (name, "direct"))
    return [mine[f"{percentile}_ms"] - plain[f"{percentile}_ms"] for mine, plain in zip(here, there, strict=True)]


def problems(result: Result) -> list[str]:
    """Where the goal is missed."""
    added = result["summary"]["gateway"]
    return [
        f"{kind} are {added[f'half_{kind}_p99']:.2f} ms later in the 99th percentile, the goal is {GOAL_MS:g} ms"
        for kind in ("requests", "chunks")
        if added[f"half_{kind}_p99"] >= GOAL_MS
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
        ("requests/s at their own times, the most", lambda one: _kept(result, one)),
        *(row for load in LOADS for row in _whole(result, load)),
        (f"chunk at {result['half_streams']:,} streams of 40/s, p50 / p99", lambda one: _times(one, "half", "chunks")),
        ("memory, idle / with 2,000 open streams", _memory),
    ]
    lines = ["| | " + " | ".join(names) + " |", "|---|" + "---:|" * len(names)]
    lines += [
        f"| {label} | " + " | ".join(show(result["targets"][name]) for name in names) + " |" for label, show in rows
    ]
    added = result["summary"]
    for load, kind in (*((load, "requests") for load in LOADS), ("half", "chunks")):
        key = f"{load}_{kind}"
        cells = [
            f"{added[name][f'{key}_p50']:.2f} / {added[name][f'{key}_p99']:.2f} ms"
            if f"{key}_p99" in added.get(name, {})
            else "-"
            for name in names
        ]
        lines.append(f"| added to {kind} at {LOADS[load]}, p50 / p99 | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _kept(result: Result, one: Result) -> str:
    if one is not result["targets"]["gateway"]:
        return "-"
    return f"{median(each['kept'] for each in result['rounds']):,.0f}"


def _whole(result: Result, load: str) -> Iterator[tuple[str, Callable[[Result], str]]]:
    """Rows about whole replies under a load."""
    rate = median(each["kept" if load == "half" else "pressed"] for each in result["rounds"]) / 2
    yield f"whole reply at {rate:,.0f} requests/s, p50 / p99", lambda one: _times(one, load, "requests")
    yield "its core meanwhile: busy / waited for", lambda one: _core(one, load)


def _number(part: dict[str, float], key: str, unit: str = "") -> str:
    return f"{part[key]:,}{unit}" if key in part else "-"


def _core(one: Result, load: str) -> str:
    rounds = one[load]["requests"]
    if "busy" not in rounds[0]:
        return "-"
    return " / ".join(f"{median(each[name] for each in rounds):.0%}" for name in ("busy", "waited"))


def _times(one: Result, load: str, kind: str) -> str:
    if kind not in one[load]:
        return "-"
    rounds = one[load][kind]
    return " / ".join(f"{median(each[f'{name}_ms'] for each in rounds):.2f}" for name in ("p50", "p99")) + " ms"


def _memory(one: Result) -> str:
    if "memory" not in one:
        return "-"
    part = one["memory"]
    return f"{part['before_mib']:.0f} / {part['open_mib']:.0f} MiB ({part['per_stream_kib']:.0f} KiB each)"
