"""One case: what simulated replicas carry beside what the policy computes; here so that other processes find it."""

from __future__ import annotations

from typing import Any

from benchmarks.capacity.cases import OBJECTIVES, Case
from benchmarks.capacity.computed import LEARNING_LOAD, learned, with_true_model
from benchmarks.capacity.simulated import Replicas


def compare(case: Case) -> list[dict[str, Any]]:
    """All SLAs of one case."""
    replicas, rows = Replicas(case), []
    for name, objectives in OBJECTIVES.items():
        true = with_true_model(case, objectives)
        hint = true or 100.0
        simulated = replicas.carries(objectives, hint=hint)
        seen, memory = learned(case, objectives, load=LEARNING_LOAD * simulated)
        rows.append(
            {
                "profile": case.profile,
                "mix": case.mix.name,
                "replicas": case.replicas,
                "sla": name,
                "simulated": simulated,
                "true": true,
                "learned": seen,
                "bound": "FirstToken" if seen is not None and seen == memory.first_token else "other",
            }
        )
    return rows
