"""`python -m benchmarks.policy.warm`: the cases from traces, with an hour of the same traffic before each.

In the comparison ours begins each case with nothing learned, while rivals bring what the first halves taught them. An
operator that is not new has seen the hour before. Here it has, and only the case itself is scored: the same requests,
the same oracle, attainment of what arrives in it and GPU-hours from its begin. Needs the kept oracles of
`benchmarks.policy`.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from benchmarks.policy import aside
from benchmarks.policy.compare import MAX_REPLICAS
from benchmarks.policy.traffic import OBJECTIVES, PROFILE, Stretch, cut, whole

from penstock_lab.simulate.policies import registry
from penstock_lab.simulate.scaling import scaled
from penstock_lab.simulate.score import feasible, met
from penstock_lab.simulate.state import Requests
from penstock_lab.simulate.world import Run, World

LEAD_SECONDS: Final = 3600.0
_ELSE: Final = 1_000_003  # the draws of the hour before are not those of the case


def led(stretch: Stretch, seed: int) -> tuple[Requests, float]:
    """The traffic of a case after as much as there is of the hour before it, and when the case begins."""
    case, trace = cut(stretch, seed), whole(stretch.trace)
    lead = min(LEAD_SECONDS, stretch.begin)
    first, begin, end = np.searchsorted(trace.arrival, [stretch.begin - lead, stretch.begin, stretch.end])
    rows = slice(int(first), int(begin))
    part = Requests(
        trace.arrival[rows] - (stretch.begin - lead), trace.prompt[rows], trace.output[rows], trace.cached[rows]
    )
    before = scaled(part, len(case) / int(end - begin), seed=seed + _ELSE)
    early = before.arrival < lead  # copies are moved by some seconds, a few of them into the case
    columns = [
        np.concatenate([one[early], other])
        for one, other in (
            (before.arrival, case.arrival + lead),
            (before.prompt, case.prompt),
            (before.output, case.output),
            (before.cached, case.cached),
        )
    ]
    return Requests(*columns), lead


def trial(name: str, startup: float, seed: int) -> aside.Row | None:
    """One case, begun anew and after the hour before; None without a kept oracle."""
    found = aside.known(name, startup, seed)
    if found is None:
        return None
    row, setting = found
    requests, lead = led(aside.held()[name], seed)
    ours = registry.build(registry.OURS, profile=PROFILE, objectives=OBJECTIVES, minimum=1, maximum=MAX_REPLICAS)
    run = World(requests, setting, ours).run()
    return row | {"lead_seconds": lead} | scored(run, lead)


def scored(run: Run, begin: float) -> dict[str, float]:
    """Attainment of the requests from `begin` on and of all, and GPU-hours from then on."""
    first, further, _ = met(run, OBJECTIVES)
    possible = feasible(run.requests, PROFILE, OBJECTIVES)
    counted = possible & (run.requests.arrival >= begin)
    held_seconds = sum(
        max(0.0, (run.end if pod.deleted is None else pod.deleted) - max(begin, pod.scheduled))
        for pod in run.pods
        if pod.scheduled is not None
    )
    return {
        "attainment": float(np.mean((first & further)[counted])),
        "attainment_with_lead": float(np.mean((first & further)[possible])),
        "gpu_hours": PROFILE.accelerators * held_seconds / 3600.0,
    }


if __name__ == "__main__":
    raise SystemExit(aside.run("warm", trial, "The cases from traces, with an hour of the same traffic before each."))
