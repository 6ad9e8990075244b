"""What the policy is given, taken from simulated services, so that every part of it has something to do.

Each service is another world: another shape of traffic, replica, start-up time and SLA, a price with a budget, and for
some fewer accelerators than they ask for. What `decide()` was given at each tick is kept with the tick's time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from penstock_contract.profile import load_profile
from penstock_lab.simulate import oracle
from penstock_lab.simulate.policies import penstock
from penstock_lab.simulate.score import Objectives
from penstock_lab.simulate.synthetic import BY_THE_CLOCK, SHAPES, Synthetic
from penstock_lab.simulate.world import Setting, World
from penstock_operator.core.scaling import Decision, Memory, Observation, Policy

_SHAPES: Final = tuple(one for one in SHAPES if one not in BY_THE_CLOCK)  # an hour says nothing of days
_PROFILES: Final = ("llama70b-fp8-tp4-h100", "llama8b-bf16-tp1-h100", "qwen3-32b-bf16-tp2-h100")
_STARTUPS: Final = (5.0, 60.0, 180.0, 420.0)
_MOST: Final = 30
_Decide = Callable[[Policy, Observation, Memory, float], tuple[Decision, Memory]]


@dataclass(frozen=True, slots=True)
class Recording:
    """A service.

    Attributes:
        policy: what its user asked for.
        ticks: what was seen, every `period_seconds`.
        period_seconds: of the policy.
    """

    policy: Policy
    ticks: tuple[Observation, ...]
    period_seconds: float


def record(number: int, seconds: float) -> Recording:
    """A service by its number."""
    shape = _SHAPES[number % len(_SHAPES)]
    profile = load_profile(_PROFILES[number % len(_PROFILES)])
    objectives = Objectives(ttft_seconds=(1.0, 2.0, 5.0)[number % 3], attainment=(0.95, 0.99)[number % 2])
    tried = Synthetic(shape=shape, seconds=600.0, rate=5.0, seed=number)
    rate = 5.0 * (1 + number % 4) / oracle.mean_replicas(tried.columns(), profile, objectives)
    requests = replace(tried, seconds=seconds, rate=rate).columns()
    world = Setting(
        profile,
        startup_seconds=_STARTUPS[number % len(_STARTUPS)],
        max_replicas=_MOST,
        most_scheduled=4 if number % 5 == 0 else None,
        ttft_seconds=objectives.ttft_seconds,
        tpot_seconds=objectives.tpot_seconds,
        slowdown_per_hour=tried.slowdown_per_hour,
        seed=number,
    )
    policy = Policy(
        min_replicas=1,
        max_replicas=_MOST,
        cost_per_replica_hour=10.0,
        max_cost_per_hour=200.0 if number % 3 else 30.0,
        tpot_seconds=objectives.tpot_seconds,
        ttft_seconds=objectives.ttft_seconds,
        allowed=1.0 - objectives.attainment,
        max_sequences=profile.max_num_seqs,
    )
    ours, ticks = penstock.Penstock(policy), []

    def listen(seen: Observation) -> None:
        ticks.append(seen)

    with _listening(listen):
        World(requests, world, ours).run()
    return Recording(policy, tuple(ticks), ours.period_seconds)


@contextmanager
def _listening(to: Callable[[Observation], None]) -> Iterator[None]:
    """Let somebody hear what the simulator's policy hands to `decide()`."""
    decide: _Decide = getattr(penstock, "decide")  # noqa: B009 - a name that the module only imports

    def heard(policy: Policy, seen: Observation, memory: Memory, now: float) -> tuple[Decision, Memory]:
        to(seen)
        return decide(policy, seen, memory, now)

    setattr(penstock, "decide", heard)  # noqa: B010 - as above
    try:
        yield
    finally:
        setattr(penstock, "decide", decide)  # noqa: B010 - as above


def percentile(values: list[float], share: float) -> float:
    """Of seconds, in milliseconds."""
    return float(np.percentile(values, share)) * 1e3
