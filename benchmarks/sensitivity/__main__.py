"""`python -m benchmarks.sensitivity`: a hundred worlds drawn at random, our policy on each, the worst shown with why.

Fails on a crash, on replicas that run away from what the oracle needs, and on a memory that is too large or grows.
How well the policy does is no bar here: it is shown.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any, Final

from benchmarks.robustness.page import command, keep, write
from benchmarks.sensitivity.configurations import MOST_REPLICAS
from benchmarks.sensitivity.trial import trial

MOST_MEMORY_BYTES: Final = 32_768
MOST_MEMORY_GROWTH_BYTES: Final = 4096
RUNAWAY: Final = 4.0
_SMALL_FLEET: Final = 5


def problems(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What must never happen."""
    said = []
    for row in rows:
        where = f"configuration {row['seed']} ({row['shape']}, start-up {row['startup_seconds']} s)"
        if row["crash"]:
            said.append(f"{where} crashed: {row['crash'].strip().splitlines()[-1]}")
            continue
        most = RUNAWAY * max(_SMALL_FLEET, row["oracle_peak"] or MOST_REPLICAS)
        if row["peak"] > most:
            said.append(f"{where} asked for {row['peak']} replicas, the oracle for {row['oracle_peak']}")
        if row["memory_bytes"] > MOST_MEMORY_BYTES or row["memory_growth_bytes"] > MOST_MEMORY_GROWTH_BYTES:
            said.append(f"{where} remembers {row['memory_bytes']:,} bytes, {row['memory_growth_bytes']:+,} late")
    return said


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sensitivity", description=__doc__.split("\n")[0])
    parser.add_argument("--configurations", type=int, default=100)
    parser.add_argument("--first", type=int, default=0, help="seed of the first")
    parser.add_argument("--processes", type=int, default=None, help="at the same time; default: one per core")
    options = parser.parse_args()
    seeds, begun = range(options.first, options.first + options.configurations), time.monotonic()
    rows = []
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.processes, mp_context=context) as pool:
        tasks = [pool.submit(trial, seed) for seed in seeds]
        for number, task in enumerate(as_completed(tasks), 1):
            row = task.result()
            rows.append(row)
            found = row["crash"] or f"{row['attainment']:.2%} of {row['asked']:.0%}, {row['gpu_hours']:.1f} GPU-hours"
            print(
                f"{time.monotonic() - begun:6.0f} s  {number} of {len(tasks)}: {row['seed']} {row['shape']}: {found}",
                flush=True,
            )
    rows.sort(key=lambda row: row["seed"])
    found = {
        "command": command("bench-sensitivity", sys.argv[1:]),
        "seconds": time.monotonic() - begun,
        "load": os.getloadavg()[0],
        "problems": problems(rows),
        "rows": rows,
    }
    keep("sensitivity", found)
    print(*found["problems"], f"Written to {write()}", sep="\n")
    return 1 if found["problems"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
