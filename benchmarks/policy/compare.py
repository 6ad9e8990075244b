"""Runs a case with every policy, from what is kept where it is kept.

Every policy begins with the oracle's replicas of the first ten minutes, of the same seed, and has the same bounds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from benchmarks.policy import fingerprint
from benchmarks.policy.cases import Case
from benchmarks.policy.store import Key, Store
from benchmarks.policy.traffic import OBJECTIVES, PROFILE

from penstock_lab.simulate import oracle
from penstock_lab.simulate.bout import ORACLE, STATIC
from penstock_lab.simulate.policies import registry
from penstock_lab.simulate.row import figures
from penstock_lab.simulate.score import Score, score
from penstock_lab.simulate.state import Requests
from penstock_lab.simulate.world import Run, Setting, World

MAX_REPLICAS: Final = 50


@dataclass(frozen=True, slots=True)
class Round:
    """A case at a start-up time with a seed."""

    case: Case
    startup: float
    seed: int

    def key(self, policy: str) -> Key:
        """Under which a policy's figures are kept."""
        settings = {} if policy in (ORACLE, STATIC) else registry.parameters(policy)
        return Key(
            traffic=self.case.name,
            startup=self.startup,
            seed=self.seed,
            policy=policy,
            settings=json.dumps(dict(settings), sort_keys=True),
            code=fingerprint.policy(policy),
            simulator=fingerprint.simulator(),
        )


def policies(*, more: bool = False) -> list[str]:
    """Ours, what bounds it, and the rivals at defaults and tuned; with `more` every port there is."""
    rivals = [name for name in (registry.NAMES if more else registry.defaults()) if name != registry.OURS]
    tuned = [name + registry.TUNED for name in rivals if name + registry.TUNED in registry.every_tuned()]
    return [ORACLE, registry.OURS, STATIC, *tuned, *rivals]


def runs(one: Round, names: Sequence[str], store: Store) -> Iterator[tuple[Key, dict[str, Any]]]:
    """What is not kept of a round, as it ends; the oracle first."""
    missing = [name for name in names if store.find(one.key(name)) is None]
    if not missing:
        return
    requests = one.case.requests(one.seed)
    world = Setting(
        PROFILE,
        startup_seconds=one.startup,
        max_replicas=MAX_REPLICAS,
        ttft_seconds=OBJECTIVES.ttft_seconds,
        tpot_seconds=OBJECTIVES.tpot_seconds,
        seed=one.seed,
        slowdown_per_hour=one.case.slowdown_per_hour,
    )
    against = store.find(one.key(ORACLE))
    if against is None:
        against = _oracle(requests, world)
        yield one.key(ORACLE), against
    world = replace(world, initial_replicas=against["initial_replicas"])
    for name in missing:
        if name == STATIC:
            fixed = oracle.constant(requests, world, OBJECTIVES)
            yield one.key(name), {} if fixed is None else _figures(fixed.run, fixed.score)
        elif name != ORACLE:
            policy = registry.build(name, profile=PROFILE, objectives=OBJECTIVES, minimum=1, maximum=MAX_REPLICAS)
            run = World(requests, world, policy).run()
            yield one.key(name), _figures(run, score(run, PROFILE, OBJECTIVES))


def _oracle(requests: Requests, world: Setting) -> dict[str, Any]:
    """The oracle's figures, or of them what there is when no plan attains."""
    bound = oracle.lower_bound_seconds(requests, PROFILE, OBJECTIVES) * PROFILE.accelerators / 3600
    best = oracle.find(requests, world, OBJECTIVES)
    about = {"lower_bound_gpu_hours": bound, "initial_replicas": 1}
    if best is None:
        return about
    return about | {"initial_replicas": min(MAX_REPLICAS, best.initial_replicas)} | _figures(best.run, best.score)


def _figures(run: Run, found: Score) -> dict[str, Any]:
    return {key: round(value, 6) if isinstance(value, float) else value
            for key, value in figures(run, found, price=1.0).items()}  # fmt: skip


def kept(rounds: Sequence[Round], names: Sequence[str], store: Store) -> list[dict[str, Any]]:
    """Rows of what is kept: about each the case, the policy, and what it is measured by."""
    rows = []
    for one in rounds:
        against = store.find(one.key(ORACLE))
        if against is None:
            continue
        about = {
            "case": one.case.name,
            "real": one.case.real,
            "startup": one.startup,
            "seed": one.seed,
            "oracle_gpu_hours": against.get("gpu_hours"),
            "lower_bound_gpu_hours": against["lower_bound_gpu_hours"],
        }
        for name in names:
            found = store.find(one.key(name))
            if found and "gpu_hours" in found:
                rows.append(found | about | {"policy": name})
    return rows
