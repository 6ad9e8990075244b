"""`python -m benchmarks.policy.reserve`: what one reserve for all cases would take, and what it would attain on steps.

The policy of `hindsight` once more, which sees the true work of what arrives and knows a replica's true capacity. There
its factor, trend and window are chosen for each case afterwards, which no configuration does. Here all cases get the
same: what is the cheapest with which every trace attains, what attains with the GPU-hours of a bar, and what has to be
kept on the traces so that a step is met that gives no sign? Needs the kept oracles of `benchmarks.policy`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import numpy as np
from benchmarks.policy import aside
from benchmarks.policy.hindsight import WINDOWS, Knowing, Load, begin
from benchmarks.policy.page import BARS
from benchmarks.policy.traffic import OBJECTIVES, PROFILE

from penstock_lab.simulate.score import score
from penstock_lab.simulate.world import World

_FACTORS: Final = tuple(0.9 * 1.1**step for step in range(16))  # to 3.8
CHOICES: Final = [(factor, trend, window) for window in WINDOWS for trend in (False, True) for factor in _FACTORS]
STEPS: Final = ("step3", "step10")


def trial(name: str, startup: float, seed: int) -> aside.Row | None:
    """Attainment and GPU-hours over the oracle's with every choice, of one case; None without a kept oracle."""
    begun = begin(name, startup, seed)
    if begun is None:
        return None
    row, setting, requests = begun
    load, attained, ratios = Load(requests), [], []
    for factor, trend, window in CHOICES:
        policy = Knowing(load, factor=factor, trend=trend, window_seconds=window, startup_seconds=startup)
        found = score(World(requests, setting, policy).run(), PROFILE, OBJECTIVES)
        attained.append(found.attainment)
        ratios.append(found.gpu_hours / row["oracle_gpu_hours"])
    return row | {"attained": attained, "ratios": ratios}


def digest(rows: Sequence[aside.Row]) -> list[aside.Row]:
    """For each start-up ours, and of all choices those that answer the questions."""
    kept: list[aside.Row] = []
    for startup in sorted({row["startup_seconds"] for row in rows}):
        here = [row for row in rows if row["startup_seconds"] == startup]
        anew = [(row["anew_attainment"], row["anew_gpu_hours"] / row["oracle_gpu_hours"]) for row in here]
        ours = _of_all(here, anew)
        choices = [
            {"factor": factor, "trend": trend, "window_seconds": window}
            | _of_all(here, [(row["attained"][which], row["ratios"][which]) for row in here])
            for which, (factor, trend, window) in enumerate(CHOICES)
        ]
        for question, found in [("ours", ours), *_answers(choices, ours, BARS.get(startup))]:
            kept.append({"startup_seconds": startup, "question": question, **found})
    return kept


def _of_all(rows: Sequence[aside.Row], pairs: Sequence[tuple[float, float]]) -> aside.Row:
    """What one choice comes to over the cases of a start-up: the traces' mean ratio and attainment, and each step's."""
    traces = [pair for row, pair in zip(rows, pairs, strict=True) if row["case"] not in STEPS]
    steps = {row["case"]: attained for row, (attained, _) in zip(rows, pairs, strict=True) if row["case"] in STEPS}
    return {
        "ratio": float(np.mean([ratio for _, ratio in traces])),
        "attain": sum(attained >= OBJECTIVES.attainment for attained, _ in traces),
        "traces": len(traces),
        "least": min(attained for attained, _ in traces),
        **steps,
    }


def _answers(choices: Sequence[aside.Row], ours: aside.Row, bar: float | None) -> Iterator[tuple[str, aside.Row]]:
    """Each question that a choice answers, with the best answer."""
    asked = [("every trace attains", _cheapest(one for one in choices if one["attain"] == one["traces"]))]
    if bar is not None:
        asked.append((f"most traces attain at {bar:g}", _most(choices, "attain", bar)))
    for step in [name for name in STEPS if name in ours]:
        asked.append((f"{step} no dearer than ours", _most(choices, step, ours["ratio"])))
        asked.append((f"{step} attains", _cheapest(one for one in choices if one[step] >= OBJECTIVES.attainment)))
    for question, found in asked:
        if found is not None:
            yield question, found


def _cheapest(choices: Iterable[aside.Row]) -> aside.Row | None:
    return min(choices, key=lambda one: float(one["ratio"]), default=None)


def _most(choices: Sequence[aside.Row], name: str, ratio: float) -> aside.Row | None:
    """Of those that take no more GPU-hours, the one with the most of something."""
    allowed = [one for one in choices if one["ratio"] <= ratio]
    return max(allowed, key=lambda one: (one[name], -one["ratio"]), default=None)


if __name__ == "__main__":
    about = "What one reserve for all cases would take, and what it would attain on steps."
    raise SystemExit(aside.run("reserve", trial, about, more=STEPS, digest=digest))
