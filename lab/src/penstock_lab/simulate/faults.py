"""Every fault against one policy under steady load: does it shrink when it should not, and when is it back.

The load needs `need` replicas, found by trying. A tick is a wrong scale-down when the policy asks for fewer than that
(or than it asked for when the fault began, if that was fewer already) while the fault lasts or within a rate window
after it. The load rises as the fault ends; the time until the policy asks for what the higher load needs is its time to
resume, of which the row without a fault is the usual part.

Rivals read what is missing as `READINGS` says, after what each does upstream; what scrapes the pods itself does not
notice that a metrics source is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from penstock_contract.profile import Profile
from penstock_lab.simulate.oracle import constant
from penstock_lab.simulate.outage import DOOR, Fault, Kind
from penstock_lab.simulate.policies.base import Glance, Policy
from penstock_lab.simulate.score import Objectives
from penstock_lab.simulate.scrapes import SIGNALS, Health
from penstock_lab.simulate.state import Floats, Requests
from penstock_lab.simulate.world import WINDOW_SCRAPES, Run, Setting, World

BEGINS, LASTS = 200.0, 400.0  # longer than any window that a policy looks back over to shrink
_AFTER = 200.0
_RISE = 2.0


@dataclass(frozen=True, slots=True)
class Reading:
    """How a rival takes what is missing.

    Attributes:
        signals: that it reads from the metrics source, and `door`.
        empty_is_zero: an empty answer counts as 0; else it holds, as it does when the source does not answer.
    """

    signals: tuple[str, ...]
    empty_is_zero: bool = False


# The first name that a policy's name begins with.
READINGS: Final[dict[str, Reading]] = {
    "hpa": Reading(("running", "waiting", DOOR)),
    "keda": Reading(("waiting", DOOR), empty_is_zero=True),
    "wva": Reading(("kv_used", "waiting")),
    "dynamo": Reading((DOOR,)),
    "kpa": Reading((DOOR,)),
    "ray": Reading((DOOR,)),
    "skyserve": Reading((DOOR,)),
    "tokenscale": Reading((DOOR,)),
    "llm-d": Reading(("prompt_tokens", "generated_tokens", "kv_used", DOOR)),
}


class AsRead:
    """A rival behind its own reading of what is missing."""

    def __init__(self, policy: Policy, reading: Reading) -> None:
        self.name, self.period_seconds = policy.name, policy.period_seconds
        self._policy, self._reading = policy, reading

    def desired(self, glance: Glance) -> int:
        """Hold when what it reads is not there, unless it takes that for zero."""
        reading = self._reading
        health = {glance.health(name) for name in reading.signals if name != DOOR}
        if Health.ERROR in health or (DOOR in reading.signals and not glance.door.answered):
            return glance.current
        if Health.EMPTY in health and not reading.empty_is_zero:
            return glance.current
        return self._policy.desired(glance)


def as_read(policy: Policy) -> Policy:
    """The policy as it would run where a metric can be missing; ours reads the state of each signal by itself."""
    for name, reading in READINGS.items():
        if policy.name.startswith(name):
            return AsRead(policy, reading)
    return policy


@dataclass(frozen=True, slots=True)
class Case:
    """A row of the matrix: a name and what goes wrong."""

    name: str
    faults: tuple[Fault, ...] = ()


def cases(begins: float = BEGINS, lasts: float = LASTS) -> Iterator[Case]:
    """No fault, every fault that is about all signals, and of the others every signal."""
    ends = begins + lasts

    def fault(kind: Kind, *signals: str, count: int = 1) -> Fault:
        return Fault(kind, begins, ends, signals, count=count)

    yield Case("none")
    for kind in (Kind.SOURCE_DOWN, Kind.EMPTY, Kind.FROZEN, Kind.GAP, Kind.PARTIAL, Kind.RESET, Kind.DOOR_DOWN):
        yield Case(kind.value, (fault(kind),))
    for kind in (Kind.SOURCE_DOWN, Kind.EMPTY, Kind.ZERO, Kind.NEGATIVE):
        for signal in SIGNALS:
            yield Case(f"{kind.value}: {signal}", (fault(kind, signal),))
    yield Case("gateways read zero", (fault(Kind.ZERO, DOOR),))
    yield Case("workers read zero", (fault(Kind.ZERO, *SIGNALS),))
    yield Case("gateways and source down", (fault(Kind.SOURCE_DOWN), fault(Kind.DOOR_DOWN)))
    yield Case("gateways down, no series", (fault(Kind.EMPTY), fault(Kind.DOOR_DOWN)))
    yield Case(Kind.RESTART.value, (Fault(Kind.RESTART, begins, begins + 30.0),))
    yield Case("restarted without metrics", (Fault(Kind.RESTART, begins, begins + 30.0), fault(Kind.SOURCE_DOWN)))
    blind = (Fault(Kind.RESTART, begins, begins + 30.0), fault(Kind.SOURCE_DOWN), fault(Kind.DOOR_DOWN))
    yield Case("restarted without anything", blind)
    yield Case("one pod crashes", (fault(Kind.CRASH, count=1),))
    yield Case("every pod crashes", (fault(Kind.CRASH, count=1000),))
    yield Case("node lost", (fault(Kind.NODE_LOSS, count=2),))
    yield Case("node lost, no room", (fault(Kind.NODE_LOSS, count=2), fault(Kind.QUOTA)))
    yield Case("node lost, start-up hangs", (fault(Kind.NODE_LOSS, count=2), fault(Kind.NO_STARTUP)))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a policy made of one case.

    Attributes:
        case: its name.
        wrong: ticks at which it had shrunk below what the load needs.
        lowest: fewest replicas it asked for in that time.
        resumed_seconds: from the end of the fault until it asked for what the higher load needs; None = not seen.
        failed: requests that got no answer.
    """

    case: str
    wrong: int
    lowest: int
    resumed_seconds: float | None
    failed: int


