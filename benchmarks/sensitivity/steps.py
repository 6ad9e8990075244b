"""`python -m benchmarks.sensitivity.steps`: how long capacity takes after the load has become three times as much.

The need is the fewest replicas that attain at the new rate when they never change, found by simulation. Measured is
from the step on: until so many are ready, and from there until what waits is gone. Bars: the 90th percentile of the
start-up times of the pods that were asked for, two ticks and a rate window; then two start-ups. Fails when any run
misses one.
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
from penstock_lab.simulate.score import Objectives, score
from penstock_lab.simulate.state import Requests
from penstock_lab.simulate.synthetic import Synthetic
from penstock_lab.simulate.world import WINDOW_SCRAPES, Run, Setting, World

_PROFILE: Final = load_profile("llama70b-fp8-tp4-h100")
_OBJECTIVES: Final = Objectives()
_BASE_REPLICAS: Final = 4.0
_STEP_SECONDS: Final = 1200.0  # before, at and after it: `step3` has it after a third
_MOST: Final = 50
_STEADY_TICKS: Final = 3


def step(seed: int, startup: float) -> dict[str, Any]:
    """One run."""
    rate = _rate()
    requests = Synthetic(shape="step3", seconds=3 * _STEP_SECONDS, rate=rate, seed=seed).columns()
    world = Setting(_PROFILE, startup_seconds=startup, max_replicas=_MOST, seed=seed)
    need = _fewest(Synthetic(shape="constant", seconds=_STEP_SECONDS, rate=3 * rate, seed=seed).columns(), world)
    begin = _fewest(Synthetic(shape="constant", seconds=_STEP_SECONDS, rate=rate, seed=seed).columns(), world)
    policy = registry.build(registry.OURS, profile=_PROFILE, objectives=_OBJECTIVES, minimum=1, maximum=_MOST)
    run = World(requests, replace(world, initial_replicas=begin), policy).run()
    found = measured(run, need, policy.period_seconds, world)
    return {"seed": seed, "startup_seconds": startup, "before": begin, "need": need} | found | {
        "attainment": score(run, _PROFILE, _OBJECTIVES).attainment
    }  # fmt: skip


def _rate() -> float:
    tried = Synthetic(shape="constant", seconds=1200.0, rate=20.0).columns()
    return 20.0 * _BASE_REPLICAS / oracle.mean_replicas(tried, _PROFILE, _OBJECTIVES)


def _fewest(requests: Requests, world: Setting) -> int:
    found = oracle.constant(requests, world, _OBJECTIVES)
    assert found is not None, "the most replicas carry three times the load"
    return found.initial_replicas


def measured(run: Run, need: int, tick: float, world: Setting) -> dict[str, Any]:
    """Seconds to enough capacity and to no backlog, with the bars of both; need in replicas, tick in seconds."""
    points = np.array(run.points)
    at, ready, waiting = points[:, 0], points[:, 2], points[:, 4]
    inside = (at >= _STEP_SECONDS) & (at < 2 * _STEP_SECONDS)
    asked = [pod for pod in run.pods if pod.created >= _STEP_SECONDS and pod.ready is not None]
    taken = [pod.ready - pod.created for pod in asked if pod.created < 2 * _STEP_SECONDS and pod.ready is not None]
    startup = float(np.percentile(taken, 90)) if taken else world.startup_seconds
    bar = startup + 2 * tick + WINDOW_SCRAPES * world.scrape_seconds
    reached = at[inside & (ready >= need)]
    capacity = float(reached[0] - _STEP_SECONDS) if len(reached) else None
    first = at[inside & (points[:, 1] > points[np.flatnonzero(inside)[0], 1])]
    quiet = inside & (waiting <= np.maximum(1.0, ready)) & (at >= (reached[0] if len(reached) else np.inf))
    runs = np.convolve(quiet, np.ones(_STEADY_TICKS), mode="full")[_STEADY_TICKS - 1 :]
    gone = at[np.flatnonzero(runs == _STEADY_TICKS)]
    backlog = float(gone[0] - reached[0]) if len(gone) else None
    return {
        "first_decision_seconds": float(first[0] - _STEP_SECONDS) if len(first) else None,
        "startup_p90_seconds": startup,
        "capacity_seconds": capacity,
        "capacity_bar_seconds": bar,
        "backlog_most": float(waiting[inside].max()),
        "backlog_seconds": backlog,
        "backlog_bar_seconds": 2 * startup,
        "holds": capacity is not None and backlog is not None and capacity <= bar and backlog <= 2 * startup,
    }


def problems(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Which runs miss."""
    return [
        f"start-up {row['startup_seconds']:g} s, seed {row['seed']}" for row in rows if not row["holds"]
    ]  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sensitivity.steps", description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--startups", default="60,180", help="seconds with commas between")
    parser.add_argument("--processes", type=int, default=None, help="at the same time; default: one per core")
    options = parser.parse_args()
    startups, begun = [float(one) for one in options.startups.split(",")], time.monotonic()
    wanted = [(seed, startup) for startup in startups for seed in range(options.seeds)]
    with ProcessPoolExecutor(options.processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        rows = list(pool.map(step, *zip(*wanted, strict=True)))
    found = {
        "command": command("bench-steps", sys.argv[1:]),
        "seconds": time.monotonic() - begun,
        "load": os.getloadavg()[0],
        "problems": problems(rows),
        "rows": rows,
    }
    keep("steps", found)
    print(*rows, f"Written to {write()}", sep="\n")
    return 1 if found["problems"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
