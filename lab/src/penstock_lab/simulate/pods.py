"""Pods of a simulated service: created, scheduled when there are accelerators, loading, ready, draining, gone.

The Deployment's count, the choice of victims and the drain are the operator's own (`core.victims.plan`), at its ticks:
every policy is carried out by the same hands, so that a comparison is one of policies. A pod holds its accelerators
from scheduled to deleted.
"""

from __future__ import annotations

import math
from bisect import insort
from dataclasses import dataclass
from heapq import heappop, heappush

import numpy as np

from penstock_lab.simulate import engine
from penstock_lab.simulate.state import NOBODY, Arrays, busy, open_slot
from penstock_operator.core.victims import Candidate, plan


@dataclass(slots=True)
class Pod:
    """One pod; times in seconds from the start, None until it happens.

    Attributes:
        number: of its creation.
        created: by the Deployment.
        startup_seconds: scheduled to ready, drawn beforehand.
        scheduled: bound to a node; it holds accelerators from here.
        loading: since when, if its container had to start again; None = since it was scheduled.
        ready: serves.
        draining: marked as leaving.
        deleted: gone.
        slot: of the engine, while it is ready.
    """

    number: int
    created: float
    startup_seconds: float
    scheduled: float | None = None
    loading: float | None = None
    ready: float | None = None
    draining: float | None = None
    deleted: float | None = None
    slot: int = NOBODY

    @property
    def due(self) -> float:
        """When it becomes ready; infinite before it is scheduled."""
        since = self.scheduled if self.loading is None else self.loading
        return math.inf if since is None else since + self.startup_seconds


