"""One run as a row: figures for `result.json`, and, of the first seed, what plots and the worst windows need."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from penstock_contract.profile import Profile
from penstock_lab.simulate import oracle
from penstock_lab.simulate.score import Objectives, Score, feasible, met
from penstock_lab.simulate.state import Requests
from penstock_lab.simulate.world import Run

_WINDOW_SECONDS = 300.0
_LEAST_REQUESTS = 20
_MINUTE = 60.0


@dataclass(frozen=True, slots=True)
class Window:
    """Five minutes of arrivals.

    Attributes:
        begin: seconds.
        requests: feasible ones that arrived.
        attainment: share of them that met both objectives.
        ready: replicas at its begin.
        most_ready: in it.
    """

    begin: float
    requests: int
    attainment: float
    ready: int
    most_ready: int


@dataclass(frozen=True, slots=True)
class Trail:
    """What plots need of one run.

    Attributes:
        points: (seconds, asked, ready, offered requests/s, held and waiting) at each tick.
        latency: (seconds, 99th percentile of TTFT of that minute's arrivals).
        demand: (seconds, fluid demand of that minute's arrivals in replicas).
        worst: the windows with the lowest attainment, lowest first.
    """

    points: tuple[tuple[float, int, int, float, float], ...]
    latency: tuple[tuple[float, float], ...]
    demand: tuple[tuple[float, float], ...]
    worst: tuple[Window, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One run.

    Attributes:
        figures: for `result.json`.
        trail: of the first seed only.
    """

    figures: dict[str, Any]
    trail: Trail | None = None


def figures(run: Run, found: Score, *, price: float) -> dict[str, Any]:
    """The figures of a run, under the names of `result.json`; what is no number is null."""
    flat = found.to_json()
    span = float(run.requests.arrival[-1]) if len(run.requests) else 0.0
    attained = found.goodput_per_gpu_hour * found.gpu_hours
    return {
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
        "cost": found.gpu_hours * price,
        "goodput_rps": attained / span if span > 0 and np.isfinite(attained) else None,
        "peak_replicas": found.peak_replicas,
        "reversals_per_hour": found.reversals_per_hour,
        "killed_in_flight": found.killed,
        "failed": found.failed,
    }


def trail(run: Run, profile: Profile, objectives: Objectives) -> Trail:
    """What plots need."""
    return Trail(
        tuple(run.points),
        tuple(_latency(run)),
        tuple(_demand(run.requests, profile, objectives)),
        tuple(worst_windows(run, profile, objectives)),
    )


def worst_windows(run: Run, profile: Profile, objectives: Objectives, *, most: int = 3) -> list[Window]:
    """Windows of five minutes with at least 20 feasible arrivals, lowest attainment first, without the perfect ones."""
    counted = feasible(run.requests, profile, objectives)
    ttft, tpot, _ = met(run, objectives)
    arrival, good = run.requests.arrival[counted], (ttft & tpot)[counted]
    cells = (arrival // _WINDOW_SECONDS).astype(np.int64)
    offered, hits = np.bincount(cells), np.bincount(cells, weights=good)
    found = []
    for cell in np.flatnonzero((offered >= _LEAST_REQUESTS) & (hits < offered)):
        begin = float(cell * _WINDOW_SECONDS)
        ready = [point[2] for point in run.points if begin <= point[0] < begin + _WINDOW_SECONDS] or [0]
        found.append(Window(begin, int(offered[cell]), float(hits[cell] / offered[cell]), ready[0], max(ready)))
    return sorted(found, key=lambda one: one.attainment)[:most]


def _latency(run: Run) -> Iterator[tuple[float, float]]:
    waits = run.first - run.requests.arrival
    cells = (run.requests.arrival // _MINUTE).astype(np.int64)
    edges = np.searchsorted(cells, np.arange(int(cells[-1]) + 2)) if len(cells) else np.array([0])
    for cell, (begin, end) in enumerate(itertools.pairwise(edges)):
        known = waits[begin:end][np.isfinite(waits[begin:end])]
        if len(known):
            yield cell * _MINUTE, float(np.percentile(known, 99))


def _demand(requests: Requests, profile: Profile, objectives: Objectives) -> Iterator[tuple[float, float]]:
    prefill, decode = oracle.work(requests, profile)
    cells = (requests.arrival // _MINUTE).astype(np.int64)
    useful = _MINUTE * oracle.useful_share(profile, objectives)
    for cell, seconds in enumerate(np.bincount(cells, weights=prefill + decode)):
        yield cell * _MINUTE, float(seconds / useful)
