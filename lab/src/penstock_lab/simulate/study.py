"""A study: one trace, several policies, several seeds, beside the oracle of the same seed; results as they come.

Each (seed) is one task with its own process: it draws the traffic, finds the oracle, and runs every policy from the
oracle's replicas of the first ten minutes. A run's row is handed back as soon as it is there, so that an interrupted
study keeps what it has, and a study that is begun again leaves out what it finds.
"""

from __future__ import annotations

import itertools
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from penstock_contract.profile import Profile
from penstock_lab.simulate import oracle
from penstock_lab.simulate.policies.registry import build
from penstock_lab.simulate.score import Objectives, Score, score
from penstock_lab.simulate.state import Requests
from penstock_lab.simulate.world import Run, Setting, World
from penstock_lab.traces.request import arrays
from penstock_lab.traces.source import Source

MOST_REQUESTS = 5_000_000
ORACLE = "oracle"
STATIC = "static"


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """What is asked.

    Attributes:
        trace: file, format and part of it.
        profile: one replica.
        objectives: of the SLA.
        policies: names, of `policies.registry`, or `oracle` or `static` (fewest replicas that attain).
        seeds: of start-up times and of scaled traffic.
        startup_seconds: mean, scheduled to ready.
        startup_cv: its coefficient of variation.
        max_replicas: bound of every policy.
        mean_replicas: scale the traffic to a fluid demand of so many replicas; None = `rate_scale`.
        rate_scale: requests for each of the trace.
        tuned: the policies' committed tuned parameters in place of their defaults.
    """

    trace: Source
    profile: Profile
    objectives: Objectives
    policies: tuple[str, ...]
    seeds: int = 1
    startup_seconds: float = 60.0
    startup_cv: float = 0.25
    max_replicas: int = 200
    mean_replicas: float | None = 10.0
    rate_scale: float = 1.0
    tuned: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One run.

    Attributes:
        figures: for `result.json`.
        points: (seconds, asked, ready, offered requests/s, held and waiting) for plots; of the first seed only.
        latency: (seconds, 99th percentile of TTFT in that minute); as above.
    """

    figures: dict[str, Any]
    points: tuple[tuple[float, int, int, float, float], ...] = ()
    latency: tuple[tuple[float, float], ...] = ()


def load(source: Source) -> Requests:
    """The trace as the simulator takes it.

    Raises:
        TraceError: it cannot be read.
    """
    columns = arrays(source.requests())
    return Requests.of(
        columns.arrival_seconds, np.maximum(1, columns.prompt_tokens), np.maximum(1, columns.output_tokens)
    )


def traffic(study: Study, seed: int) -> tuple[Requests, float]:
    """The traffic of one seed, at most MOST_REQUESTS of it, and by how much the trace was scaled."""
    requests = load(study.trace)
    scale = study.rate_scale
    if study.mean_replicas is not None and len(requests):
        scale = study.mean_replicas / max(1e-9, oracle.mean_replicas(requests, study.profile, study.objectives))
    made = oracle.scaled(requests, scale, seed=seed)
    if len(made) > MOST_REQUESTS:
        cut = slice(0, MOST_REQUESTS)
        made = Requests(made.arrival[cut], made.prompt[cut], made.output[cut], made.cached[cut])
    return made, scale


def rows(
    study: Study, *, done: frozenset[tuple[str, int]] = frozenset(), processes: int | None = None
) -> Iterator[Row]:
    """Every run that is not done yet, as it ends.

    Args:
        study: what is asked.
        done: (policy, seed) that are there already.
        processes: at the same time; None = as many as there are cores.
    """
    missing = {seed: tuple(name for name in study.policies if (name, seed) not in done) for seed in range(study.seeds)}
    tasks = [(seed, names) for seed, names in missing.items() if names]
    if processes == 1 or len(tasks) <= 1:
        for seed, names in tasks:
            yield from _of_seed(study, seed, names)
        return
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        running: set[Future[list[Row]]] = {pool.submit(_listed, study, seed, names) for seed, names in tasks}
        while running:
            ended, running = wait(running, return_when=FIRST_COMPLETED)
            for future in ended:
                yield from future.result()


def _listed(study: Study, seed: int, names: Sequence[str]) -> list[Row]:
    return list(_of_seed(study, seed, names))


def _of_seed(study: Study, seed: int, names: Sequence[str]) -> Iterator[Row]:
    requests, scale = traffic(study, seed)
    setting = Setting(
        study.profile,
        startup_seconds=study.startup_seconds,
        startup_cv=study.startup_cv,
        max_replicas=study.max_replicas,
        seed=seed,
    )
    best = oracle.find(requests, setting, study.objectives)
    if best is not None:
        setting = replace(setting, initial_replicas=min(study.max_replicas, best.initial_replicas))
    bound = oracle.lower_bound_seconds(requests, study.profile, study.objectives) * study.profile.accelerators / 3600
    common = {
        "trace": study.trace.path.name,
        "seed": seed,
        "startup_seconds": study.startup_seconds,
        "rate_scale": scale,
        "oracle_gpu_hours": None if best is None else best.score.gpu_hours,
        "lower_bound_gpu_hours": bound,
    }
    for name in names:
        if name == ORACLE:
            if best is not None:
                yield _row(common | {"policy": name}, best.run, best.score)
            continue
        if name == STATIC:
            fixed = oracle.constant(requests, setting, study.objectives)
            if fixed is not None:
                yield _row(common | {"policy": name}, fixed.run, fixed.score)
            continue
        policy = build(
            name,
            profile=study.profile,
            objectives=study.objectives,
            minimum=1,
            maximum=study.max_replicas,
            tuned=study.tuned,
        )
        run = World(requests, setting, policy).run()
        yield _row(common | {"policy": name}, run, score(run, study.profile, study.objectives))


def _row(about: dict[str, Any], run: Run, found: Score) -> Row:
    flat = found.to_json()
    span = float(run.requests.arrival[-1]) if len(run.requests) else 0.0
    attained = found.goodput_per_gpu_hour * found.gpu_hours
    figures = about | {
        "requests": found.requests,
        "infeasible": flat["infeasible"],
        "attainment": flat["attainment"],
        "attainment_ttft": flat["ttft_attainment"],
        "attainment_tpot": flat["tpot_attainment"],
        "attainment_deadline": flat["deadline_attainment"],
        "worst_window_attainment": flat["worst_attainment"],
        "ttft_p50_seconds": flat["ttft_p50"],
        "ttft_p99_seconds": flat["ttft_p99"],
        "tpot_p99_seconds": flat["tpot_p99"],
        "gpu_hours": found.gpu_hours,
        "goodput_rps": attained / span if span > 0 and np.isfinite(attained) else None,
        "peak_replicas": found.peak_replicas,
        "reversals_per_hour": found.reversals_per_hour,
        "killed_in_flight": found.killed,
        "failed": found.failed,
    }
    if about["seed"]:
        return Row(figures)
    return Row(figures, tuple(run.points), tuple(_latency(run)))


def _latency(run: Run, *, seconds: float = 60.0) -> Iterator[tuple[float, float]]:
    """99th percentile of the time to the first token, by minute of arrival."""
    waits = run.first - run.requests.arrival
    cells = (run.requests.arrival // seconds).astype(np.int64)
    edges = np.searchsorted(cells, np.arange(int(cells[-1]) + 2)) if len(cells) else np.array([0])
    for cell, (begin, end) in enumerate(itertools.pairwise(edges)):
        known = waits[begin:end][np.isfinite(waits[begin:end])]
        if len(known):
            yield cell * seconds, float(np.percentile(known, 99))
