"""The denominator: a fluid lower bound that no policy can beat, and a clairvoyant plan that one could follow.

The bound: a request costs w = cP·P + cPP·P² + O(cB + cKV(P + O/2)) replica-seconds of useful work, and of every step of
at most ITL seconds c0 is not useful; the (1 - attainment) costliest requests may be missed.

The plan: the work of each 10 s, with the decode of a request spread over the time it may take, smoothed, divided by a
packing and rounded up, says how many replicas are wanted when. Each level (the first replica, the second, …) is a set
of intervals by itself; a gap that is shorter than a start-up is cheaper to keep. Pods are created a start-up earlier.
Of several smoothings, each at the tightest packing that attains in the full simulation, and the fewest replicas that
attain when they never change, the cheapest is the oracle; then each part of its time is packed tighter while it still
attains. It is a plan that exists, not proven to be the best one. Runs that cannot attain any more end early.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from penstock_contract.profile import Profile
from penstock_lab.simulate.policies.base import Glance
from penstock_lab.simulate.score import Bools, Objectives, Score, feasible, score
from penstock_lab.simulate.state import Floats, Ints, Requests
from penstock_lab.simulate.world import Run, Setting, World

GRID_SECONDS = 10.0
_SMOOTHINGS = (1, 3, 6)
_PACKINGS = (0.25, 1.25)
_ROUNDS = 7
_PARTS = 6
_TIGHTER = (1.1, 1.04)
_SPREAD = 0.6


def work(requests: Requests, profile: Profile) -> tuple[Floats, Floats]:
    """Useful replica-seconds of each request, prefill and decode."""
    model = profile.model
    prompt, output = (requests.prompt - requests.cached).astype(np.float64), requests.output.astype(np.float64)
    prefill = model.cP * prompt + model.cPP * prompt * requests.prompt
    return prefill, output * (model.cB + model.cKV * (requests.prompt + output / 2))


def useful_share(profile: Profile, objectives: Objectives) -> float:
    """Largest share of a replica's time that can be useful: steps as long as the time per token may be."""
    return 1.0 - profile.model.c0 / max(objectives.tpot_seconds, 1.001 * profile.model.c0)


def lower_bound_seconds(requests: Requests, profile: Profile, objectives: Objectives) -> float:
    """Replica-seconds that any policy needs to attain."""
    counted = feasible(requests, profile, objectives)
    prefill, decode = work(requests, profile)
    costs = np.sort((prefill + decode)[counted])
    kept = costs[: math.ceil(objectives.attainment * len(costs))]
    return float(kept.sum()) / useful_share(profile, objectives)


@dataclass(frozen=True, slots=True)
class Plan:
    """Replicas over time.

    Attributes:
        times: seconds, a grid from 0.
        asked: pods that exist or load, from each time on.
        ready: pods that shall serve.
    """

    times: Floats
    asked: Ints
    ready: Ints


