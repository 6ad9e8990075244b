"""The runs of a study, each in a process of its own, handed back as they end.

Of every seed the oracle comes first, since its replicas of the first ten minutes are what every policy begins with. It
knows what will come, and is found behind a gateway that holds nothing back for an objective. Then each policy is a task
by itself. A row is handed back at once, so that an interrupted study keeps what it has. One that is begun again leaves
out what is there, and looks for no oracle that a row names already.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from penstock_lab.simulate import oracle
from penstock_lab.simulate.policies import registry
from penstock_lab.simulate.row import Row, figures, trail
from penstock_lab.simulate.score import Score, score
from penstock_lab.simulate.state import Requests
from penstock_lab.simulate.study import Study, setting, traffic
from penstock_lab.simulate.world import Run, World

ORACLE = "oracle"
STATIC = "static"


@dataclass(frozen=True, slots=True)
class Denominator:
    """What every policy on the traffic of a seed is measured by.

    Attributes:
        initial_replicas: at the start.
        rate_scale: requests for each of the trace.
        oracle_gpu_hours: None when no plan attains.
        lower_bound_gpu_hours: of the fluid bound.
    """

    initial_replicas: int
    rate_scale: float
    oracle_gpu_hours: float | None
    lower_bound_gpu_hours: float


def known_denominators(rows: Sequence[Row]) -> dict[int, Denominator]:
    """By seed, from rows that are there."""
    names = Denominator.__slots__
    return {row.figures["seed"]: Denominator(**{name: row.figures[name] for name in names}) for row in rows}


def rows(study: Study, *, done: Sequence[Row] = (), processes: int | None = None) -> Iterator[Row]:
    """Every run that is not done yet, as it ends.

    Args:
        study: what is asked.
        done: rows that are there already.
        processes: at the same time; None = as many as there are cores.
    """
    there = {(row.figures["policy"], row.figures["seed"]) for row in done}
    missing = {
        seed: names
        for seed in range(study.seeds)
        if (names := [name for name in study.policies if (name, seed) not in there])
    }
    if not missing:
        return
    with TemporaryDirectory(prefix="penstock-simulate-") as folder:
        columns = _save(study.trace.load(), Path(folder) / "trace.npz")
        known = known_denominators(done)
        if processes == 1:
            yield from _one_by_one(study, columns, missing, known)
        else:
            yield from _side_by_side(study, columns, missing, known, processes)


def _one_by_one(
    study: Study, columns: Path, missing: Mapping[int, list[str]], known: Mapping[int, Denominator]
) -> Iterator[Row]:
    for seed, names in missing.items():
        against, first = _denominator(study, columns, seed, names, known.get(seed))
        for row in (first, *(_run(study, columns, seed, name, against) for name in _others(names))):
            if row is not None:
                yield row


def _side_by_side(
    study: Study,
    columns: Path,
    missing: Mapping[int, list[str]],
    known: Mapping[int, Denominator],
    processes: int | None,
) -> Iterator[Row]:
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        seeds = {
            pool.submit(_denominator, study, columns, seed, names, known.get(seed)): seed
            for seed, names in missing.items()
        }
        singles: set[Future[Row | None]] = set()
        while seeds or singles:
            running: list[Future[Any]] = [*seeds, *singles]
            wait(running, return_when=FIRST_COMPLETED)
            for single in [one for one in singles if one.done()]:
                singles.remove(single)
                if (row := single.result()) is not None:
                    yield row
            for future in [one for one in seeds if one.done()]:
                seed = seeds.pop(future)
                against, row = future.result()
                if row is not None:
                    yield row
                names = _others(missing[seed])
                singles |= {pool.submit(_run, study, columns, seed, name, against) for name in names}


def _others(names: Sequence[str]) -> list[str]:
    return [name for name in names if name != ORACLE]


def _denominator(
    study: Study, columns: Path, seed: int, names: Sequence[str], known: Denominator | None
) -> tuple[Denominator, Row | None]:
    """What a seed is measured by, and the oracle's row where it is wanted."""
    if known is not None and ORACLE not in names:
        return known, None
    requests, scale = _traffic(study, columns, seed)
    best = oracle.find(requests, replace(setting(study, seed), paced=False), study.objectives)
    bound = oracle.lower_bound_seconds(requests, study.profile, study.objectives) * study.profile.accelerators / 3600
    if best is None:
        return Denominator(1, scale, None, bound), None
    begin = min(study.max_replicas, best.initial_replicas)
    against = Denominator(begin, scale, best.score.gpu_hours, bound)
    return against, _row(study, seed, ORACLE, against, run=best.run, found=best.score) if ORACLE in names else None


def _run(study: Study, columns: Path, seed: int, name: str, against: Denominator) -> Row | None:
    """One policy; None for a fixed count when none attains."""
    requests, _ = _traffic(study, columns, seed)
    world = replace(setting(study, seed), initial_replicas=against.initial_replicas)
    if name == STATIC:
        fixed = oracle.constant(requests, world, study.objectives)
        return None if fixed is None else _row(study, seed, name, against, run=fixed.run, found=fixed.score)
    policy = registry.build(
        name, profile=study.profile, objectives=study.objectives, minimum=1, maximum=study.max_replicas
    )
    run = World(requests, world, policy).run()
    return _row(study, seed, name, against, run=run, found=score(run, study.profile, study.objectives))


def _row(study: Study, seed: int, name: str, against: Denominator, *, run: Run, found: Score) -> Row:
    about: dict[str, Any] = {
        "trace": study.trace.name,
        "policy": name,
        "tuned": registry.is_tuned(name),
        "seed": seed,
        "startup_seconds": study.startup_seconds,
        **asdict(against),
    }
    more = None if seed else trail(run, study.profile, study.objectives)
    return Row(about | figures(run, found, price=study.price), more)


def _save(requests: Requests, path: Path) -> Path:
    np.savez(path, arrival=requests.arrival, prompt=requests.prompt, output=requests.output, cached=requests.cached)
    return path


@lru_cache(maxsize=1)
def _traffic(study: Study, columns: Path, seed: int) -> tuple[Requests, float]:
    with np.load(columns) as kept:
        whole = Requests(kept["arrival"], kept["prompt"], kept["output"], kept["cached"])
    return traffic(study, whole, seed)