class Pods:
    """The pods of one service and its Deployment's count."""

    def __init__(
        self,
        fleet: Arrays,
        *,
        startup_seconds: float,
        startup_cv: float,
        drain_timeout_seconds: float,
        most_scheduled: int | None,
        seed: int,
    ) -> None:
        """An empty service.

        Args:
            fleet: the engine's arrays; there is a slot for every pod that is ever ready at the same time.
            startup_seconds: mean time from scheduled to ready.
            startup_cv: its coefficient of variation; lognormal.
            drain_timeout_seconds: then a victim goes with what it still has.
            most_scheduled: pods there are accelerators for; None = any number.
            seed: of the start-up times.
        """
        self.replicas = 0
        self.killed = 0
        self.full = False
        self.hang = False
        self.all: list[Pod] = []
        self._startups: list[float] = []
        self._live: list[Pod] = []
        self._fleet = fleet
        self._slots = list(range(len(fleet.accepts)))  # a heap: low ones first, so that few are looked through
        self._most = most_scheduled
        self._timeout = drain_timeout_seconds
        self._dice = np.random.default_rng(seed)
        self._sigma = math.sqrt(math.log1p(startup_cv**2))
        self._mu = math.log(startup_seconds) - self._sigma**2 / 2 if startup_seconds > 0 else None

    @property
    def live(self) -> list[Pod]:
        """Pods that are not gone."""
        return self._live

    @property
    def ready(self) -> list[Pod]:
        """Pods that serve, draining ones included."""
        return [pod for pod in self._live if pod.ready is not None]

    @property
    def unschedulable(self) -> int:
        """Pods that wait for accelerators."""
        return sum(pod.scheduled is None for pod in self._live)

    def startup_quantile(self, share: float) -> float | None:
        """Created to ready, as the operator measures it: of the pods that were started, not those of the beginning."""
        seen = self._startups
        return seen[math.ceil(share * len(seen)) - 1] if seen else None

    def begin_with(self, count: int) -> None:
        """So many ready pods at time 0."""
        self.replicas = count
        self._create(0.0)
        for pod in self._live:
            pod.scheduled, pod.startup_seconds = 0.0, 0.0
        self.settle(0.0)

    def next_event(self) -> float:
        """Time at which the next pod becomes ready; infinite when none starts."""
        if self.hang:
            return math.inf
        return min((pod.due for pod in self._live if pod.ready is None), default=math.inf)

    def settle(self, now: float) -> None:
        """Schedule what fits and open what has loaded."""
        holding = sum(pod.scheduled is not None for pod in self._live)
        for pod in self._live:
            if pod.scheduled is None and not self.full and (self._most is None or holding < self._most):
                pod.scheduled, holding = now, holding + 1
            if pod.ready is None and pod.due <= now and not self.hang:
                pod.ready, pod.slot = now, heappop(self._slots)
                open_slot(self._fleet, pod.slot, now)
                self._fleet.accepts[pod.slot] = pod.draining is None
                if pod.startup_seconds > 0 and pod.loading is None:
                    insort(self._startups, now - pod.created)

    def steer(self, wanted: int, now: float) -> None:
        """One tick of the operator's hands towards a count."""
        if wanted == self.replicas == len(self._live) and all(pod.draining is None for pod in self._live):
            self.settle(now)
            return  # the plan would be to do nothing
        candidates = [self._candidate(pod) for pod in self._live]
        step = plan(candidates, current=self.replicas, wanted=wanted, now=now, timeout_seconds=self._timeout)
        named = {str(pod.number): pod for pod in self._live}
        for name in step.unmark:
            self._mark(named[name], None)
        for name in step.mark:
            self._mark(named[name], now)
        for name in step.remove:
            self._delete(named[name], now)
        self.replicas = step.replicas
        self._create(now)
        self.settle(now)

    def crash(self, count: int, now: float) -> list[Pod]:
        """The containers of the first so many serving pods start again; what they had is lost. Returns the pods."""
        struck = self.ready[:count]
        for pod in struck:
            self._empty(pod)
            pod.ready, pod.loading, pod.startup_seconds = None, now, self._draw()
        return struck

    def lose(self, count: int, now: float) -> None:
        """A node goes with the first so many serving pods, and what they had."""
        for pod in self.ready[:count]:
            self._empty(pod)
            pod.deleted = now
            self._live.remove(pod)

    def accelerator_seconds(self, until: float, accelerators: int) -> float:
        """Accelerators times seconds from scheduled to deleted, up to a time."""
        spans = (
            min(until, pod.deleted if pod.deleted is not None else until) - pod.scheduled
            for pod in self.all
            if pod.scheduled is not None and pod.scheduled < until
        )
        return accelerators * sum(spans)

    def _candidate(self, pod: Pod) -> Candidate:
        return Candidate(
            name=str(pod.number),
            ready=pod.ready is not None,
            scheduled=pod.scheduled is not None,
            created=str(pod.number),
            draining_since=pod.draining,
            work=float(busy(self._fleet, pod.slot)) if pod.ready is not None else None,
        )

    def _mark(self, pod: Pod, at: float | None) -> None:
        pod.draining = at
        if pod.slot != NOBODY:
            self._fleet.accepts[pod.slot] = at is None

    def _delete(self, pod: Pod, now: float) -> None:
        pod.deleted = now
        self._live.remove(pod)
        if pod.slot != NOBODY:
            self.killed += self._empty(pod)

    def _empty(self, pod: Pod) -> int:
        """Free the slot of a pod; the requests that were in it have failed."""
        self._fleet.accepts[pod.slot] = False
        lost = engine.kill(self._fleet, pod.slot)
        heappush(self._slots, pod.slot)
        pod.slot = NOBODY
        self._fleet.span[0] = max((one.slot + 1 for one in self._live), default=0)
        return lost

    def _draw(self) -> float:
        return 0.0 if self._mu is None else float(self._dice.lognormal(self._mu, self._sigma))

    def _create(self, now: float) -> None:
        while len(self._live) < self.replicas:
            pod = Pod(number=len(self.all) + 1, created=now, startup_seconds=self._draw())
            self.all.append(pod)
            self._live.append(pod)