@dataclass(frozen=True, slots=True)
class Bench:
    """The load that the faults are tried under.

    Attributes:
        setting: the world.
        requests: steady until the fault ends, then more.
        need: replicas for the steady part, and for the higher one.
    """

    setting: Setting
    requests: Requests
    need: tuple[int, int]


def bench(profile: Profile, objectives: Objectives, *, replicas: float = 8.0, seed: int = 0) -> Bench:
    """A load of so many replicas' worth, in short: requests are long, so that there are few."""
    setting = Setting(profile, startup_seconds=30.0, max_replicas=int(4 * replicas), seed=seed)
    share, prompt, output = 0.7 * replicas, 3000, 600
    model = profile.model
    seconds = model.cP * prompt + model.cPP * prompt**2 + output * (model.cB + model.cKV * (prompt + output / 2))
    useful = 1.0 - model.c0 / objectives.tpot_seconds
    rate = share * useful / seconds
    rises = BEGINS + LASTS
    steady, higher = _poisson(rate, rises, seed), _poisson(_RISE * rate, _AFTER, seed + 1)
    need = tuple(_need(arrival, (prompt, output), setting, objectives) for arrival in (steady, higher))
    arrival = np.concatenate([steady, rises + higher])
    requests = Requests.of(arrival, np.full(len(arrival), prompt), np.full(len(arrival), output))
    return Bench(replace(setting, initial_replicas=need[0]), requests, (need[0], need[1]))


def _poisson(rate: float, seconds: float, seed: int) -> Floats:
    dice = np.random.default_rng(seed)
    return np.sort(dice.uniform(0.0, seconds, dice.poisson(rate * seconds)))


def _need(arrival: Floats, shape: tuple[int, int], setting: Setting, objectives: Objectives) -> int:
    count = len(arrival)
    found = constant(Requests.of(arrival, np.full(count, shape[0]), np.full(count, shape[1])), setting, objectives)
    if found is None:
        raise ValueError(f"{setting.max_replicas} replicas do not carry the load of the fault matrix")
    return found.initial_replicas


def matrix(build: Callable[[], Policy], on: Bench, *, of: Sequence[Case] | None = None) -> Iterator[Verdict]:
    """Every case against a policy.

    Args:
        build: a fresh policy.
        on: load and world.
        of: cases; None = all.
    """
    for case in cases() if of is None else of:
        run = World(on.requests, replace(on.setting, faults=case.faults), as_read(build())).run()
        yield _judged(case, run, on)


def _judged(case: Case, run: Run, on: Bench) -> Verdict:
    start, end = BEGINS, BEGINS + LASTS
    asked = [(point[0], point[1]) for point in run.points]
    before = [count for at, count in asked if at < start][-1]
    least = min(before, on.need[0])
    window = WINDOW_SCRAPES * on.setting.scrape_seconds
    inside = [count for at, count in asked if start <= at < end + window]
    back = next((at - end for at, count in asked if at >= end and count >= on.need[1]), None)
    return Verdict(
        case=case.name,
        wrong=sum(count < least for count in inside),
        lowest=min(inside),
        resumed_seconds=back,
        failed=int((~np.isfinite(run.finish)).sum()),
    )
