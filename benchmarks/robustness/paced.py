"""The part of the page on what the gateway adds that holds requests so that objectives are kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from benchmarks.robustness.text import Figures, grouped, prose, ran, table

_GOAL: Final = 0.99
_GATEWAYS: Final = ("plain", "paced")
_MADE: Final = ("step3", "step10", "ramp", "diurnal", "onoff", "mixshift", "leak", "gap", "bursts30", "bursts60")
_OURS: Final = "penstock"


def paced(figures: Figures) -> Iterator[str]:
    rows = figures["rows"]
    seeds = len({row["seed"] for row in rows})
    yield "## What the gateway adds that paces\n"
    yield ran(figures)
    yield prose(
        "The comparison is of scaling, so there every policy has a gateway that hands a replica as much as it can "
        "run. The one that ships also keeps to the objectives: a replica gets as many sequences as their time per "
        "token allows, by what answers say, and of those that wait first who can still be in time. Here each policy "
        "has either, all else the same; `bursts30` and `bursts60` are steady loads whose rate is drawn anew every "
        "20 s, with a coefficient of variation of 0.3 and 0.6. Nobody was tuned again. The oracle is that of the plain "
        f"gateway. Seeds: {seeds}; of traces each run is counted, all else are means over the seeds, but for the least "
        "attained and the longest wait."
    )
    columns = ("policy", "start-up", "traces at 99 %", "paced", "GPU-hours / oracle", "paced", "least", "paced")
    yield "\n" + table(columns, list(_means(rows)))
    columns = ("made traffic", "start-up", "attained", "paced", "GPU-hours / oracle", "paced", "slowest first", "paced")
    yield (
        "\n"
        + prose(
            "Ours on made traffic, with the longest that anybody waited for a first token. The simulator sends nobody "
            "away; a real gateway answers 503 to who was held for `routing.holdTimeoutSeconds`, 120 unless it says "
            "otherwise, and 429 to who finds `maxHeldRequests` before:"
        )
        + "\n"
    )
    yield table(columns, list(_made(rows)))
    yield "\n" + prose("The rivals, tuned, on steps and bursts:") + "\n"
    yield table(("policy", *columns[:6]), list(_rivals(rows)))


def _means(rows: Sequence[Figures]) -> Iterator[tuple[str, ...]]:
    for policy in rows[0]["runs"]:
        for startup, here in _by_startup([row for row in rows if row["case"] not in _MADE]):
            runs = [[row["runs"][policy][gateway] for row in here] for gateway in _GATEWAYS]
            yield (
                f"`{policy}`",
                startup,
                *(f"{sum(run['attainment'] >= _GOAL for run in one)} of {len(one)}" for one in runs),
                *(f"{np.mean([_ratio(row, run) for row, run in zip(here, one, strict=True)]):.3f}" for one in runs),
                *(f"{min(run['attainment'] for run in one):.2%}" for one in runs),
            )


def _made(rows: Sequence[Figures]) -> Iterator[tuple[str, ...]]:
    for seeds in _by_case(rows):
        if seeds[0]["case"] in _MADE:
            runs = ([row["runs"][_OURS][gateway] for row in seeds] for gateway in _GATEWAYS)
            waits = (f"{max(run['slowest_first_token_seconds'] for run in one):.0f} s" for one in runs)
            yield (*_figures(seeds, _OURS), *waits)


def _rivals(rows: Sequence[Figures]) -> Iterator[tuple[str, ...]]:
    for policy in rows[0]["runs"]:
        if policy != _OURS:
            for seeds in _by_case(rows):
                if seeds[0]["case"].startswith(("step", "bursts")):
                    yield (f"`{policy}`", *_figures(seeds, policy))


def _figures(seeds: Sequence[Figures], policy: str) -> tuple[str, ...]:
    """Means over the seeds of a case."""
    runs = [[(row, row["runs"][policy][gateway]) for row in seeds] for gateway in _GATEWAYS]
    return (
        seeds[0]["case"],
        f"{seeds[0]['startup_seconds']:g} s",
        *(f"{np.mean([run['attainment'] for _, run in one]):.2%}" for one in runs),
        *(f"{np.mean([_ratio(row, run) for row, run in one]):.2f}" for one in runs),
    )


def _ratio(row: Figures, run: Figures) -> float:
    return float(run["gpu_hours"] / row["oracle_gpu_hours"])


def _by_startup(rows: Sequence[Figures]) -> Iterator[tuple[str, list[Figures]]]:
    for startup in sorted({row["startup_seconds"] for row in rows}):
        yield f"{startup:g} s", [row for row in rows if row["startup_seconds"] == startup]


def _by_case(rows: Sequence[Figures]) -> list[list[Figures]]:
    """The seeds of each case and start-up."""
    return grouped(rows, lambda row: (row["case"], row["startup_seconds"]))
