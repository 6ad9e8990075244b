"""`python -m benchmarks.policy.paced`: what it adds when the gateway holds requests so that objectives are kept.

Each case twice for each policy, the same but for the gateway: `plain`, which hands a replica what it can run, and
`paced`, which hands it what its time per token allows, and first what can still be in time. The cases are those of the
comparison, and two of bursts: steady load whose rate is another one every twenty seconds. Needs the kept oracles of
`benchmarks.policy`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import numpy as np
from benchmarks.policy import aside
from benchmarks.policy.cases import SECONDS, SHAPES, named
from benchmarks.policy.compare import MAX_REPLICAS
from benchmarks.policy.traffic import MEAN_REPLICAS, OBJECTIVES, PROFILE

from penstock_lab.simulate import oracle
from penstock_lab.simulate.policies import registry
from penstock_lab.simulate.score import score
from penstock_lab.simulate.state import Requests
from penstock_lab.simulate.synthetic import Synthetic
from penstock_lab.simulate.world import Setting, World

POLICIES: Final = (registry.OURS, "kpa-tuned", "hpa-tuned", "dynamo-sla-tuned")
BURSTS: Final = {"bursts30": 0.3, "bursts60": 0.6}  # coefficient of variation of the rate
_BURST_SECONDS: Final = 20.0


def bursts(variation: float, seed: int) -> Requests:
    """Requests at the mean load of the other cases, with a rate from a gamma distribution every so often."""
    steady = Synthetic(shape="constant", seconds=SECONDS, seed=seed)
    base = steady.columns()
    scale = MEAN_REPLICAS / oracle.mean_replicas(base, PROFILE, OBJECTIVES)
    drawn = replace(steady, rate=steady.rate * scale).columns()
    dice, shape = np.random.default_rng(seed), 1.0 / variation**2
    edges = np.arange(0.0, SECONDS + _BURST_SECONDS, _BURST_SECONDS)
    come = np.concatenate([[0.0], np.cumsum(dice.gamma(shape, size=len(edges) - 1))])
    arrival = np.interp(drawn.arrival * come[-1] / edges[-1], come, edges)
    return Requests(arrival, drawn.prompt, drawn.output, drawn.cached)


def trial(name: str, startup: float, seed: int) -> aside.Row | None:
    """Every policy before both gateways, on one case; None without a kept oracle."""
    if name in BURSTS:
        requests, found = bursts(BURSTS[name], seed), _burst(name, startup, seed)
    else:
        case = named([name])[0]
        requests, found = case.requests(seed), aside.known(name, startup, seed)
        if found is not None:
            found = found[0], replace(found[1], slowdown_per_hour=case.slowdown_per_hour)
    if found is None:
        return None
    row, setting = found
    runs: dict[str, Any] = {}
    for policy in POLICIES:
        runs[policy] = {
            gateway: _measured(requests, replace(setting, paced=gateway == "paced"), policy)
            for gateway in ("plain", "paced")
        }
    return {key: row[key] for key in ("case", "startup_seconds", "seed", "oracle_gpu_hours")} | {"runs": runs}


def _measured(requests: Requests, setting: Setting, name: str) -> dict[str, float]:
    policy = registry.build(name, profile=PROFILE, objectives=OBJECTIVES, minimum=1, maximum=MAX_REPLICAS)
    run = World(requests, setting, policy).run()
    found, wait = score(run, PROFILE, OBJECTIVES), run.first - requests.arrival
    return {
        "attainment": found.attainment,
        "gpu_hours": found.gpu_hours,
        "slowest_first_token_seconds": float(np.nanmax(wait)),
    }


def _burst(name: str, startup: float, seed: int) -> tuple[aside.Row, Setting]:
    """What the others have from the comparison."""
    setting = Setting(
        PROFILE,
        startup_seconds=startup,
        max_replicas=MAX_REPLICAS,
        ttft_seconds=OBJECTIVES.ttft_seconds,
        tpot_seconds=OBJECTIVES.tpot_seconds,
        seed=seed,
    )
    best = oracle.find(bursts(BURSTS[name], seed), setting, OBJECTIVES)
    assert best is not None, "fifty replicas are enough for ten's load"
    row = {"case": name, "startup_seconds": startup, "seed": seed, "oracle_gpu_hours": best.score.gpu_hours}
    return row, replace(setting, initial_replicas=min(MAX_REPLICAS, best.initial_replicas))


if __name__ == "__main__":
    about = "What it adds when the gateway holds requests so that objectives are kept."
    raise SystemExit(aside.run("paced", trial, about, more=(*SHAPES, *BURSTS)))
