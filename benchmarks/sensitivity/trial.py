"""One configuration under our policy, beside the oracle: what it came to, what was lost when, and what it kept in mind.

All of it before a gateway that does not pace, as in the comparison; what it attains and costs before one that does,
as ships, is beside.

A request is lost for the first of these reasons that holds: it came before the first replica could have been added;
while replicas were on their way; while the most were asked for that may be; or with all that was asked for ready, which
is the policy's own misjudgement.
"""

from __future__ import annotations

import pickle
import traceback
from dataclasses import replace
from typing import Any, Final

import numpy as np
from benchmarks.sensitivity.configurations import MOST_REPLICAS, Configuration, draw

from penstock_lab.simulate import oracle
from penstock_lab.simulate.policies import registry
from penstock_lab.simulate.policies.base import Glance, Policy
from penstock_lab.simulate.score import feasible, met, score
from penstock_lab.simulate.world import Run, World

_MEASURED_EVERY: Final = 50


class Weighed:
    """Our policy, with the size of what it remembers."""

    name = registry.OURS

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.period_seconds = policy.period_seconds
        self.sizes: list[int] = []
        self._ticks = 0

    def desired(self, glance: Glance) -> int:
        """As the policy decides."""
        wanted = self._policy.desired(glance)
        if self._ticks % _MEASURED_EVERY == 0:
            self.sizes.append(len(pickle.dumps(getattr(self._policy, "memory"))))  # noqa: B009 - of ours alone
        self._ticks += 1
        return wanted


def trial(seed: int) -> dict[str, Any]:
    """All figures of a configuration; a crash is one."""
    one = draw(seed)
    try:
        return one.about() | _run(one)
    except Exception:  # noqa: BLE001 - whatever goes wrong is what is looked for here
        return one.about() | {"crash": traceback.format_exc(limit=-3)}


def _run(one: Configuration) -> dict[str, Any]:
    requests, world = one.requests(), one.setting()
    best = oracle.find(requests, world, one.objectives)
    if best is not None:
        world = replace(world, initial_replicas=max(one.minimum, min(MOST_REPLICAS, best.initial_replicas)))
    policy = Weighed(_ours(one))
    run = World(requests, world, policy).run()
    found = score(run, one.profile, one.objectives)
    paced = score(World(requests, replace(world, paced=True), _ours(one)).run(), one.profile, one.objectives)
    return {
        "crash": None,
        "requests": found.requests,
        "infeasible": found.infeasible,
        "attainment": found.attainment,
        "attainment_ttft": found.ttft_attainment,
        "worst_window_attainment": found.to_json()["worst_attainment"],
        "gpu_hours": found.gpu_hours,
        "oracle_gpu_hours": None if best is None else best.score.gpu_hours,
        "peak": found.peak_replicas,
        "oracle_peak": None if best is None else best.score.peak_replicas,
        "turns_per_hour": found.reversals_per_hour,
        "failed": found.failed,
        "killed": found.killed,
        "memory_bytes": max(policy.sizes),
        "memory_growth_bytes": max(policy.sizes[len(policy.sizes) // 2 :])
        - max(policy.sizes[: len(policy.sizes) // 2]),
        "lost": _lost(run, one),
        "paced": {"attainment": paced.attainment, "gpu_hours": paced.gpu_hours},
    }


def _ours(one: Configuration) -> Policy:
    return registry.build(
        registry.OURS, profile=one.profile, objectives=one.objectives, minimum=one.minimum, maximum=MOST_REPLICAS
    )


def _lost(run: Run, one: Configuration) -> dict[str, float]:
    """Shares of all feasible requests that were lost, by reason."""
    ttft, tpot, _ = met(run, one.objectives)
    counted = feasible(run.requests, one.profile, one.objectives)
    missed = counted & ~(ttft & tpot)
    points = np.array([(at, asked, ready) for at, asked, ready, *_ in run.points])
    at = np.searchsorted(points[:, 0], run.requests.arrival, side="right") - 1
    asked, ready = points[at, 1], points[at, 2]
    early = run.requests.arrival < one.startup_seconds
    shares, left = {}, missed.copy()
    for name, which in (
        ("before the first start-up could end", early),
        ("with replicas on their way", asked > ready),
        ("at the most replicas", asked >= MOST_REPLICAS),
        ("with all that was asked for ready", np.ones_like(early)),
    ):
        shares[name] = float((left & which).sum() / max(1, counted.sum()))
        left &= ~which
    return shares
