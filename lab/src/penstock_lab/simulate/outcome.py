"""What a study leaves: `result.json`, written anew after every run, and its table.

A row of the table is a policy: means over the seeds, with 95 % bootstrap intervals from three seeds on. The ratios to
the oracle, to the bound and to ours are of the same seed, so they are paired.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from penstock_lab.simulate.interval import Interval, of_mean
from penstock_lab.simulate.policies.registry import OURS
from penstock_lab.simulate.row import Row
from penstock_lab.simulate.study import Study

COLUMNS = (
    "policy", "attainment", "worst 5 min", "TTFT p99", "TPOT p99", "GPU-hours", "/ oracle", "/ bound", "/ ours",
    "peak", "turns/h", "failed",
)  # fmt: skip


def meta(study: Study, command: str) -> dict[str, Any]:
    """How the results came to be."""
    return {
        "command": command,
        "versions": {"penstock": version("penstock"), "numpy": version("numpy"), "numba": version("numba")},
        "profile": study.profile.to_json(),
        "sla": asdict(study.objectives),
        "trace": study.trace.about(),
        "startup_seconds": study.startup_seconds,
        "startup_cv": study.startup_cv,
        "mean_replicas": study.mean_replicas,
        "rate_scale": study.rate_scale,
        "max_replicas": study.max_replicas,
        "price_per_gpu_hour": study.price,
        "max_requests": study.max_requests,
        "gateway": "paced" if study.paced else "plain",
    }


def cut(study: Study, rows: Sequence[Row]) -> str:
    """What to say where a trace had more requests than a run may have; empty where all were replayed."""
    if all(row.figures["requests"] < study.max_requests for row in rows):
        return ""
    return (
        f"Only the first {study.max_requests:,} requests of the trace were replayed; all of it takes a larger "
        "--max-requests, or a smaller --mean-replicas or --rate-scale. --start and --end choose a part."
    )


def write(path: Path, about: dict[str, Any], rows: Sequence[Row]) -> None:
    """`result.json`, in one piece or not at all."""
    text = json.dumps({"meta": about, "runs": [row.figures for row in rows]}, indent=1, allow_nan=False)
    partial = path.with_suffix(".part")
    partial.write_text(text + "\n", encoding="utf-8")
    partial.replace(path)


def known(path: Path, about: dict[str, Any]) -> list[Row]:
    """Runs of the same study that are there already."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    same = {key: value for key, value in about.items() if key != "command"}
    if {key: value for key, value in found.get("meta", {}).items() if key != "command"} != json.loads(json.dumps(same)):
        return []
    return [Row(figures) for figures in found.get("runs", [])]


def names(rows: Sequence[Row], attainment: float) -> list[str]:
    """The policies: who attains first, by GPU-hours; then the others, by attainment."""

    def order(name: str) -> tuple[bool, float]:
        runs = _of(rows, name)
        reached, hours = _mean(runs, "attainment"), _mean(runs, "gpu_hours")
        misses = reached is None or reached.mean < attainment
        return misses, -(reached.mean if reached else 0.0) if misses else (hours.mean if hours else 0.0)

    return sorted(dict.fromkeys(row.figures["policy"] for row in rows), key=order)


def table(rows: Sequence[Row], attainment: float) -> list[tuple[str, ...]]:
    """A line per policy, in the order of `names`."""
    ours = {run["seed"]: run for run in _of(rows, OURS)}
    return [_line(name, _of(rows, name), ours) for name in names(rows, attainment)]


def _line(name: str, runs: Sequence[dict[str, Any]], ours: dict[int, dict[str, Any]]) -> tuple[str, ...]:
    paired = [run | {"ours": ours.get(run["seed"], {}).get("gpu_hours")} for run in runs]
    return (
        name,
        text(_mean(runs, "attainment"), ".2%"),
        text(Interval(min((run["worst_window_attainment"] or 0.0) for run in runs)), ".2%"),
        text(_mean(runs, "ttft_p99_seconds"), ".2f", " s", plain=True),
        text(_mean(runs, "tpot_p99_seconds"), ".3f", " s", plain=True),
        text(_mean(runs, "gpu_hours"), ".1f", plain=True),
        text(_ratio(paired, "oracle_gpu_hours"), ".2f"),
        text(_ratio(paired, "lower_bound_gpu_hours"), ".2f", plain=True),
        text(_ratio(paired, "ours"), ".2f"),
        str(max(run["peak_replicas"] for run in runs)),
        text(_mean(runs, "reversals_per_hour"), ".1f", plain=True),
        str(sum(run["failed"] for run in runs)),
    )


def text(value: Interval | None, form: str, unit: str = "", *, plain: bool = False) -> str:
    """A figure as it is shown; `plain` leaves the interval out."""
    if value is None:
        return "-"
    return (format(value.mean, form) if plain else value.text(form)) + unit


def _of(rows: Sequence[Row], name: str) -> list[dict[str, Any]]:
    return [row.figures for row in rows if row.figures["policy"] == name]


def _mean(runs: Sequence[dict[str, Any]], key: str) -> Interval | None:
    return of_mean([run[key] for run in runs if run[key] is not None])


def _ratio(runs: Sequence[dict[str, Any]], key: str) -> Interval | None:
    return of_mean([run["gpu_hours"] / run[key] for run in runs if run[key]])
