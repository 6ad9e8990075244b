"""`python -m benchmarks.live`: the comparison, then the same services while metrics go away."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import uvloop

from penstock_lab.cluster.errors import ClusterError
from penstock_lab.cluster.local import LocalCluster
from penstock_lab.demo.pace import Pace, measure_pace
from penstock_lab.install import InstallError
from penstock_lab.load.files import write_requests
from penstock_lab.load.ledger import Ledger

from . import faults as breaking
from . import report, result
from .contestants import CONTESTANTS, SERVICE
from .decisions import recorded
from .keda import VERSION
from .scenario import PROFILE, Load, excerpt, steady
from .stage import GPUS_PER_NODE, NODES, SCRAPE_SECONDS, Stage, StageError, make_models, stage
from .traffic import Machine, send
from .watch import Watch

_ROOT = Path(__file__).resolve().parents[2]
_RUNS = ("comparison", "outage")
_FIRST_REPLICAS = {"comparison": 3, "outage": 5}
_OUTAGE_RATE = 2.4
_OUTAGE_RISE = 1.3
_OUTAGE_UNITS = 43
_OUTAGE_STABILIZATION_SECONDS = 60
_BREATH_SECONDS = 5.0


def main() -> int:
    """Run it; the exit status is 0 when the runs could be made."""
    arguments = _arguments()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job is born ignoring it
    signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    models = arguments.out / "models"
    make_models(models)
    try:
        for name in arguments.runs:
            uvloop.run(_perform(name, arguments, models))
    except KeyboardInterrupt:
        print("interrupted: everything that was started has ended", file=sys.stderr)
        return 130
    except (ClusterError, InstallError, StageError) as error:
        print(f"bench-live: error: {error}", file=sys.stderr)
        return 2
    return 0


async def _perform(name: str, arguments: argparse.Namespace, models: Path) -> None:
    out: Path = arguments.out / name
    await asyncio.to_thread(_empty, out)
    outage = name == "outage"
    seconds = arguments.outage_seconds if outage else arguments.seconds
    planned = breaking.schedule(seconds / _OUTAGE_UNITS) if outage else ()
    load = (
        steady(
            seconds=seconds,
            rate=_OUTAGE_RATE,
            step_at=planned[0].begin + 4 * seconds / _OUTAGE_UNITS,
            factor=_OUTAGE_RISE,
        )
        if outage
        else excerpt(seconds=seconds)
    )
    first = _FIRST_REPLICAS[name]
    window = _OUTAGE_STABILIZATION_SECONDS if outage else None
    _say(f"{name}: {len(load.workload)} requests in {seconds:.0f} s to each of {len(CONTESTANTS)}; {load.name}")
    cluster = LocalCluster(
        "bench-live",
        nodes=NODES,
        gpus_per_node=GPUS_PER_NODE,
        scrape_interval_seconds=SCRAPE_SECONDS,
        models=models,
        state_dir=out / "cluster",
        report=_say,
    )
    await asyncio.to_thread(cluster.up)
    try:
        async with stage(cluster, out=out, say=_say) as made:
            await made.begin(CONTESTANTS, replicas=first, stabilization_seconds=window)
            await made.release_counts(CONTESTANTS, stabilization_seconds=window)
            await asyncio.sleep(_BREATH_SECONDS)
            ours = next(f"{one.name}/{SERVICE}" for one in CONTESTANTS if one.ours)
            async with recorded(made.release.address("operator"), ours, made.watch, out / "decisions.jsonl"):
                ledgers, machine = await _load(made, load, planned)
            paces = {one.name: await _pace(cluster, one.name) for one in CONTESTANTS}
            await asyncio.to_thread(_keep, out, made.watch, ledgers)
            told = _machine(machine, paces, ledgers)
            _conclude(out, load, made, ledgers=ledgers, machine=told, planned=planned, first=first)
    finally:
        await asyncio.to_thread(cluster.down)


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


async def _load(made: Stage, load: Load, planned: tuple[breaking.Fault, ...]) -> tuple[dict[str, Ledger], Machine]:
    def victims() -> list[str]:
        now = made.watch.now
        each = [[life.name for life in made.watch.lives(one.name) if life.serves(now)] for one in CONTESTANTS]
        return [names[0] for names in each if names]

    _say("the load begins")
    made.watch.restart()
    task = asyncio.create_task(breaking.commit(planned, made.cluster, victims=victims, say=_say))
    urls = {one.name: made.url(one) for one in CONTESTANTS}
    try:
        return await send(load.workload, urls, model=SERVICE)
    finally:
        task.cancel()
        (failure,) = await asyncio.gather(task, return_exceptions=True)
        if isinstance(failure, Exception):
            _say(f"the faults were not all made: {failure!r}")


def _keep(out: Path, watch: Watch, ledgers: Mapping[str, Ledger]) -> None:
    """Everything that was seen, before anything is made of it."""
    lives = {name: [asdict(life) for life in found.values()] for name, found in watch.pods.items()}
    (out / "seen.json").write_text(json.dumps({"pods": lives, "counts": watch.counts}), encoding="utf-8")
    for name, ledger in ledgers.items():
        write_requests(ledger, out / f"requests-{name}.csv")


async def _pace(cluster: LocalCluster, namespace: str) -> Pace:
    return await measure_pace(cluster.prometheus_url, namespace=namespace, service=SERVICE, model=PROFILE.model)


def _machine(machine: Machine, paces: Mapping[str, Pace], ledgers: Mapping[str, Ledger]) -> dict[str, Any]:
    """How far the machine kept up, as data and as a sentence."""
    ratios = {name: pace.ratio for name, pace in paces.items()}
    lag = max(ledger.loop_lag.quantile(0.99) or 0.0 for ledger in ledgers.values())
    told = ", ".join(f"{name} {ratio:.3f}" for name, ratio in ratios.items() if ratio is not None)
    sentence = (
        f"{machine.mean:.2f} of {os.cpu_count()} cores in use on average, {machine.high:.2f} at the 95th percentile; "
        f"steps took {told} times what the profile says; the generator read answers {1000 * lag:.0f} ms late at p99."
    )
    return {
        "cores": os.cpu_count(),
        "cores_mean": machine.mean,
        "cores_p95": machine.high,
        "pace": ratios,
        "generator_lag_p99_seconds": lag,
        "busy": machine.busy,
        "sentence": sentence,
    }


def _conclude(
    out: Path,
    load: Load,
    made: Stage,
    *,
    ledgers: Mapping[str, Ledger],
    machine: dict[str, Any],
    planned: tuple[breaking.Fault, ...],
    first: int,
) -> None:
    watch = made.watch
    seen = [result.live(one, load, ledgers[one.name], watch) for one in CONTESTANTS]
    twins = [] if planned else [result.simulated(one, load, replicas=first) for one in CONTESTANTS]
    hurt: list[result.Hurt] = []
    if planned:
        goods = {one.name: result.good(load, one, ledgers[one.name], watch) for one in CONTESTANTS}
        hurt = result.hurts(seen, planned, load, watch, goods)
    else:
        best, bound = result.plans(load, replicas=first)
        for row in [*(one.row for one in seen), *twins]:
            row.figures.update(oracle_gpu_hours=best, lower_bound_gpu_hours=bound)
    title = "Penstock, KEDA and the HPA while metrics go away" if planned else "Penstock beside KEDA and the HPA, live"
    tables = report.write(
        out,
        title=f"{title} (KEDA {VERSION})",
        load=load,
        seen=seen,
        simulated=twins,
        machine=machine,
        faults=planned,
        hurt=hurt,
    )
    _say(machine["sentence"])
    print("\n".join(report.markdown(table) for table in tables))
    _say(f"written to {out}")


def _say(line: str) -> None:
    print(f"  {line}", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench-live", description="Penstock beside the real KEDA and the real HPA.")
    parser.add_argument("--runs", type=_names, default=list(_RUNS), help="such as outage; default: both")
    parser.add_argument("--seconds", type=float, default=600.0, help="of the comparison's load")
    parser.add_argument("--outage-seconds", type=float, default=600.0, help="of the outage's load")
    parser.add_argument("--out", type=Path, default=_ROOT / "out" / "bench-live", help="folder of results and logs")
    return parser.parse_args()


def _names(text: str) -> list[str]:
    chosen = text.split(",")
    if unknown := [name for name in chosen if name not in _RUNS]:
        raise argparse.ArgumentTypeError(f"no run {unknown[0]!r}; there are {', '.join(_RUNS)}")
    return chosen


if __name__ == "__main__":
    sys.exit(main())
