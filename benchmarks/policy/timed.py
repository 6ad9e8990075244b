"""How long the first comparison of a trace takes: eight policies with three seeds each, and the oracle of each seed.

It is what `penstock simulate` runs, from reading the trace to the last row, over the cores that there are; nothing that
is kept is used. The bar is eight minutes on two cores for a trace of at most five million requests a seed.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Sequence
from typing import Final

from benchmarks.policy.traffic import OBJECTIVES, PROFILE, folder
from benchmarks.robustness.page import command, keep, write

from penstock_lab.simulate.bout import ORACLE, STATIC, rows
from penstock_lab.simulate.policies import registry
from penstock_lab.simulate.study import File, Study
from penstock_lab.traces.source import Source

TRACE: Final = "azure2024_code_tue_sampled"
BAR_SECONDS: Final = 480.0
SEEDS: Final = 3
MOST_REQUESTS: Final = 5_000_000  # of the bar


def timed(*, arguments: Sequence[str], hours: float, processes: int | None) -> int:
    """Run it, keep the time; 0 when the bar holds.

    Args:
        arguments: that asked for it.
        hours: of the trace, which is scaled to a fluid demand of 10 replicas; a day is cut at five million requests.
        processes: at the same time; None = one per core.
    """
    study = Study(
        trace=File(Source(path=folder() / f"{TRACE}.csv.gz", end=3600 * hours)),
        profile=PROFILE,
        objectives=OBJECTIVES,
        policies=(ORACLE, STATIC, *registry.defaults()),
        seeds=SEEDS,
        max_requests=MOST_REQUESTS,
    )
    begun, load, found = time.monotonic(), os.getloadavg()[0], []
    for row in rows(study, processes=processes):
        found.append(row.figures)
        said = f"{row.figures['policy']}, seed {row.figures['seed']}"
        print(f"{time.monotonic() - begun:6.0f} s  {said}, {row.figures['requests']:,} requests", flush=True)
    seconds = time.monotonic() - begun
    used = resource.getrusage(resource.RUSAGE_CHILDREN if processes != 1 else resource.RUSAGE_SELF)
    wanted = SEEDS * len(study.policies)
    problems = [] if seconds <= BAR_SECONDS else [f"it took {seconds / 60:.1f} minutes"]
    problems += [] if len(found) == wanted else [f"{wanted - len(found)} of {wanted} runs have no row"]
    keep(
        "timed",
        {
            "command": command("bench-policy", arguments, before="PENSTOCK_TRACES=FOLDER "),
            "trace": TRACE,
            "hours": hours,
            "requests": max(one["requests"] for one in found),
            "rows": len(found),
            "seconds": seconds,
            "cpu_seconds": used.ru_utime + used.ru_stime,
            "cores": os.cpu_count(),
            "load": max(load, os.getloadavg()[0]),
            "problems": problems,
        },
    )
    print(*problems, f"{seconds:.0f} s; written to {write()}", sep="\n")
    return 1 if problems else 0
