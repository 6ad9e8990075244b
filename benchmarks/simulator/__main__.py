"""`python -m benchmarks.simulator`: speed of the engine, of whole runs, of the oracle; and the calibration.

Speeds are per core second that the process used, not per second on the wall, so that a shared machine shows what a calm
one does, within what caches and clocks allow. Compilation is done before and reported by itself.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from penstock_contract.profile import Profile, load_profile
from penstock_lab.simulate import calibrate, engine, oracle
from penstock_lab.simulate.policies.registry import build, defaults
from penstock_lab.simulate.score import Objectives
from penstock_lab.simulate.state import Limits, Requests, arrays, open_slot
from penstock_lab.simulate.synthetic import Synthetic
from penstock_lab.simulate.world import Setting, World

_ROOT: Final = Path(__file__).resolve().parents[2]
_OUT: Final = _ROOT / "out" / "bench-simulator"
_PROFILE: Final = "llama70b-fp8-tp4-h100"
_OBJECTIVES: Final = Objectives()
_FLEETS: Final = ((10, 0.8), (10, 1.05), (50, 0.8), (200, 0.8))
_FIXED: Final = "static-13"
_STEP: Final = 5.0


def main() -> None:
    """Measure, print, write `result.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=300_000, help="of each measurement")
    parser.add_argument("--out", type=Path, default=_OUT)
    options = parser.parse_args()
    console, profile = Console(), load_profile(_PROFILE)
    compiled = _cpu(lambda: _fleet(_traffic(profile, 1.0, 2000), profile, 2))
    found: dict[str, Any] = {
        "machine": {"cores": os.cpu_count(), "processor": platform.processor() or platform.machine()},
        "compile_or_load_seconds": compiled,
        "engine": [_engine(profile, *shape, options.requests) for shape in _FLEETS],
        "runs": _runs(profile, options.requests),
        "calibration": _calibration(),
    }
    _show(console, found)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "result.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    console.print(f"Written to {options.out / 'result.json'}")


def _cpu(of: Callable[[], object]) -> float:
    begun = time.process_time()
    of()
    return time.process_time() - begun


def _traffic(profile: Profile, replicas: float, count: int) -> Requests:
    """Steady requests of so many replicas' worth of work."""
    tried = Synthetic(shape="constant", seconds=1000.0, rate=20.0).columns()
    rate = 20.0 * replicas / oracle.mean_replicas(tried, profile, _OBJECTIVES)
    return Synthetic(shape="constant", seconds=count / rate, rate=rate).columns()


def _fleet(requests: Requests, profile: Profile, replicas: int) -> float:
    """All requests over so many replicas that never change; steps made."""
    fleet = arrays(requests, Limits.of(profile), slots=replicas)
    for slot in range(replicas):
        open_slot(fleet, slot, 0.0)
    now = 0.0
    while fleet.ended_count[0] < len(requests):
        engine.run(fleet, now, now + _STEP, 0.25, 250.0)
        now += _STEP
    return float(fleet.counters[:, 0].sum())


def _engine(profile: Profile, replicas: int, load: float, count: int) -> dict[str, float]:
    requests = _traffic(profile, load * replicas, count)
    seconds = _cpu(lambda: _fleet(requests, profile, replicas))
    return {
        "replicas": replicas,
        "load": load,
        "requests": len(requests),
        "requests_per_second": len(requests) / seconds,
    }


def _runs(profile: Profile, count: int) -> list[dict[str, Any]]:
    requests = _traffic(profile, 10.0, count)
    setting = Setting(profile, initial_replicas=13, max_replicas=200)
    found = []
    for name in (_FIXED, *defaults()):
        policy = build(name, profile=profile, objectives=_OBJECTIVES, minimum=1, maximum=200)
        seconds = _cpu(World(requests, setting, policy).run)
        found.append(_run(name, len(requests), seconds, float(requests.arrival[-1])))
    seconds = _cpu(lambda: oracle.find(requests, setting, _OBJECTIVES))
    return [*found, _run("oracle (all its runs)", len(requests), seconds, float(requests.arrival[-1]))]


def _run(name: str, count: int, seconds: float, span: float) -> dict[str, Any]:
    return {
        "policy": name,
        "requests": count,
        "cpu_seconds": seconds,
        "requests_per_second": count / seconds,
        "cpu_seconds_per_hour": seconds / span * 3600,
    }


def _calibration() -> list[dict[str, Any]]:
    """Against the measurements, where they are at hand."""
    folder = Path(os.environ.get("PENSTOCK_PROFILES") or _ROOT.parent / "shared" / "profiles")
    if not (folder / calibrate.SAMPLE).is_file():
        return []
    pairs = calibrate.compared(list(calibrate.points(folder)))
    return [
        {"profile": name, "points": len(own), **asdict(calibrate.errors(own))}
        for name in calibrate.PROFILES.values()
        for own in [[pair for pair in pairs if pair[0].profile == name]]
    ]


def _show(console: Console, found: dict[str, Any]) -> None:
    speed = Table("replicas", "load", "requests", "M requests/s/core", title="Engine", box=None)
    for row in found["engine"]:
        speed.add_row(
            str(row["replicas"]),
            f"{row['load']:.0%}",
            f"{row['requests']:,}",
            f"{row['requests_per_second'] / 1e6:.2f}",
        )
    runs = Table("policy", "CPU s", "M requests/s/core", "CPU s per hour", title="Whole runs, 10 replicas", box=None)
    for row in found["runs"]:
        runs.add_row(
            row["policy"],
            f"{row['cpu_seconds']:.1f}",
            f"{row['requests_per_second'] / 1e6:.2f}",
            f"{row['cpu_seconds_per_hour']:.2f}",
        )
    agree = Table("profile", "points", "TTFT", "TPOT", "end to end", title="Mean absolute error", box=None)
    for row in found["calibration"]:
        agree.add_row(
            row["profile"], str(row["points"]), f"{row['ttft']:.1%}", f"{row['tpot']:.1%}", f"{row['ends']:.1%}"
        )
    console.print(f"Compiled or loaded in {found['compile_or_load_seconds']:.1f} s")
    for table in (speed, runs, agree):
        console.print(table)


if __name__ == "__main__":
    main()
