"""The report of the live runs: a page, a picture and the tables as Markdown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from penstock_lab.report import Mark, Plot, Report, Series, Span, Table, Threshold, write_html, write_png
from penstock_lab.report.model import Tone

from .faults import Fault
from .result import Hurt, Row, Seen
from .scenario import OBJECTIVES, PROFILE, Load

TONES: tuple[Tone, ...] = ("blue", "orange", "green", "purple")
_BANNER = "EMULATED DEVICE: real scalers, real control plane, real requests; the time of a step comes from a profile"
_PLANS = ("oracle_gpu_hours", "lower_bound_gpu_hours")
_REACTION = ("policy", "decided after", "one more serves after", "first tokens in time again after")
_HURT = ("fault", "policy", "asked before", "lowest", "scale-downs", "scale-ups", "attainment until the next")
_COLUMNS = (
    "policy", "attainment", "first token", "per token", "worst 5 min", "TTFT p50", "TTFT p99", "TPOT p99", "GPU-hours",
    "/ oracle", "/ bound", "peak", "turns/h", "failed", "killed",
)  # fmt: skip


def write(
    out: Path,
    *,
    title: str,
    load: Load,
    seen: Sequence[Seen],
    simulated: Sequence[Row],
    machine: dict[str, Any],
    faults: Sequence[Fault] = (),
    hurt: Sequence[Hurt] = (),
) -> list[Table]:
    """Write `result.json`, `report.html`, `report.png` and `tables.md`.

    Args:
        out: folder; exists.
        title: of the report.
        load: what was sent.
        seen: contestants.
        simulated: the same in the simulator.
        machine: how the machine and the emulation kept up.
        faults: that were made.
        hurt: what they did.

    Returns:
        The tables.
    """
    rows = [*(one.row for one in seen), *simulated]
    tables = [Table("Policies", _COLUMNS, [_line(row.figures) for row in rows])]
    if hurt:
        tables.append(_hurt(hurt))
    elif load.burst_at is not None:
        tables.append(_reactions(seen, load.burst_at))
    result = {
        "meta": {
            "load": load.name,
            "seconds": load.workload.seconds,
            "burst_at": load.burst_at,
            "profile": PROFILE.to_json(),
            "sla": asdict(OBJECTIVES),
            "machine": machine,
            "faults": [asdict(fault) for fault in faults],
        },
        "runs": [*(one.to_json() for one in seen), *(row.figures for row in simulated)],
        "hurt": [asdict(one) for one in hurt],
        "points": {one.contestant.name: one.row.points for one in seen},
    }
    (out / "result.json").write_text(json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    made = Report(
        title=title,
        lead=f"{len(load.workload)} requests to each at the same time, {load.name}. {machine['sentence']}",
        banner=_BANNER,
        plots=_plots(seen),
        spans=[Span(fault.name, fault.begin, fault.end) for fault in faults],
        marks=[] if load.burst_at is None else [Mark("load rises", load.burst_at)],
        tables=tables,
        data=result,
    )
    write_html(made, out / "report.html")
    write_png(made, out / "report.png")
    (out / "tables.md").write_text("\n".join(markdown(table) for table in tables), encoding="utf-8")
    return tables


def markdown(table: Table) -> str:
    """A table as Markdown."""
    head = f"| {' | '.join(table.columns)} |\n|---|{'--:|' * (len(table.columns) - 1)}\n"
    return f"### {table.title}\n\n{head}" + "".join(f"| {' | '.join(row)} |\n" for row in table.rows)


def _plots(seen: Sequence[Seen]) -> list[Plot]:
    tones = dict(zip((one.contestant.name for one in seen), TONES, strict=False))

    def series(column: int, kind: Any = "step") -> list[Series]:
        return [
            Series(
                one.contestant.name,
                [(point[0], point[column]) for point in one.row.points],
                kind,
                tones[one.contestant.name],
            )
            for one in seen
        ]

    offered = [Series("offered", [(point[0], point[3]) for point in seen[0].row.points], "step", "grey")]
    latency = [Series(one.contestant.name, one.row.latency, tone=tones[one.contestant.name]) for one in seen]
    limit = [Threshold("objective", OBJECTIVES.ttft_seconds)]
    return [
        Plot("Offered load", "requests/s", offered),
        Plot("Replicas asked for (spec.replicas)", "replicas", series(1)),
        Plot("Replicas that serve", "replicas", series(2)),
        Plot("Requests without a first token", "requests", series(4)),
        Plot("Time to first token, 99th percentile by arrival", "s", latency, limit, logarithmic=True),
    ]


def _line(found: dict[str, Any]) -> tuple[str, ...]:
    hours = found["gpu_hours"]
    return (
        found["policy"],
        *(_share(found[f"attainment{part}"]) for part in ("", "_ttft", "_tpot")),
        _share(found["worst_window_attainment"]),
        _number(found["ttft_p50_seconds"], ".2f", " s"),
        _number(found["ttft_p99_seconds"], ".2f", " s"),
        _number(found["tpot_p99_seconds"], ".3f", " s"),
        f"{hours:.3f}",
        *("-" if not found[key] else f"{hours / found[key]:.2f}" for key in _PLANS),
        str(found["peak_replicas"]),
        f"{found['reversals_per_hour']:.1f}",
        str(found["failed"]),
        str(found["killed_in_flight"]),
    )


def _share(value: float | None) -> str:
    return _number(value, ".2%")


def _number(value: float | None, form: str, unit: str = "") -> str:
    return "-" if value is None else format(value, form) + unit


def _reactions(seen: Sequence[Seen], burst: float) -> Table:
    lines = [
        (one.contestant.name, *(_seconds(value) for value in asdict(one.reaction).values()))
        for one in seen
        if one.reaction is not None
    ]
    return Table(f"After the rise at {burst:.0f} s", _REACTION, lines)


def _hurt(found: Sequence[Hurt]) -> Table:
    lines = [
        (
            one.fault,
            one.contestant,
            str(one.before),
            str(one.lowest),
            str(one.downs),
            str(one.ups),
            "-" if one.attainment is None else f"{one.attainment:.1%}",
        )
        for one in found
    ]
    return Table("Faults", _HURT, lines)


def _seconds(value: float | None) -> str:
    if value is None:
        return "not before the end"
    return f"{value:.0f} s" if value >= 0 else f"{-value:.0f} s before"
