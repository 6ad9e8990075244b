"""`python -m benchmarks.decide`: milliseconds of `decide()` at 1,000 services, and memory that must not grow.

Fifteen services are simulated and what the policy was given is kept; a thousand services are these at different times
of theirs, each with a memory of its own, the days before in it. What is timed is the call alone, in seconds that the
process used of a core. Fails when the mean is above the bar, when a part of the policy had nothing to do, or when
memory goes on growing.
"""

from __future__ import annotations

import argparse
import gc
import os
import platform
import sys
import time
import tracemalloc
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from benchmarks.decide.recording import Recording, percentile, record
from benchmarks.robustness.page import command, keep, write
from rich.console import Console
from rich.progress import track

from penstock_operator.core.scaling import Decision, Memory, decide
from penstock_operator.core.scaling.season import DAY_SECONDS, Recollection, priced

MOST_MS: Final = 1.0
MOST_GROWTH_BYTES: Final = 64.0
_LEARNING_TICKS: Final = 120
_TURN_SECONDS: Final = 600.0
_LEAST_SHARE: Final = 0.02


@dataclass(slots=True)
class Service:
    """One of the thousand: a recording from a tick of it on, again and again."""

    of: Recording
    at: int
    now: float
    memory: Memory

    def tick(self) -> Decision:
        """The next decision."""
        seen = self.of.ticks[self.at]
        decision, self.memory = decide(self.of.policy, seen, self.memory, self.now)
        self.at = self.at + 1 if self.at + 1 < len(self.of.ticks) else _LEARNING_TICKS
        self.now += self.of.period_seconds
        return decision


def services(recordings: Sequence[Recording], count: int) -> list[Service]:
    """So many, each begun at another tick, with what was learned until there."""
    each = -(-count // len(recordings))
    found = []
    for one in recordings:
        begun, stride = Service(one, 0, 1e9, Memory()), max(1, (len(one.ticks) - _LEARNING_TICKS) // each)
        for tick in range(_LEARNING_TICKS + each * stride):
            if tick >= _LEARNING_TICKS and (tick - _LEARNING_TICKS) % stride == 0:
                found.append(Service(one, begun.at, begun.now, _with_days(begun.memory, begun.now)))
            begun.tick()
    return found[:count]


def _with_days(memory: Memory, now: float) -> Memory:
    """As if the days before had been seen: in every other ten minutes twice the load of now."""
    if memory.forecast is None:
        return memory
    day = Recollection()
    for number in range(int(DAY_SECONDS / _TURN_SECONDS)):
        day.note(1.0 + number % 2, end=(number + 1) * _TURN_SECONDS, seconds=_TURN_SECONDS)
    return replace(memory, season=priced(day.season(now=now), memory.forecast.level))


def timed(fleet: Sequence[Service], ticks: int) -> dict[str, Any]:
    """Milliseconds a call, and what the calls had to do."""
    spent, parts = [], dict.fromkeys(_parts(fleet[0], None), 0)
    for _ in range(ticks):
        for one in fleet:
            seen, begun = one, time.process_time()
            decision = one.tick()
            spent.append(time.process_time() - begun)
            for name, busy in _parts(seen, decision).items():
                parts[name] += busy
    return {
        "calls": len(spent),
        "mean_ms": 1e3 * sum(spent) / len(spent),
        **{f"p{share}_ms": percentile(spent, share) for share in (50, 99)},
        "max_ms": 1e3 * max(spent),
        "parts": {name: count / len(spent) for name, count in parts.items()},
    }


def _parts(one: Service, decision: Decision | None) -> dict[str, bool]:
    """Which parts of the policy a call had to do with."""
    seen, memory = one.of.ticks[one.at - 1], one.memory
    return {
        "step model identified": memory.fit is not None and decision is not None
        and decision.capacity_tokens_per_second is not None,
        "forecast": memory.forecast is not None,
        "the days before": memory.forecast is not None and memory.forecast.jump != (0.0, 0.0),
        "error budget": bool(seen.missed) and memory.margins is not None,
        "prediction": decision is not None and bool(decision.predictions),
        "pods on their way": bool(seen.starting_ages),
        "pods without room": seen.unschedulable > 0,
        "held by the cost limit": decision is not None and decision.limited_by == "Budget",
    }  # fmt: skip


def growth(recordings: Sequence[Recording], count: int, ticks: int) -> dict[str, float]:
    """Bytes of a service's memory, and by how much they grow over the second half of so many ticks."""
    gc.collect()
    tracemalloc.start()
    fleet = [Service(one.of, one.at, one.now, Memory()) for one in services(recordings[:count], count)]
    gc.collect()
    empty = tracemalloc.get_traced_memory()[0]
    held = []
    for tick in range(ticks):
        for one in fleet:
            one.tick()
        if tick % (ticks // 20) == 0:
            gc.collect()
            held.append((tracemalloc.get_traced_memory()[0] - empty) / count)
    tracemalloc.stop()
    middle, end = held[len(held) // 2 - 4 : len(held) // 2 + 1], held[-5:]
    return {
        "services": count,
        "ticks": ticks,
        "bytes_a_service": held[-1],
        "most_bytes_a_service": max(held),
        "growth_bytes_a_service": sum(end) / len(end) - sum(middle) / len(middle),
    }


def problems(found: dict[str, Any]) -> list[str]:
    """What is not as it must be."""
    said = []
    if found["time"]["mean_ms"] > MOST_MS:
        said.append(f"a decision takes {found['time']['mean_ms']:.2f} ms on average, the bar is {MOST_MS:g} ms")
    said += [
        f"{name} in {share:.1%} of the calls only: nothing is shown about it"
        for name, share in found["time"]["parts"].items()
        if share < _LEAST_SHARE
    ]
    if found["memory"]["growth_bytes_a_service"] > MOST_GROWTH_BYTES:
        said.append(f"memory of a service grew by {found['memory']['growth_bytes_a_service']:.0f} bytes")
    return said


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decide", description=__doc__.split("\n")[0])
    parser.add_argument("--services", type=int, default=1000)
    parser.add_argument("--ticks", type=int, default=20, help="of every service, timed")
    parser.add_argument("--recordings", type=int, default=15, help="services that are simulated")
    parser.add_argument("--seconds", type=float, default=2400.0, help="of each of them")
    parser.add_argument("--growth-services", type=int, default=6)
    parser.add_argument("--growth-ticks", type=int, default=2000)
    options = parser.parse_args()
    console = Console()
    recordings = [record(number, options.seconds) for number in track(range(options.recordings), "worlds")]
    found = {
        "command": command("bench-decide", sys.argv[1:]),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "load": os.getloadavg()[0],
        "services": options.services,
        "time": timed(services(recordings, options.services), options.ticks),
        "memory": growth(recordings, options.growth_services, options.growth_ticks),
    }
    found["problems"] = problems(found)
    keep("decide", found)
    console.print(found)
    console.print(f"Written to {write()}")
    return 1 if found["problems"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
