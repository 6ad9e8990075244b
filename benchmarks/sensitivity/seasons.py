"""`python -m benchmarks.sensitivity.seasons`: what it is worth to know the days before.

Made-up traffic of four days, two of work, one off, one of work: our policy as it is, and the same policy that forgets
the days before at every tick. Shown by day: attainment, also of the quarter of an hour after the step of nine o'clock,
and GPU-hours. Fails when a day that is like the one before it attains less than without, or when the day off costs
more than it may.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from typing import Any, Final

import numpy as np
from benchmarks.robustness.page import command, keep, write

from penstock_contract.profile import load_profile
from penstock_lab.simulate import oracle
from penstock_lab.simulate.policies import registry
from penstock_lab.simulate.policies.base import Glance
from penstock_lab.simulate.policies.penstock import Penstock
from penstock_lab.simulate.score import Objectives, feasible, met
from penstock_lab.simulate.state import Requests
from penstock_lab.simulate.synthetic import DAY_OFF, WORKDAYS, Synthetic
from penstock_lab.simulate.world import Run, Setting, World

MOST_FOR_A_DAY_OFF: Final = 1.10  # GPU-hours over those without the days before
LEAST_GAIN: Final = 0.0  # of attainment on a day that is like the one before
_PROFILE: Final = load_profile("llama70b-fp8-tp4-h100")
_OBJECTIVES: Final = Objectives()
_REPLICAS: Final = 3.0  # fluid, where the shape says 1
_PROMPT, _OUTPUT = 2000.0, 800.0
_MOST: Final = 60
_BEGIN: Final = 4
_DAY: Final = 86_400.0
_STEP_SECONDS: Final = (9 * 3600.0, 9.25 * 3600.0)


class Forgetful:
    """Ours, which forgets the days before."""

    name = "penstock-forgetful"

    def __init__(self, ours: Penstock) -> None:
        self._ours = ours
        self.period_seconds = ours.period_seconds

    def desired(self, glance: Glance) -> int:
        """The decided count."""
        count = self._ours.desired(glance)
        self._ours.memory = replace(self._ours.memory, season=None)
        return count


def trial(seed: int, startup: float, knows: bool, days: int) -> list[dict[str, Any]]:
    """One run: a row for each day."""
    traffic = Synthetic(shape="workdays", rate=_rate(), prompt=_PROMPT, output=_OUTPUT, seed=seed)
    requests = replace(traffic, seconds=days * _DAY).columns()
    ours = registry.build(registry.OURS, profile=_PROFILE, objectives=_OBJECTIVES, minimum=1, maximum=_MOST)
    assert isinstance(ours, Penstock)
    world = Setting(_PROFILE, startup_seconds=startup, initial_replicas=_BEGIN, max_replicas=_MOST, seed=seed)
    run = World(requests, world, ours if knows else Forgetful(ours)).run()
    about = {"seed": seed, "startup_seconds": startup, "knows": knows}
    return [about | {"day": day + 1} | _day(run, requests, day) for day in range(days)]


def _rate() -> float:
    tried = Synthetic(shape="constant", seconds=1200.0, rate=20.0, prompt=_PROMPT, output=_OUTPUT).columns()
    return 20.0 * _REPLICAS / oracle.mean_replicas(tried, _PROFILE, _OBJECTIVES)


def _day(run: Run, requests: Requests, day: int) -> dict[str, float]:
    begin, end = day * _DAY, (day + 1) * _DAY
    first, further, _ = met(run, _OBJECTIVES)
    good, at = first & further, requests.arrival - begin
    counted = feasible(requests, _PROFILE, _OBJECTIVES) & (at >= 0.0) & (at < _DAY)
    step = counted & (at >= _STEP_SECONDS[0]) & (at < _STEP_SECONDS[1])
    held = [
        min(end, run.end if pod.deleted is None else pod.deleted) - max(begin, pod.scheduled)
        for pod in run.pods
        if pod.scheduled is not None
    ]
    return {
        "attainment": float(np.mean(good[counted])),
        "step_attainment": float(np.mean(good[step])),
        "gpu_hours": _PROFILE.accelerators * sum(max(0.0, seconds) for seconds in held) / 3600.0,
    }


def problems(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Where the days before do harm."""
    said, known = [], {_name(row): row for row in rows}
    for (seed, startup, knows, day), row in known.items():
        without = known.get((seed, startup, False, day))
        if not knows or without is None:
            continue
        where = f"start-up {startup:g} s, seed {seed}, day {day}"
        if day == 2 and row["attainment"] - without["attainment"] < LEAST_GAIN:
            said.append(f"{where} attains {row['attainment']:.2%}, {without['attainment']:.2%} without")
        if day == DAY_OFF + 1 and row["gpu_hours"] > MOST_FOR_A_DAY_OFF * without["gpu_hours"]:
            said.append(f"{where} takes {row['gpu_hours']:.0f} GPU-hours, {without['gpu_hours']:.0f} without")
    return said


def _name(row: dict[str, Any]) -> tuple[int, float, bool, int]:
    return row["seed"], row["startup_seconds"], row["knows"], row["day"]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.sensitivity.seasons", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--startups", default="60,180", help="seconds with commas between")
    parser.add_argument("--days", type=int, default=WORKDAYS, help="of the four, the first ones")
    parser.add_argument("--processes", type=int, default=None, help="at the same time; default: one per core")
    options = parser.parse_args()
    startups, begun = [float(one) for one in options.startups.split(",")], time.monotonic()
    wanted = [
        (seed, startup, knows, options.days)
        for startup in startups
        for seed in range(options.seeds)
        for knows in (False, True)
    ]
    with ProcessPoolExecutor(options.processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        rows = [row for found in pool.map(trial, *zip(*wanted, strict=True)) for row in found]
    rows.sort(key=lambda row: (row["startup_seconds"], row["seed"], row["day"], row["knows"]))
    found = {
        "command": command("bench-seasons", sys.argv[1:]),
        "seconds": time.monotonic() - begun,
        "load": os.getloadavg()[0],
        "problems": problems(rows),
        "rows": rows,
    }
    keep("seasons", found)
    print(*rows, *found["problems"], f"Written to {write()}", sep="\n")
    return 1 if found["problems"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
