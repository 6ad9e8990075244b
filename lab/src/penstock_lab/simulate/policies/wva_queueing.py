"""llm-d's Workload Variant Autoscaler with its queueing model: means under SLO targets (`rivals.md` §5.4, §1.1).

Source: llm-inferno/queue-analysis `pkg/analyzer/queueanalyzer.go`, which WVA's parked
`internal/engines/analyzers/queueingmodel` uses; upstream refuses to run it and holds, here it runs. A state-dependent
M/M/1 queue of at most 256 requests in service and 100 that wait; the largest rate whose mean TTFT and mean ITL meet
their targets is what a replica carries. In the place of the filter that learns its three parameters stands the
simulated replica's own step model: a perfect profile. Arrivals are the gateway's of the last minute; lengths are V2's.
It acts through the same HPA as V2, and holds while it knows no lengths.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from penstock_contract.profile import Profile
from penstock_contract.step import StepWork
from penstock_lab.simulate.policies.base import ANY, Bounds, Glance
from penstock_lab.simulate.policies.window import Window
from penstock_lab.simulate.policies.wva import actuator, replicas
from penstock_lab.simulate.state import Floats

_MOST_IN_SERVICE, _MOST_WAITING = 256, 100
_MARGIN = 1e-3
_HALVINGS = 30


@dataclass(frozen=True, slots=True)
class Queue:
    """One replica under requests of one size; times in seconds.

    Attributes:
        profile: the replica.
        prompt: tokens that need prefill.
        output: tokens.
    """

    profile: Profile
    prompt: float
    output: float

    def iteration(self, batch: float) -> float:
        """Of a batch in steady state, each request spreading its prompt over its steps (`IterationTime`)."""
        context = self.prompt + self.output / 2
        prefill = batch * self.prompt / (self.output + 1)
        work = StepWork(1, batch, batch * context, prefill, prefill * self.prompt)
        return self.profile.model.seconds(work)

    def prefill(self, batch: float) -> float:
        """`PrefillTime`: an iteration and the own prompt."""
        model = self.profile.model
        return self.iteration(batch) + self.prompt * (model.cP + model.cPP * self.prompt) if self.prompt else 0.0

    def decode(self, batch: float) -> float:
        """`DecodeTime`: an iteration and the own token."""
        model = self.profile.model
        return self.iteration(batch) + model.cB + model.cKV * (self.prompt + self.output / 2)

    def rates(self) -> Floats:
        """Requests/s finished with 1, 2, … in service."""
        fits = int(self.profile.kv_tokens / (self.prompt + self.output / 2))
        most = max(1, min(_MOST_IN_SERVICE, self.profile.max_num_seqs, fits))
        one, two = (self.prefill(n) + self.output * self.decode(n) for n in (1, 2))
        count = np.arange(1, most + 1)
        return np.asarray(count / (one + (two - one) * (count - 1)))  # both times are affine in the batch

    def means(self, arrivals: float, rates: Floats) -> tuple[float, float]:
        """(TTFT, ITL) under a rate of arrivals."""
        slower = np.concatenate([-np.log(rates), np.full(_MOST_WAITING, -np.log(rates[-1]))])
        weights = np.concatenate([[0.0], np.cumsum(slower + math.log(arrivals))])
        share = np.exp(weights - weights.max())
        share /= share.sum()
        count = np.arange(len(share))
        throughput = arrivals * (1.0 - share[-1])
        serving = float((np.minimum(count, len(rates)) * share).sum())
        service = serving / throughput
        wait = float((count * share).sum()) / throughput - service
        own = self.prefill(serving)
        itl = (service - own) / self.output
        return wait + own + itl, itl

    def most(self, *, ttft: float, itl: float) -> float:
        """Largest rate of arrivals under both targets; the least there is when none is."""
        rates = self.rates()
        low, high = rates[0] * _MARGIN, rates[-1] * (1 - _MARGIN)
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            first, between = self.means(middle, rates)
            low, high = (middle, high) if first <= ttft and between <= itl else (low, middle)
        return float(low)


class WvaQueueing:
    """The queueing model on WVA's HPA. To be tuned: by how much targets are tightened, and the HPA's memory."""

    period_seconds = 15.0
    GRID: ClassVar[Mapping[str, Sequence[float]]] = {
        "tighten": (0.1, 0.2, 0.3, 0.45, 0.65, 1.0),
        "stabilization_seconds": (0.0, 240.0, 600.0),
    }

    def __init__(
        self,
        *,
        profile: Profile,
        ttft: float,
        itl: float,
        stabilization_seconds: float = 0.0,
        shipped: bool = False,
        bounds: Bounds = ANY,
        name: str = "wva-queueing",
    ) -> None:
        """WVA with analyzer `queueing-model`.

        Args:
            profile: of a replica.
            ttft: target of the mean, seconds.
            itl: target of the mean, seconds.
            stabilization_seconds: of the HPA's scale-down.
            shipped: with the HPA's tolerance.
            bounds: of the HPA.
            name: in results.
        """
        self.name = name
        self._profile = profile
        self._ttft, self._itl = ttft, itl
        self._actuator = actuator(stabilization_seconds=stabilization_seconds, shipped=shipped, bounds=bounds)
        self._arrivals = Window(60.0)

    def desired(self, glance: Glance) -> int:
        """One cycle of the optimizer and one sync of the HPA behind it."""
        wanted = self._wanted(glance)
        value = glance.current if wanted is None else wanted
        return self._actuator.sync([value], current=glance.current, ready=glance.serving, now=glance.now)

    def _wanted(self, glance: Glance) -> int | None:
        rate = glance.door.requests_per_second
        known = [one for one in replicas(glance) if one.prompt > 0 and one.output >= 1]
        if rate is None or not known:
            return None
        self._arrivals.add(glance.now, rate)
        prompt = sum(one.prompt * (1 - one.hit) for one in known) / len(known)
        output = sum(one.output for one in known) / len(known)
        carried = Queue(self._profile, prompt, output).most(ttft=self._ttft, itl=self._itl)
        return max(1, math.ceil((self._arrivals.mean() or 0.0) / carried))
