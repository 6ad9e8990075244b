"""The largest load that simulated replicas carry, by halving: the same requests at one rate after another."""

from __future__ import annotations

import math

import numpy as np
from benchmarks.capacity.cases import WARM_SHARE, Case, Drawn

from penstock_lab.simulate import engine
from penstock_lab.simulate.score import Objectives, feasible, met
from penstock_lab.simulate.state import Limits, Requests, arrays, open_slot
from penstock_lab.simulate.world import Run

_STEP_SECONDS = 5.0
_HALVINGS = 6
_SLACK_SECONDS = 60.0


class Replicas:
    """So many replicas under one case's requests, at any rate; what was simulated is kept."""

    def __init__(self, case: Case) -> None:
        self.case, self.drawn, self.profile = case, Drawn(case), case.replica()
        self._runs: dict[float, Run] = {}

    def carries(self, objectives: Objectives, *, hint: float) -> float:
        """Generated tokens/s of one replica at which the objectives are just kept.

        Args:
            objectives: seconds, and the share of the requests that shall keep them.
            hint: tokens/s to begin with.
        """
        low, high = math.log(hint / 2), math.log(hint)
        while self.attainment(math.exp(high), objectives) >= objectives.attainment:
            low, high = high, high + math.log(1.5)
        while self.attainment(math.exp(low), objectives) < objectives.attainment:
            low, high = low - math.log(2.0), low
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            if self.attainment(math.exp(middle), objectives) >= objectives.attainment:
                low = middle
            else:
                high = middle
        return math.exp(low)

    def attainment(self, load: float, objectives: Objectives) -> float:
        """Share of the feasible requests that keep the objectives, without those of the beginning."""
        run = self._run(load)
        counted = feasible(run.requests, self.profile, objectives)
        counted[: int(WARM_SHARE * len(counted))] = False
        first, further, _ = met(run, objectives)
        return float((first & further)[counted].mean())

    def _run(self, load: float) -> Run:
        key = round(load, 6)
        if key not in self._runs:
            self._runs[key] = self._simulated(self.drawn.at(load * self.case.replicas / self.drawn.tokens))
        return self._runs[key]

    def _simulated(self, requests: Requests) -> Run:
        fleet = arrays(requests, Limits.of(self.profile), slots=self.case.replicas)
        for slot in range(self.case.replicas):
            open_slot(fleet, slot, 0.0)
        now, last = 0.0, float(requests.arrival[-1]) + _SLACK_SECONDS
        while fleet.ended_count[0] < len(requests) and now < last:
            engine.run(fleet, now, now + _STEP_SECONDS, 0.25, self.drawn.tokens)
            now += _STEP_SECONDS
        finish = np.where(np.isnan(fleet.finish), np.inf, fleet.finish)  # too late, too
        return Run(requests, fleet.first, finish, [], now, 0.0, 0)
