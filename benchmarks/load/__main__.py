"""`python -m benchmarks.load`: the ceiling of the load generator, against the upstream of `benchmarks/gateway`.

The stub runs on a core of its own and answers at once, so what is measured is the generator. A rate holds if requests
leave and the event loop wakes no later than 100 ms at the 99th percentile (the default of --max-lag) and nothing fails.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import uvloop
from rich.console import Console

from penstock_lab.load.arrivals import Process, steps
from penstock_lab.load.endpoint import Endpoint
from penstock_lab.load.lengths import Uniform
from penstock_lab.load.preflight import Ready
from penstock_lab.load.progress import Progress
from penstock_lab.load.prompts import Shape
from penstock_lab.load.report import Judgement
from penstock_lab.load.run import Bench
from penstock_lab.load.sender import Limits, raise_open_files
from penstock_lab.load.workload import draw

_OUT: Final = Path(__file__).resolve().parents[2] / "out" / "bench-load"
_MOST_LAG: Final = 0.1
_PORT: Final = 18431
_PROMPT_TOKENS: Final = 512
_STREAMS: Final = 2000
_RATES: Final = (250, 500, 1000, 1500, 2000, 2500, 3000)
_INTERVALS: Final = (1.0, 0.5, 0.25, 0.2, 0.15, 0.1)


@asynccontextmanager
async def _stub(core: int) -> AsyncIterator[str]:
    command = [sys.executable, "-m", "benchmarks.load.stub", "127.0.0.1", str(_PORT)]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    os.sched_setaffinity(process.pid, {core})
    assert process.stdout is not None
    try:
        await process.stdout.readline()
        yield f"http://127.0.0.1:{_PORT}"
    finally:
        process.kill()
        await process.wait()


async def _run(url: str, *, rate: float, seconds: float, chunks: int, interval: float) -> dict[str, Any]:
    """Send at a rate; every answer has so many chunks, an interval apart."""
    headers = {"X-Chunks": str(chunks), "X-Interval": str(interval)}
    bench = Bench(
        ready=Ready(Endpoint(base=url, model="stub", headers=headers), Shape(as_ids=True), None, ()),
        judgement=Judgement(most_lag=_MOST_LAG),
        limits=Limits(drain=30.0),
        warmup=0.0,
        progress=Progress(Console(), quiet=True),
    )
    length = Uniform(_PROMPT_TOKENS, _PROMPT_TOKENS)
    curve = steps([(seconds, rate)])
    work = draw(curve, Process.POISSON, prompt=length, output=Uniform(chunks, chunks), seed=1, description={})
    before = resource.getrusage(resource.RUSAGE_SELF)
    report = (await bench.run(work)).report
    after = resource.getrusage(resource.RUSAGE_SELF)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    requests, sender = report["requests"], report["sender"]
    return {
        "requests_per_second": rate,
        "chunks_per_second": max(report["series"]["output_tokens"], default=0),
        "in_flight": sender["most_in_flight"],
        "sent_late_p99_ms": round((sender["lag_seconds"]["p99"] or 0) * 1000, 2),
        "woke_late_p99_ms": round((sender["loop_lag_seconds"]["p99"] or 0) * 1000, 2),
        "core": round(used / report["meta"]["seconds"], 2),
        "memory_mib": round(after.ru_maxrss / 1024),
        "failed": requests["failed"] + requests["refused"],
        "holds": report["valid"] and not requests["failed"] and not requests["refused"],
    }


async def measure(seconds: float) -> dict[str, Any]:
    """Rising rates of short answers, then 2,000 streams at once with rising paces, each until one does not hold."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[-1]})
    found: dict[str, Any] = {"cores": len(cores), "open_files": raise_open_files(), "rates": [], "streams": []}
    async with _stub(cores[0]) as url:
        await _run(url, rate=50, seconds=1, chunks=2, interval=0.025)
        for rate in _RATES:
            found["rates"].append(await _run(url, rate=rate, seconds=seconds, chunks=2, interval=0.025))
            print(found["rates"][-1], flush=True)
            if not found["rates"][-1]["holds"]:
                break
        for interval in _INTERVALS:
            # They all begin within five seconds and last for ten from then on.
            chunks = round((5 + seconds) / interval)
            found["streams"].append(
                await _run(url, rate=_STREAMS / 5, seconds=5, chunks=max(2, chunks), interval=interval)
            )
            print(found["streams"][-1], flush=True)
            if not found["streams"][-1]["holds"]:
                break
    return found


def _table(rows: list[dict[str, Any]]) -> str:
    titles = {
        "requests_per_second": "requests/s", "in_flight": "in flight", "chunks_per_second": "chunks/s",
        "sent_late_p99_ms": "sent late, p99 (ms)", "woke_late_p99_ms": "woke late, p99 (ms)", "core": "of a core",
        "memory_mib": "memory (MiB)", "failed": "failed", "holds": "holds",
    }  # fmt: skip
    lines = ["| " + " | ".join(titles.values()) + " |", "|" + "--:|" * len(titles)]
    lines += ["| " + " | ".join("yes" if row[key] is True else "no" if row[key] is False else f"{row[key]:,}"
              for key in titles) + " |" for row in rows]  # fmt: skip
    return "\n".join(lines)


def main() -> None:
    """Measure, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each rate")
    parser.add_argument("--out", type=Path, default=_OUT)
    arguments = parser.parse_args()
    found = uvloop.run(measure(arguments.seconds))
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "result.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(_table(found["rates"]), _table(found["streams"]), sep="\n\n")


if __name__ == "__main__":
    main()
