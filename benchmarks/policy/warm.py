"""`python -m benchmarks.policy.warm`: the cases from traces, with an hour of the same traffic before each.

In the comparison ours begins each case with nothing learned, while rivals bring what the first halves taught them. An
operator that is not new has seen the hour before. Here it has, and only the case itself is scored: the same requests,
the same oracle, attainment of what arrives in it and GPU-hours from its begin. Needs the kept oracles of
`benchmarks.policy`.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any, Final

import numpy as np
from benchmarks.policy.compare import MAX_REPLICAS
from benchmarks.policy.pool import RUNS, named_round
from benchmarks.policy.store import Store
from benchmarks.policy.traffic import OBJECTIVES, PROFILE, Stretch, cut, hours, late, stretches, whole
from benchmarks.robustness.page import command, keep, write

from penstock_lab.simulate.bout import ORACLE, STATIC
from penstock_lab.simulate.policies import registry
from penstock_lab.simulate.scaling import scaled
from penstock_lab.simulate.score import feasible, met
from penstock_lab.simulate.state import Requests
from penstock_lab.simulate.world import Run, Setting, World

LEAD_SECONDS: Final = 3600.0
_ELSE: Final = 1_000_003  # the draws of the hour before are not those of the case


def held() -> dict[str, Stretch]:
    """The cases from traces, by name."""
    return {one.name: one for one in (*stretches("held"), *hours("held"), *late("held"))}


def led(stretch: Stretch, seed: int) -> tuple[Requests, float]:
    """The traffic of a case after as much as there is of the hour before it, and when the case begins."""
    case, trace = cut(stretch, seed), whole(stretch.trace)
    lead = min(LEAD_SECONDS, stretch.begin)
    first, begin, end = np.searchsorted(trace.arrival, [stretch.begin - lead, stretch.begin, stretch.end])
    rows = slice(int(first), int(begin))
    part = Requests(
        trace.arrival[rows] - (stretch.begin - lead), trace.prompt[rows], trace.output[rows], trace.cached[rows]
    )
    before = scaled(part, len(case) / int(end - begin), seed=seed + _ELSE)
    early = before.arrival < lead  # copies are moved by some seconds, a few of them into the case
    columns = [
        np.concatenate([one[early], other])
        for one, other in (
            (before.arrival, case.arrival + lead),
            (before.prompt, case.prompt),
            (before.output, case.output),
            (before.cached, case.cached),
        )
    ]
    return Requests(*columns), lead


def trial(name: str, startup: float, seed: int) -> dict[str, Any] | None:
    """One case, begun anew and after the hour before; None without a kept oracle."""
    store, one = Store(RUNS), named_round(name, startup, seed)
    known = {policy: store.find(one.key(policy)) or {} for policy in (ORACLE, STATIC, registry.OURS)}
    if any("gpu_hours" not in figures for figures in known.values()):
        return None
    requests, lead = led(held()[name], seed)
    setting = Setting(
        PROFILE,
        startup_seconds=startup,
        initial_replicas=known[ORACLE]["initial_replicas"],
        max_replicas=MAX_REPLICAS,
        ttft_seconds=OBJECTIVES.ttft_seconds,
        tpot_seconds=OBJECTIVES.tpot_seconds,
        seed=seed,
    )
    ours = registry.build(registry.OURS, profile=PROFILE, objectives=OBJECTIVES, minimum=1, maximum=MAX_REPLICAS)
    run = World(requests, setting, ours).run()
    return {
        "case": name,
        "startup_seconds": startup,
        "seed": seed,
        "lead_seconds": lead,
        "oracle_gpu_hours": known[ORACLE]["gpu_hours"],
        "static_gpu_hours": known[STATIC]["gpu_hours"],
        "anew_gpu_hours": known[registry.OURS]["gpu_hours"],
        "anew_attainment": known[registry.OURS]["attainment"],
        **scored(run, lead),
    }


def scored(run: Run, begin: float) -> dict[str, float]:
    """Attainment of the requests from `begin` on and of all, and GPU-hours from then on."""
    first, further, _ = met(run, OBJECTIVES)
    possible = feasible(run.requests, PROFILE, OBJECTIVES)
    counted = possible & (run.requests.arrival >= begin)
    held_seconds = sum(
        max(0.0, (run.end if pod.deleted is None else pod.deleted) - max(begin, pod.scheduled))
        for pod in run.pods
        if pod.scheduled is not None
    )
    return {
        "attainment": float(np.mean((first & further)[counted])),
        "attainment_with_lead": float(np.mean((first & further)[possible])),
        "gpu_hours": PROFILE.accelerators * held_seconds / 3600.0,
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.policy.warm", description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--startups", default="60,180", help="seconds with commas between")
    parser.add_argument("--cases", help="names with commas between; default: all that are from traces")
    parser.add_argument("--processes", type=int, default=None, help="at the same time; default: one per core")
    options = parser.parse_args()
    names = list(held()) if options.cases is None else options.cases.split(",")
    startups, begun = [float(one) for one in options.startups.split(",")], time.monotonic()
    wanted = [(name, startup, seed) for seed in range(options.seeds) for name in names for startup in startups]
    rows = []
    with ProcessPoolExecutor(options.processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        tasks = [pool.submit(trial, *one) for one in wanted]
        for number, task in enumerate(as_completed(tasks), 1):
            if (row := task.result()) is not None:
                rows.append(row)
                print(f"{time.monotonic() - begun:6.0f} s  {number} of {len(tasks)}: {row}", flush=True)
    if missing := len(wanted) - len(rows):
        print(f"{missing} cases have no kept runs of today's code: make bench-policy first", file=sys.stderr)
        return 1
    keep(
        "warm",
        {
            "command": command("bench-warm", sys.argv[1:]),
            "seconds": time.monotonic() - begun,
            "load": os.getloadavg()[0],
            "rows": sorted(rows, key=lambda row: wanted.index((row["case"], row["startup_seconds"], row["seed"]))),
        },
    )
    print(f"Written to {write()}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