def plan(
    requests: Requests,
    profile: Profile,
    objectives: Objectives,
    *,
    startup_seconds: float,
    smoothing: int,
    packing: float | Floats,
) -> Plan:
    """Replicas wanted when the future is known.

    Args:
        requests: all of them.
        profile: one replica.
        objectives: the time a decode may take.
        startup_seconds: scheduled to ready.
        smoothing: width of the mean in grid steps.
        packing: share of a replica's time that is planned for useful work; of all times, or in equal parts of it.
    """
    cells = max(smoothing, int((requests.arrival[-1] if len(requests) else 0.0) // GRID_SECONDS) + 2)
    prefill, decode = work(requests, profile)
    first = (requests.arrival // GRID_SECONDS).astype(np.int64)
    series: Floats = np.bincount(first, weights=prefill, minlength=cells).astype(np.float64)
    # Decode work is spread evenly over the cells between first and last: a difference array, summed.
    width = np.maximum(1, np.ceil(_SPREAD * requests.output * objectives.tpot_seconds / GRID_SECONDS)).astype(np.int64)
    change = np.zeros(cells + int(width.max(initial=1)) + 1)
    np.add.at(change, first, decode / width)
    np.add.at(change, first + width, -decode / width)
    series = series + np.cumsum(change)[:cells]
    box = np.ones(smoothing)
    smooth = np.convolve(series, box, mode="same") / np.convolve(np.ones_like(series), box, mode="same")
    parts = np.atleast_1d(packing)
    packed = parts[np.arange(cells) * len(parts) // cells]
    wanted = np.ceil(smooth / GRID_SECONDS / packed - 1e-9).astype(np.int64)
    asked, ready = levels(wanted, math.ceil(startup_seconds / GRID_SECONDS))
    return Plan(np.arange(cells, dtype=np.float64) * GRID_SECONDS, asked, ready)


def levels(wanted: Ints, lead: int) -> tuple[Ints, Ints]:
    """The cheapest way to have at least so many replicas serving in each cell.

    Args:
        wanted: serving replicas, by cell.
        lead: cells from creation to serving.

    Returns:
        Pods that exist, and those of them that shall serve, by cell.
    """
    ready, asked = np.zeros_like(wanted), np.zeros_like(wanted)
    for level in range(1, int(wanted.max(initial=0)) + 1):
        on = _without_gaps(wanted >= level, lead)
        ready += on
        asked += _earlier(on, lead)
    return asked, ready


def _without_gaps(on: Bools, shortest: int) -> Bools:
    """On-set with the gaps filled that are no longer than a start-up."""
    filled = on.copy()
    edges = np.flatnonzero(np.diff(np.concatenate([[0], on.astype(np.int8), [0]])))
    for end, begin in zip(edges[1:-1:2], edges[2::2], strict=True):
        if begin - end <= shortest:
            filled[end:begin] = True
    return filled


def _earlier(on: Bools, lead: int) -> Bools:
    """On-set that begins `lead` cells before every stretch."""
    begun = on.copy()
    for begin in np.flatnonzero(np.diff(np.concatenate([[0], on.astype(np.int8)])) == 1):
        begun[max(0, begin - lead) : begin] = True
    return begun


class Schedule:
    """A policy that follows a plan."""

    name = "oracle"
    period_seconds = GRID_SECONDS / 2
    blind = True

    def __init__(self, followed: Plan) -> None:
        self._plan = followed

    def desired(self, glance: Glance) -> int:
        """What the plan says now; after its end, what it said last."""
        cell = min(len(self._plan.asked) - 1, int(glance.now // GRID_SECONDS))
        return int(self._plan.asked[cell])


@dataclass(frozen=True, slots=True)
class Oracle:
    """The best plan that was found.

    Attributes:
        run: following it.
        score: of that run.
        initial_replicas: most ready ones that it has in the first ten minutes: every policy begins with them.
    """

    run: Run
    score: Score
    initial_replicas: int


def find(requests: Requests, setting: Setting, objectives: Objectives) -> Oracle | None:
    """The cheapest plan that attains; None when none of those that are tried does."""
    search = _Search(requests, _strict(requests, setting, objectives), objectives)
    for smoothing in _SMOOTHINGS:
        search.bisect(smoothing)
    search.constant()
    search.descend()
    return search.best


def constant(requests: Requests, setting: Setting, objectives: Objectives) -> Oracle | None:
    """The fewest replicas that attain when they never change; None when the most do not."""
    search = _Search(requests, _strict(requests, setting, objectives), objectives)
    search.constant()
    return search.best


def _strict(requests: Requests, setting: Setting, objectives: Objectives) -> Setting:
    """A setting whose runs end when they cannot attain any more, whatever comes."""
    counted = int(feasible(requests, setting.profile, objectives).sum())
    allowed = math.floor((1.0 - objectives.attainment) * counted + 1e-9)
    return replace(
        setting,
        startup_cv=0.0,
        ttft_seconds=objectives.ttft_seconds,
        tpot_seconds=objectives.tpot_seconds,
        most_missed=allowed + len(requests) - counted,
    )


class _Search:
    """The cheapest plan so far, and ways to a cheaper one. A plan that is dearer on paper is not tried."""

    def __init__(self, requests: Requests, setting: Setting, objectives: Objectives) -> None:
        self.best: Oracle | None = None
        self._requests, self._setting, self._objectives = requests, setting, objectives
        self._smoothing = 0
        self._parts: Floats = np.empty(0)

    def bisect(self, smoothing: int) -> None:
        """The tightest packing that attains."""
        loose, tight = _PACKINGS
        for _ in range(_ROUNDS):
            packing = (loose + tight) / 2
            verdict = self._try(smoothing, np.full(_PARTS, packing))
            if verdict is False:
                tight = packing
            else:
                loose = packing

    def descend(self) -> None:
        """Pack each part of the time a little tighter, while it attains."""
        if not len(self._parts):
            return
        for tighter in _TIGHTER:
            for part in range(_PARTS):
                packing = self._parts.copy()
                packing[part] *= tighter
                self._try(self._smoothing, packing)

    def constant(self) -> None:
        """The fewest replicas that never change, as far as that can be cheaper."""
        low, high = 1, self._setting.max_replicas
        span = float(self._requests.arrival[-1]) if len(self._requests) else 0.0
        if self.best is not None and span > 0:
            accelerators = self._setting.profile.accelerators
            high = min(high, int(self.best.score.gpu_hours * 3600 / span / accelerators))
        while low <= high:
            count = (low + high) // 2
            cell = np.array([count])
            held = Schedule(Plan(np.zeros(1), cell, cell))
            run = World(self._requests, replace(self._setting, initial_replicas=count), held).run()
            before = self.best
            if self._attains(run, count):
                high = count - 1
                self._parts = self._parts if self.best is before else np.empty(0)
            else:
                low = count + 1

    def _try(self, smoothing: int, parts: Floats) -> bool | None:
        """Whether a plan attains; None when it is not cheaper than the best, which is not tried."""
        setting = self._setting
        followed = plan(
            self._requests,
            setting.profile,
            self._objectives,
            startup_seconds=setting.startup_seconds,
            smoothing=smoothing,
            packing=parts,
        )
        hours = float(followed.asked.sum()) * GRID_SECONDS * setting.profile.accelerators / 3600
        if self.best is not None and hours >= self.best.score.gpu_hours:
            return None
        begin = int(followed.ready[: int(600 / GRID_SECONDS)].max(initial=0))
        known = replace(setting, initial_replicas=min(setting.max_replicas, int(followed.ready[0])))
        before = self.best
        if not self._attains(World(self._requests, known, Schedule(followed)).run(), max(1, begin)):
            return False
        if self.best is not before:
            self._smoothing, self._parts = smoothing, parts
        return True

    def _attains(self, run: Run, begin: int) -> bool:
        """Whether a run attains; the cheapest that does is kept."""
        if run.given_up:
            return False
        figures = score(run, self._setting.profile, self._objectives)
        if not figures.attainment >= self._objectives.attainment:
            return False
        if self.best is None or figures.gpu_hours < self.best.score.gpu_hours:
            self.best = Oracle(run, figures, begin)
        return True


def mean_replicas(requests: Requests, profile: Profile, objectives: Objectives) -> float:
    """Fluid demand in replicas, as a mean over the trace."""
    span = float(requests.arrival[-1]) if len(requests) else 0.0
    return lower_bound_seconds(requests, profile, objectives) / span if span > 0 else 0.0
