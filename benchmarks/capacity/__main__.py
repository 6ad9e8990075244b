"""`python -m benchmarks.capacity`: the capacity that the policy computes beside what simulated replicas carry.

For each replica, mix of requests, count and SLA the largest Poisson load is looked for that constant replicas carry at
99 %. Beside it stand two figures of the policy: from the true step model, and from what it learned in ten minutes at
60 % of that load. Writes `docs/evidence/capacity.md`.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.capacity.cases import OBJECTIVES, Case, cases
from benchmarks.capacity.computed import LEARNING_LOAD, learned, with_true_model
from benchmarks.capacity.page import write
from benchmarks.capacity.simulated import Replicas


def compare(case: Case) -> list[dict[str, Any]]:
    """All SLAs of one case."""
    replicas, rows = Replicas(case), []
    for name, objectives in OBJECTIVES.items():
        true = with_true_model(case, objectives)
        hint = true or 100.0
        simulated = replicas.carries(objectives, hint=hint)
        seen, memory = learned(case, objectives, load=LEARNING_LOAD * simulated)
        rows.append(
            {
                "profile": case.profile,
                "mix": case.mix.name,
                "replicas": case.replicas,
                "sla": name,
                "simulated": simulated,
                "true": true,
                "learned": seen,
                "bound": "FirstToken" if seen is not None and seen == memory.first_token else "other",
            }
        )
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.capacity", description=__doc__.split("\n")[0])
    parser.add_argument("--requests", type=int, default=6000, help="of each simulation, at least")
    parser.add_argument("--processes", type=int, default=None, help="at the same time; default: one per core")
    options = parser.parse_args()
    begun, rows, path = time.monotonic(), list[dict[str, Any]](), Path()
    with ProcessPoolExecutor(options.processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        for found in pool.map(compare, cases(options.requests)):
            rows += found
            print(*found, sep="\n", flush=True)
            took = time.monotonic() - begun
            path = write({"arguments": sys.argv[1:], "seconds": took, "cores": os.cpu_count(), "rows": rows})
    print(f"{time.monotonic() - begun:.0f} s; written to {path}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
