"""What a study leaves: `result.json`, written anew after every run, a table for the terminal, and a report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from statistics import mean
from typing import Any

from penstock_lab.report import Fact, Plot, Report, Series, Table, Threshold
from penstock_lab.report.model import Tone
from penstock_lab.simulate.study import ORACLE, Row, Study

TONES: tuple[Tone, ...] = ("blue", "orange", "green", "purple", "red", "grey")
COLUMNS = (
    "policy", "attainment", "worst 5 min", "TTFT p99", "TPOT p99", "GPU-hours", "/ oracle", "/ bound", "peak",
    "turns/h", "failed",
)  # fmt: skip


def meta(study: Study, command: str) -> dict[str, Any]:
    """How the results came to be."""
    return {
        "command": command,
        "versions": {"penstock": version("penstock"), "numpy": version("numpy"), "numba": version("numba")},
        "profile": study.profile.to_json(),
        "sla": asdict(study.objectives),
        "trace": {
            "file": study.trace.path.name,
            "format": study.trace.format,
            "start": study.trace.start,
            "end": study.trace.end,
        },
        "startup_seconds": study.startup_seconds,
        "startup_cv": study.startup_cv,
        "mean_replicas": study.mean_replicas,
        "rate_scale": study.rate_scale,
        "max_replicas": study.max_replicas,
        "tuned": study.tuned,
    }


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


def table(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """Means over the seeds, a line per policy, best first: who attains, by GPU-hours; then the others."""
    lines: list[tuple[str, ...]] = []
    for name in dict.fromkeys(row.figures["policy"] for row in rows):
        runs = [row.figures for row in rows if row.figures["policy"] == name]
        hours = _mean(runs, "gpu_hours")
        lines.append(
            (
                name,
                _percent(_mean(runs, "attainment")),
                _percent(min((one["worst_window_attainment"] or 0.0) for one in runs)),
                _number(_mean(runs, "ttft_p99_seconds"), "{:.2f} s"),
                _number(_mean(runs, "tpot_p99_seconds"), "{:.3f} s"),
                _number(hours, "{:.1f}"),
                _ratio(runs, "oracle_gpu_hours"),
                _ratio(runs, "lower_bound_gpu_hours"),
                str(max(one["peak_replicas"] for one in runs)),
                _number(_mean(runs, "reversals_per_hour"), "{:.1f}"),
                str(sum(one["failed"] for one in runs)),
            )
        )
    return lines


def report(study: Study, rows: Sequence[Row]) -> Report:
    """The page: what was asked for and what each policy made of it."""
    shown = [row for row in rows if row.points]
    tones = {row.figures["policy"]: TONES[number % len(TONES)] for number, row in enumerate(shown)}
    any_run = rows[0].figures if rows else {}
    plots = []
    if shown:
        plots = [
            Plot(
                "Offered load",
                "requests/s",
                [Series("offered", [(point[0], point[3]) for point in shown[0].points], tone="grey")],
            ),
            Plot(
                "Replicas asked for",
                "replicas",
                [
                    Series(
                        row.figures["policy"], [(point[0], point[1]) for point in row.points], "step", _tone(tones, row)
                    )
                    for row in shown
                ],
            ),
            Plot(
                "Time to first token, 99th percentile of each minute",
                "s",
                [Series(row.figures["policy"], row.latency, tone=_tone(tones, row)) for row in shown],
                thresholds=[Threshold("objective", study.objectives.ttft_seconds)],
                logarithmic=True,
            ),
        ]
    return Report(
        title=f"Simulation of {study.trace.path.name}",
        lead=(
            f"{any_run.get('requests', 0):,} requests on replicas like {study.profile.name}; start-up "
            f"{study.startup_seconds:g} s; {study.seeds} seeds; "
            f"objectives: TTFT {study.objectives.ttft_seconds:g} s and TPOT {study.objectives.tpot_seconds:g} s "
            f"for {study.objectives.attainment:.1%} of the feasible requests."
        ),
        banner="SIMULATED: no request was sent; times come from the profile's step model",
        facts=[
            Fact(_number(any_run.get("lower_bound_gpu_hours"), "{:.1f}"), "GPU-hours, fluid lower bound"),
            Fact(_number(any_run.get("oracle_gpu_hours"), "{:.1f}"), "GPU-hours, clairvoyant plan"),
            Fact(_percent(any_run.get("infeasible")), "of requests no idle replica serves in time: left out"),
        ],
        plots=plots,
        tables=[
            Table("Policies", COLUMNS, table(rows), note="Means over the seeds; the worst window is the worst seed's.")
        ],
        data={"runs": [row.figures for row in rows]},
    )


def _tone(tones: dict[str, Tone], row: Row) -> Tone:
    return "grey" if row.figures["policy"] == ORACLE else tones[row.figures["policy"]]


def _mean(runs: Sequence[dict[str, Any]], key: str) -> float | None:
    values = [one[key] for one in runs if one[key] is not None]
    return mean(values) if values else None


def _ratio(runs: Sequence[dict[str, Any]], key: str) -> str:
    ratios = [one["gpu_hours"] / one[key] for one in runs if one[key]]
    return f"{mean(ratios):.2f}" if ratios else "-"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}"
