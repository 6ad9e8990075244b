"""One run: traffic against a policy. Time goes from event to event: scrapes, ticks of the policy, pods getting ready.

A policy sees a `Glance` and answers a count; the operator's hands (`Pods.steer`) carry it out. A run ends when each
request has ended, or a while after the last arrival: what is unfinished then has failed.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from penstock_contract.profile import Profile
from penstock_lab.simulate import engine
from penstock_lab.simulate.gateways import Gateways
from penstock_lab.simulate.outage import Fault, Kind, Outages, veiled
from penstock_lab.simulate.pods import Pod, Pods
from penstock_lab.simulate.policies.base import Glance, Policy
from penstock_lab.simulate.scrapes import Scrapes, Sums, probe
from penstock_lab.simulate.state import Floats, Limits, Requests, arrays

WINDOW_SCRAPES = 4
_HANDS_SECONDS = 5.0
_TAIL_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Setting:
    """The world around the policy.

    Attributes:
        profile: one replica.
        startup_seconds: mean, scheduled to ready.
        startup_cv: its coefficient of variation.
        initial_replicas: ready at the start.
        max_replicas: upper bound for every policy.
        scrape_seconds: interval of the scrapes.
        drain_timeout_seconds: longest drain of a victim.
        request_timeout_seconds: a client that has no replica by then gives up; None = never.
        most_scheduled: replicas there are accelerators for; None = any number.
        late_binding: requests wait at the gateway until a replica can run them; else in a replica's queue.
        paced: the gateway hands a replica as many sequences as their time per token allows, and holds the rest with
            those first that can still be in time.
        ttft_seconds: threshold by which the gateways count first tokens.
        tpot_seconds: … and the mean time per further token.
        seed: of the start-up times.
        slowdown_per_hour: how much longer every step takes after an hour, as a share: a leak.
        faults: what goes wrong, and when.
        most_missed: end as soon as more requests than that have missed an objective; None = never.
    """

    profile: Profile
    startup_seconds: float = 60.0
    startup_cv: float = 0.25
    initial_replicas: int = 1
    max_replicas: int = 100
    scrape_seconds: float = 15.0
    drain_timeout_seconds: float = 120.0
    request_timeout_seconds: float | None = None
    most_scheduled: int | None = None
    late_binding: bool = True
    paced: bool = False
    ttft_seconds: float = 2.0
    tpot_seconds: float = 0.05
    seed: int = 0
    slowdown_per_hour: float = 0.0
    faults: tuple[Fault, ...] = ()
    most_missed: int | None = None


@dataclass(slots=True)
class Run:
    """What happened.

    Attributes:
        requests: what was asked.
        first: time of the first token, by request; NaN without one.
        finish: time of the last; infinite for failed ones, NaN for unfinished ones.
        pods: every pod that there was.
        end: seconds at which the run ended.
        accelerator_seconds: from scheduled to deleted.
        killed: requests that a removed pod took with it.
        points: (seconds, asked, ready, offered requests/s, held and waiting) at each tick.
        objectives: (metric, met, missed) as the gateways counted them.
        given_up: it ended early, with more misses than `most_missed`.
    """

    requests: Requests
    first: Floats
    finish: Floats
    pods: list[Pod]
    end: float
    accelerator_seconds: float
    killed: int
    points: list[tuple[float, int, int, float, float]] = field(default_factory=list)
    objectives: tuple[tuple[str, float, float], ...] = ()
    given_up: bool = False


class World:
    """A service under a policy."""

    def __init__(self, requests: Requests, setting: Setting, policy: Policy) -> None:
        self._setting = setting
        self._policy = policy
        self._blind = getattr(policy, "blind", False)  # it looks at nothing but the clock
        self._outages = Outages(setting.faults)
        self._anew = copy.deepcopy(policy) if any(one.kind is Kind.RESTART for one in setting.faults) else policy
        self._lost: frozenset[int] = frozenset()
        slots = 2 * setting.max_replicas + 2  # draining ones beside their successors
        self._fleet = arrays(
            requests,
            Limits.of(setting.profile, late_binding=setting.late_binding),
            slots=slots,
            thresholds=(setting.ttft_seconds, setting.tpot_seconds),
        )
        self._coefficients = self._fleet.coefficients.copy()
        self._requests = requests
        self._gateways = Gateways(self._fleet, requests, paced=setting.paced)
        self._pods = Pods(
            self._fleet,
            startup_seconds=setting.startup_seconds,
            startup_cv=setting.startup_cv,
            drain_timeout_seconds=setting.drain_timeout_seconds,
            most_scheduled=setting.most_scheduled,
            seed=setting.seed,
        )
        window = WINDOW_SCRAPES * setting.scrape_seconds
        self._scrapes = Scrapes(interval_seconds=setting.scrape_seconds, window_seconds=window)
        self._wanted = setting.initial_replicas
        self._points: list[tuple[float, int, int, float, float]] = []

    def run(self) -> Run:
        """All of it."""
        fleet, setting = self._fleet, self._setting
        self._pods.begin_with(setting.initial_replicas)
        last = float(self._requests.arrival[-1]) if len(self._requests) else 0.0
        now, tick, hands, scrape = 0.0, 0.0, 0.0, 0.0
        while now < last + _TAIL_SECONDS and fleet.ended_count[0] < len(self._requests) and not self._hopeless:
            then = min(tick, hands, scrape, self._pods.next_event(), self._outages.next_edge(now))
            if then > now:
                engine.run(fleet, now, then, 0.25, self._gateways.mean_output)
                now = then
            self._turn(now)
            self._pods.settle(now)
            if now >= scrape:
                self._scrape(now)
                scrape += setting.scrape_seconds
            if setting.request_timeout_seconds is not None:
                engine.give_up(fleet, now - setting.request_timeout_seconds)
            if now >= tick:
                self._tick(now)
                tick += self._policy.period_seconds
            if now >= hands:
                self._gateways.learn(now)
                if not self._outages.any(Kind.RESTART):
                    self._pods.steer(self._wanted, now)
                hands += min(_HANDS_SECONDS, self._policy.period_seconds)
        return Run(
            requests=self._requests,
            first=fleet.first,
            finish=fleet.finish,
            pods=self._pods.all,
            end=now,
            accelerator_seconds=self._pods.accelerator_seconds(now, setting.profile.accelerators),
            killed=self._pods.killed,
            points=self._points,
            objectives=self._gateways.objectives,
            given_up=self._hopeless,
        )

    @property
    def _hopeless(self) -> bool:
        most = self._setting.most_missed
        return most is not None and max(self._fleet.judged[0, 1], self._fleet.judged[1, 1]) > most

    def _tick(self, now: float) -> None:
        if self._outages.any(Kind.RESTART):
            return
        glance = self._glance(now)
        shown = veiled(glance, self._outages.active) if self._outages.active else glance
        self._wanted = min(self._setting.max_replicas, max(0, self._policy.desired(shown)))
        self._points.append(self._point(glance))

    def _scrape(self, now: float) -> None:
        if self._setting.slowdown_per_hour:
            slower = 1.0 + self._setting.slowdown_per_hour * now / 3600
            self._fleet.coefficients[:] = slower * self._coefficients
        if self._blind:
            return
        if not self._outages.blind:
            self._scrapes.take(self._pods.live, self._fleet, now, self._lost)
        elif not self._outages.any(Kind.FROZEN):
            self._scrapes.miss(now)

    def _turn(self, now: float) -> None:
        """Let the faults begin and end whose time it is."""
        if not self._outages.faults:
            return
        begun, ended = self._outages.turn(now)
        for fault in begun:
            self._begin(fault, now)
        for fault in ended:
            if fault.kind is Kind.RESTART:
                self._policy = copy.deepcopy(self._anew)
            elif fault.kind is Kind.PARTIAL:
                self._lost = frozenset()
        self._pods.full, self._pods.hang = self._outages.any(Kind.QUOTA), self._outages.any(Kind.NO_STARTUP)

    def _begin(self, fault: Fault, now: float) -> None:
        pods = self._pods
        if fault.kind is Kind.CRASH:
            for pod in pods.crash(fault.count, now):
                self._scrapes.forget(pod)
        elif fault.kind is Kind.NODE_LOSS:
            pods.lose(fault.count, now)
        elif fault.kind is Kind.RESET:
            self._scrapes.reset(pods.live, self._fleet)
        elif fault.kind is Kind.PARTIAL:
            numbers = [pod.number for pod in pods.ready]
            self._lost = frozenset(numbers[: math.ceil(fault.share * len(numbers))])

    def _glance(self, now: float) -> Glance:
        if self._blind:
            return self._dark(now)
        live = self._pods.live
        serving = [pod for pod in live if pod.ready is not None]
        return Glance(
            now=now,
            replicas=self._pods.replicas,
            ready=len(serving),
            starting=len(live) - len(serving),
            unschedulable=self._pods.unschedulable,
            scraped=self._scrapes.sums(),
            pages=self._scrapes.pages(),
            window_seconds=self._scrapes.window_seconds,
            door=self._gateways.door(now),
            startup_seconds=self._pods.startup_quantile(0.9),
            startup_p50=self._pods.startup_quantile(0.5),
            starting_ages=tuple(now - pod.created for pod in live if pod.ready is None and pod.scheduled is not None),
            asked=self._wanted,
            draining=frozenset(pod.number for pod in live if pod.draining is not None),
            history=self._scrapes.history(),
            probe=partial(probe, live, self._fleet, now),
        )

    def _dark(self, now: float) -> Glance:
        """For who looks at the clock only."""
        nothing = Sums(np.empty(0), 0.0, 0.0, 0.0, 0, None)
        return Glance(
            now=now,
            replicas=self._pods.replicas,
            ready=len(self._pods.ready),
            starting=0,
            unschedulable=0,
            scraped=nothing,
            pages=[],
            window_seconds=self._scrapes.window_seconds,
            door=self._gateways.door(now),
            startup_seconds=None,
        )

    def _point(self, glance: Glance) -> tuple[float, int, int, float, float]:
        offered = glance.door.requests_per_second or 0.0
        return (glance.now, self._wanted, glance.ready, offered, glance.door.held + glance.scraped.waiting)
