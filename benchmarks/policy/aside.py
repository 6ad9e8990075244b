"""Benchmarks beside the comparison, on its cases from traces: each case is a row of figures, kept for the page."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any

from benchmarks.policy.compare import MAX_REPLICAS
from benchmarks.policy.pool import RUNS, named_round
from benchmarks.policy.store import Store
from benchmarks.policy.traffic import OBJECTIVES, PROFILE, Stretch, hours, late, stretches
from benchmarks.robustness.page import command, keep, write

from penstock_lab.simulate.bout import ORACLE, STATIC
from penstock_lab.simulate.policies import registry
from penstock_lab.simulate.world import Setting

Row = dict[str, Any]


def held() -> dict[str, Stretch]:
    """The cases from traces, by name."""
    return {one.name: one for one in (*stretches("held"), *hours("held"), *late("held"))}


def known(name: str, startup: float, seed: int) -> tuple[Row, Setting] | None:
    """What the comparison has of a case, and its world; None without kept runs of today's code."""
    store, one = Store(RUNS), named_round(name, startup, seed)
    kept = {policy: store.find(one.key(policy)) or {} for policy in (ORACLE, STATIC, registry.OURS)}
    if any("gpu_hours" not in figures for figures in kept.values()):
        return None
    row = {
        "case": name,
        "startup_seconds": startup,
        "seed": seed,
        "oracle_gpu_hours": kept[ORACLE]["gpu_hours"],
        "static_gpu_hours": kept[STATIC]["gpu_hours"],
        "anew_gpu_hours": kept[registry.OURS]["gpu_hours"],
        "anew_attainment": kept[registry.OURS]["attainment"],
    }
    return row, Setting(
        PROFILE,
        startup_seconds=startup,
        initial_replicas=kept[ORACLE]["initial_replicas"],
        max_replicas=MAX_REPLICAS,
        ttft_seconds=OBJECTIVES.ttft_seconds,
        tpot_seconds=OBJECTIVES.tpot_seconds,
        seed=seed,
    )


def run(
    part: str,
    trial: Callable[[str, float, int], Row | None],
    about: str,
    *,
    more: Sequence[str] = (),
    digest: Callable[[Sequence[Row]], list[Row]] = list,
) -> int:
    """Run every case by the command line, and write the page.

    Args:
        part: of the page; the target is `bench-` and this.
        trial: figures of a case, a start-up and a seed; None where the comparison has not been run.
        about: one sentence for the help.
        more: cases beside those from traces.
        digest: what is kept of the figures of all cases, which come in order.
    """
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.policy.{part}", description=about)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--startups", default="60,180", help="seconds with commas between")
    parser.add_argument("--cases", help="names with commas between; default: all")
    parser.add_argument("--processes", type=int, default=None, help="at the same time; default: one per core")
    options = parser.parse_args()
    names = [*held(), *more] if options.cases is None else options.cases.split(",")
    startups, begun = [float(one) for one in options.startups.split(",")], time.monotonic()
    wanted = [(name, startup, seed) for seed in range(options.seeds) for name in names for startup in startups]
    rows = []
    with ProcessPoolExecutor(options.processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        tasks = [pool.submit(trial, *one) for one in wanted]
        for number, task in enumerate(as_completed(tasks), 1):
            if (row := task.result()) is not None:
                rows.append(row)
                print(f"{time.monotonic() - begun:6.0f} s  {number} of {len(tasks)}: {str(row)[:400]}", flush=True)
    if missing := len(wanted) - len(rows):
        print(f"{missing} cases have no kept runs of today's code: make bench-policy first", file=sys.stderr)
        return 1
    rows.sort(key=lambda row: wanted.index((row["case"], row["startup_seconds"], row["seed"])))
    keep(
        part,
        {
            "command": command(f"bench-{part}", sys.argv[1:]),
            "seconds": time.monotonic() - begun,
            "load": os.getloadavg()[0],
            "rows": digest(rows),
        },
    )
    print(f"Written to {write()}")
    return 0
