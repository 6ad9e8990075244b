"""A count of replicas tried in the simulator: the same demand, request by request, against the same step model.

What it can find wrong is the closed form (chance, waiting, prompts among decodes), not the step model: both share it.
"""

from __future__ import annotations

import numpy as np

from penstock_contract.profile import Profile
from penstock_lab.load.quantiles import wilson
from penstock_lab.plan.demand import Demand
from penstock_lab.plan.sla import Sla
from penstock_lab.plan.trial import Trial
from penstock_lab.simulate.policies.static import Static
from penstock_lab.simulate.score import Objectives, feasible, met
from penstock_lab.simulate.state import Requests
from penstock_lab.simulate.world import Setting, World

_FEWEST_REQUESTS, _MOST_REQUESTS = 4_000, 60_000
_SHORTEST_SECONDS = 300.0
_RESIDENCES = 10.0
_WARM_UP = 0.2
_ANY_SECONDS = 1e9


def trial(profile: Profile, demand: Demand, sla: Sla, replicas: int, *, seed: int = 0) -> Trial:
    """Serve the demand for a while with a fixed number of replicas."""
    requests = traffic(profile, demand, seed=seed)
    objectives = Objectives(sla.ttft_seconds or _ANY_SECONDS, sla.tpot_seconds or _ANY_SECONDS, sla.share)
    setting = Setting(
        profile,
        startup_seconds=0.0,
        startup_cv=0.0,
        initial_replicas=replicas,
        max_replicas=replicas,
        ttft_seconds=objectives.ttft_seconds,
        tpot_seconds=objectives.tpot_seconds,
        seed=seed,
    )
    run = World(requests, setting, Static(replicas)).run()
    ttft, tpot, _deadline = met(run, objectives)
    counted = feasible(requests, profile, objectives) & (requests.arrival >= _WARM_UP * requests.arrival[-1])
    good, total = int((ttft & tpot)[counted].sum()), int(counted.sum())
    answered = counted & np.isfinite(run.finish)
    firsts = (run.first - requests.arrival)[answered]
    paces = ((run.finish - run.first) / np.maximum(1, requests.output - 1))[answered]
    return Trial(
        replicas=replicas,
        requests=total,
        attainment=good / total if total else 0.0,
        interval=wilson(good, total),
        ttft_seconds=float(np.percentile(firsts, sla.percentile)) if len(firsts) else float("nan"),
        tpot_seconds=float(np.percentile(paces, sla.percentile)) if len(paces) else float("nan"),
    )


def traffic(profile: Profile, demand: Demand, *, seed: int) -> Requests:
    """Requests at random times, long enough for the replicas to fill, and enough to tell a percentile."""
    longest = _RESIDENCES * demand.output_tokens * 3 * profile.model.c0
    seconds = max(_SHORTEST_SECONDS, longest, _FEWEST_REQUESTS / demand.requests_per_second)
    number = int(min(_MOST_REQUESTS, seconds * demand.requests_per_second))
    dice = np.random.default_rng(seed)
    arrival = np.cumsum(dice.exponential(1 / demand.requests_per_second, number))
    if len(demand.lengths):
        drawn = demand.lengths[dice.integers(0, len(demand.lengths), number)]
        return Requests.of(arrival, np.maximum(1, drawn[:, 0]), np.maximum(1, drawn[:, 1]))
    return Requests.of(
        arrival, np.full(number, round(demand.prompt_tokens)), np.full(number, round(demand.output_tokens))
    )
