"""`python -m benchmarks.policy.replicas`: the steepest stretches on other replicas, and with other objectives.

The comparison has one replica and one pair of objectives; a policy could fit them. Here the same traffic, scaled to the
same fluid mean, meets all reference replicas, smaller token budgets of a step, and a tighter and a looser SLA. Ours as
it ships, begun anew, before either gateway, beside the oracle of the same world. No bar was set.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from typing import Any, Final

import numpy as np
from benchmarks.policy.compare import MAX_REPLICAS
from benchmarks.policy.traffic import OBJECTIVES, TRACES, Stretch, stretches, whole
from benchmarks.robustness.page import command, keep, write

from penstock_contract.profile import Profile, load_profile, reference_names
from penstock_lab.simulate import oracle
from penstock_lab.simulate.policies import registry
from penstock_lab.simulate.policies.base import Policy
from penstock_lab.simulate.scaling import scaled
from penstock_lab.simulate.score import Objectives, score
from penstock_lab.simulate.state import Requests
from penstock_lab.simulate.world import Setting, World

_OTHERS: Final = (
    Objectives(ttft_seconds=1.0, tpot_seconds=0.04, attainment=0.99),
    Objectives(ttft_seconds=5.0, tpot_seconds=0.1, attainment=0.95),
)
_USUAL: Final = "llama70b-fp8-tp4-h100"
_SLOWER: Final = ("llama70b-bf16-tp4-a100", "llama8b-bf16-tp1-l40s")
_STEP_TOKENS: Final = 8192
_WORLDS: Final = (
    *((name, _STEP_TOKENS, OBJECTIVES) for name in reference_names()),
    *((_USUAL, tokens, OBJECTIVES) for tokens in (2048, 512)),
    *((name, _STEP_TOKENS, other) for other in _OTHERS for name in (_USUAL, *_SLOWER)),
)
_MOST_REQUESTS: Final = 1_500_000
_STARTUP_SECONDS: Final = 60.0

Placed = tuple[str, int, Objectives]


def traffic(stretch: Stretch, profile: Profile, objectives: Objectives, seed: int) -> Requests:
    """The stretch, scaled to as much work for these replicas as the comparison has for its own."""
    trace = whole(stretch.trace)
    first, last = np.searchsorted(trace.arrival, [stretch.begin, stretch.end])
    columns = [column[first:last] for column in (trace.arrival, trace.prompt, trace.output, trace.cached)]
    part = Requests(columns[0] - stretch.begin, *columns[1:])
    replicas = next(one.replicas for one in TRACES if one.name == stretch.trace)
    return scaled(part, replicas / max(1e-9, oracle.mean_replicas(part, profile, objectives)), seed=seed)


def trial(part: str, case: str, world: Placed, seed: int) -> dict[str, Any] | None:
    """One case in one world; None where no number of replicas attains, or with too many requests to be run here."""
    name, tokens, objectives = world
    profile = replace(load_profile(name), max_num_batched_tokens=tokens)
    stretch = next(one for one in stretches(part) if one.name == case)
    requests = traffic(stretch, profile, objectives, seed)
    if len(requests) > _MOST_REQUESTS:
        return None
    setting = Setting(
        profile,
        startup_seconds=_STARTUP_SECONDS,
        max_replicas=MAX_REPLICAS,
        ttft_seconds=objectives.ttft_seconds,
        tpot_seconds=objectives.tpot_seconds,
        seed=seed,
    )
    best = oracle.find(requests, setting, objectives)
    if best is None:
        return None
    setting = replace(setting, initial_replicas=min(MAX_REPLICAS, best.initial_replicas))
    found, paced = (
        score(World(requests, replace(setting, paced=paced), _ours(profile, objectives)).run(), profile, objectives)
        for paced in (False, True)
    )
    return {
        "case": case,
        "replica": name,
        "step_tokens": tokens,
        "ttft_seconds": objectives.ttft_seconds,
        "tpot_seconds": objectives.tpot_seconds,
        "asked": objectives.attainment,
        "seed": seed,
        "attainment": found.attainment,
        "gpu_hours": found.gpu_hours,
        "oracle_gpu_hours": best.score.gpu_hours,
        "paced": {"attainment": paced.attainment, "gpu_hours": paced.gpu_hours},
    }


def _ours(profile: Profile, objectives: Objectives) -> Policy:
    return registry.build(registry.OURS, profile=profile, objectives=objectives, minimum=1, maximum=MAX_REPLICAS)


def main() -> int:
    """Every case in every world; the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.policy.replicas", description=__doc__)
    parser.add_argument("--part", choices=("tuning", "held"), default="held", help="half of the traces")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--processes", type=int, default=None, help="at the same time; default: one per core")
    options = parser.parse_args()
    names, begun = [one.name for one in stretches(options.part)], time.monotonic()
    wanted = [(options.part, name, world, seed) for seed in range(options.seeds) for world in _WORLDS for name in names]
    with ProcessPoolExecutor(options.processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        tasks = [pool.submit(trial, *one) for one in wanted]
        rows = []
        for number, task in enumerate(tasks, 1):
            rows.append(task.result())
            print(f"{time.monotonic() - begun:6.0f} s  {number} of {len(tasks)}: {rows[-1]}", flush=True)
    keep(
        "replicas",
        {
            "command": command("bench-replicas", sys.argv[1:]),
            "part": options.part,
            "seconds": time.monotonic() - begun,
            "load": os.getloadavg()[0],
            "without": sum(row is None for row in rows),
            "rows": [row for row in rows if row is not None],
        },
    )
    print(f"Written to {write()}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
