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

from benchmarks.capacity.cases import cases
from benchmarks.capacity.compare import compare
from benchmarks.capacity.page import write


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
