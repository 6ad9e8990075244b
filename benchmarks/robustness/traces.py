"""Parts of the page on the cases from traces: after an hour of the same traffic, what hindsight takes, one reserve."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from benchmarks.robustness.text import Figures, prose, ran, table

_GOAL: Final = 0.99
_WARM: Final = ("attainment", "anew_attainment", "attainment_with_lead")


def warm(figures: Figures) -> Iterator[str]:
    rows = figures["rows"]
    yield "## After an hour of the same traffic\n"
    yield ran(figures)
    yield prose(
        "In the comparison ours begins each case with nothing learned, and rivals bring what the first halves taught "
        "them. Here the cases come after up to an hour of what their trace has before them, and only the case "
        "is scored, against the same oracle. Reserve that was kept for the hour before is paid for in the case, and "
        "margins that the hour before has brought down meet the steepest stretches; the last column is of that hour "
        "and the case together. No bar was set for this."
    )
    columns = ("start-up", "GPU-hours / oracle", "anew", "`static`", "at 99 %", "anew", "with the hour")
    yield "\n" + table(columns, _warm_means(rows))
    columns = ("case", "start-up", "GPU-hours / oracle", "anew", "attained", "anew", "with the hour")
    lines = [
        (
            row["case"] if not row["seed"] else f"{row['case']} ({row['seed']})",
            f"{row['startup_seconds']:g} s",
            *(f"{row[name] / row['oracle_gpu_hours']:.2f}" for name in ("gpu_hours", "anew_gpu_hours")),
            *(f"{row[name]:.2%}" for name in _WARM),
        )
        for row in rows
    ]
    yield "\n" + table(columns, lines)


def _warm_means(rows: Sequence[Figures]) -> Iterator[tuple[str, ...]]:
    for startup in sorted({row["startup_seconds"] for row in rows}):
        here = [row for row in rows if row["startup_seconds"] == startup]
        ratios = [
            f"{np.mean([row[name] / row['oracle_gpu_hours'] for row in here]):.2f}"
            for name in ("gpu_hours", "anew_gpu_hours", "static_gpu_hours")
        ]
        good = [sum(row[name] >= _GOAL for row in here) for name in _WARM]
        yield (f"{startup:g} s", *ratios, *(f"{count} of {len(here)}" for count in good))


def hindsight(figures: Figures) -> Iterator[str]:
    """What a reactive policy would take whose settings are chosen for each case afterwards."""
    rows = figures["rows"]
    yield "## What hindsight would take\n"
    yield ran(figures)
    yield prose(
        "How near to the oracle can a policy come that does not know the future? A reactive one that no service can "
        "run: it sees the true work of what arrives, output lengths included, at once, and a replica's true capacity. "
        "It asks for the load of the last half minute times a factor, carries the change of the last start-up on or "
        "does not, and keeps the most of a window (0, 120 or 600 s). Factor, trend and window are those that turn out "
        "cheapest of all that attain 99 %, for each case by itself; `static` is chosen the same way. What even the "
        "cheaper of the two takes is the case's own, not the price of learning. GPU-hours over the oracle's:"
    )
    columns = (
        "start-up",
        "reactive",
        "`static`",
        "the cheaper of both",
        "ours, begun anew",
        "ours no dearer",
    )
    lines = []
    for startup in sorted({row["startup_seconds"] for row in rows}):
        here = [row for row in rows if row["startup_seconds"] == startup]
        means = [np.mean([_over(row, name) for row in here]) for name in _HINDSIGHT]
        least = np.mean([_least(row) for row in here])
        wins = sum(_over(row, "anew_gpu_hours") <= _least(row) for row in here)
        reactive, static, ours = (f"{mean:.2f}" for mean in means)
        lines.append((f"{startup:g} s", reactive, static, f"{least:.2f}", ours, f"{wins} of {len(here)}"))
    yield "\n" + table(columns, lines)
    columns = (
        "case",
        "start-up",
        "reactive",
        "factor",
        "trend",
        "window",
        "`static`",
        "ours",
        "attained",
    )
    lines = [
        (
            row["case"] if not row["seed"] else f"{row['case']} ({row['seed']})",
            f"{row['startup_seconds']:g} s",
            f"{_over(row, 'gpu_hours'):.2f}" if "factor" in row else "-",
            f"{row['factor']:.2f}" if "factor" in row else "-",
            "yes" if row.get("trend") else "no",
            f"{row['window_seconds']:g} s" if "factor" in row else "-",
            *(f"{_over(row, name):.2f}" for name in _HINDSIGHT[1:]),
            f"{row['anew_attainment']:.2%}",
        )
        for row in rows
    ]
    yield "\n" + table(columns, lines)


_HINDSIGHT: Final = ("gpu_hours", "static_gpu_hours", "anew_gpu_hours")


def _over(row: Figures, name: str) -> float:
    """GPU-hours over the oracle's; of `static` where the reactive policy attains with no factor."""
    return float(row.get(name, row["static_gpu_hours"]) / row["oracle_gpu_hours"])


def _least(row: Figures) -> float:
    return min(_over(row, name) for name in _HINDSIGHT[:2])


def reserve(figures: Figures) -> Iterator[str]:
    """What the same policy takes and attains with one choice of settings for all cases."""
    yield "## What one reserve for all would take\n"
    yield ran(figures)
    yield prose(
        "The reactive policy of the part before, with perfect knowledge of the moment, but one factor (in steps of a "
        "tenth), trend and window for every case, as a configuration is. Of all choices those that answer a question: "
        "the cheapest with which every trace attains 99 %; the most traces that attain at no more GPU-hours over the "
        "oracle's than the bar; and for each step, of which nothing speaks before it is there, the most that is "
        "attained by whoever takes no more on the traces than ours, and the least that it takes on the traces to "
        "attain it. *Ours* is begun anew, has one configuration too, and has to learn what the other is told. "
        "Seed 0; means over the traces."
    )
    columns = ("start-up, question", "GPU-hours / oracle", "traces at 99 %", "least", "step3", "step10", "settings")
    yield "\n" + table(columns, [_choice(row) for row in figures["rows"]])


def _choice(row: Figures) -> tuple[str, ...]:
    settings = "-"
    if "factor" in row:
        settings = f"{row['factor']:.2f}, {row['window_seconds']:g} s" + (", trend" if row["trend"] else "")
    name = f"**{row['question']}**" if row["question"] == "ours" else row["question"]
    return (
        f"{row['startup_seconds']:g} s, {name}",
        f"{row['ratio']:.2f}",
        f"{row['attain']} of {row['traces']}",
        *(f"{row[name]:.2%}" if name in row else "-" for name in ("least", "step3", "step10")),
        settings,
    )
