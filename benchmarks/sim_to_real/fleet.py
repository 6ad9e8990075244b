"""Several emulated workers on a table-driven, noisy device, scaled by the real operator; and the simulation of it.

The simulator gets the same requests, the same policy, and an affine model fitted to the table: what a user would have
measured. Everything else that it leaves out is what is tested here: scrapes that come late, pods that start in their
own time, drains, a gateway, real HTTP.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.live import result
from benchmarks.live.contestants import CONTESTANTS, SERVICE
from benchmarks.live.result import Row
from benchmarks.live.scenario import PROFILE, excerpt
from benchmarks.live.stage import GPUS_PER_NODE, NODES, SCRAPE_SECONDS, make_models, stage
from benchmarks.live.traffic import send

from penstock_lab.cluster.local import LocalCluster
from penstock_lab.load.files import write_requests

from .table import COLUMNS, DILATION, NOISE, TableError, fitted, read
from .worker import TABLE_ENV

IMAGE = "bench/table-worker:dev"
FIRST_REPLICAS = 3
_STARTUP_SECONDS = 45.0
_RATE = 1.3
_SEEDS = 10
_ROOT = Path(__file__).resolve().parents[2]
OURS = CONTESTANTS[0]
COMPARED = (
    "attainment",
    "attainment_ttft",
    "attainment_tpot",
    "gpu_hours",
    "ttft_p50_seconds",
    "ttft_p99_seconds",
    "tpot_p99_seconds",
    "peak_replicas",
)


@dataclass(frozen=True, slots=True)
class Compared:
    """Both, figure by figure.

    Attributes:
        live: the cluster's.
        simulated: mean over the seeds.
        spread: least and most over the seeds.
        about: how it was made.
    """

    live: dict[str, Any]
    simulated: dict[str, float]
    spread: dict[str, tuple[float, float]]
    about: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """For `result.json`."""
        return {"live": self.live, "simulated": self.simulated, "spread": self.spread, "about": self.about}


async def compare(table: Path, *, seconds: float, out: Path, say: Callable[[str], None]) -> Compared:
    """Run it live, then in the simulator.

    Args:
        table: file of step times.
        seconds: of load.
        out: folder of logs.
        say: called with a line per step.

    Raises:
        TableError: the table cannot be read.
    """
    device = read(table)
    model, error = fitted(device, PROFILE)
    source = f"least squares of {table.name}, {DILATION:g} times slower"
    profile = replace(PROFILE, name="table-fitted", model=model, startup_seconds=_STARTUP_SECONDS, source=source)
    say(f"the affine model is off by {error:.1%} on average: {model}")
    load = excerpt(seconds=seconds, rate=_RATE)
    models = out / "models"
    await asyncio.to_thread(make_models, models, profile=profile)
    cluster = _cluster(models, table, out, say)
    await asyncio.to_thread(cluster.up)
    try:
        async with stage(cluster, out=out, say=say, others=False) as made:
            await made.begin([OURS], replicas=FIRST_REPLICAS, image=IMAGE)
            await made.release_counts([OURS], stabilization_seconds=None)
            made.watch.restart()
            say(f"{len(load.workload)} requests in {seconds:.0f} s; {load.name}")
            ledgers, machine = await send(load.workload, {OURS.name: made.url(OURS)}, model=SERVICE)
            write_requests(ledgers[OURS.name], out / "requests.csv")
            seen = result.live(OURS, load, ledgers[OURS.name], made.watch, profile=profile)
    finally:
        await asyncio.to_thread(cluster.down)
    twins = [
        result.simulated(OURS, load, replicas=FIRST_REPLICAS, profile=profile, seed=seed) for seed in range(_SEEDS)
    ]
    about = {
        "table": table.name,
        "dilation": DILATION,
        "noise": NOISE,
        "affine": profile.to_json(),
        "affine_error": error,
        "load": load.name,
        "requests": len(load.workload),
        "seconds": seconds,
        "seeds": _SEEDS,
        "cores_mean": machine.mean,
        "cores_p95": machine.high,
        "points": {"live": seen.row.points, "simulated": twins[0].points},
    }
    return _compared(seen.row, twins, about)


def _compared(live: Row, twins: list[Row], about: dict[str, Any]) -> Compared:
    values = {key: [float(twin.figures[key]) for twin in twins] for key in COMPARED}
    return Compared(
        live={key: live.figures[key] for key in (*COMPARED, "failed", "killed_in_flight", "requests")},
        simulated={key: float(np.mean(found)) for key, found in values.items()},
        spread={key: (min(found), max(found)) for key, found in values.items()},
        about=about,
    )


def _cluster(models: Path, table: Path, out: Path, say: Callable[[str], None]) -> LocalCluster:
    packages = ("benchmarks", "worker/src", "contract/src")
    found = os.pathsep.join([str(_ROOT), *(str(_ROOT / package) for package in packages[1:])])
    image = {
        "argv": ["{python}", "-m", "benchmarks.sim_to_real.worker"],
        "env": {"PYTHONPATH": found, TABLE_ENV: str(table.absolute())},
        "paths": {"/models": str(models.absolute())},
    }
    return LocalCluster(
        "bench-sim-to-real",
        nodes=NODES,
        gpus_per_node=GPUS_PER_NODE,
        scrape_interval_seconds=SCRAPE_SECONDS,
        models=models,
        state_dir=out / "cluster",
        more_images={"bench/table-worker:*": image},
        report=say,
    )


def find_table(given: Path | None) -> Path:
    """The table that was given, or the one in the folder that the environment names.

    Raises:
        TableError: there is none.
    """
    folder = os.environ.get("PENSTOCK_PROFILES")
    path = given or (Path(folder) / "vllm_step_table_composed.csv.gz" if folder else None)
    if path is None or not path.is_file():
        raise TableError(
            f"no table {path or ''}: give one with --table, a CSV with the columns {','.join(COLUMNS)}, or set "
            "PENSTOCK_PROFILES to the folder of vllm_step_table_composed.csv.gz; --only=single leaves this part out"
        )
    return path
