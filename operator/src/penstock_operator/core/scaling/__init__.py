"""The scaling policy: `decide(policy, observation, memory, now) -> (decision, memory)`, a pure function."""

from penstock_operator.core.scaling.decide import decide
from penstock_operator.core.scaling.memory import Memory
from penstock_operator.core.scaling.types import (
    Decision,
    LimitedBy,
    Observation,
    Policy,
    Reason,
    Signal,
    SignalState,
)

__all__ = [
    "Decision",
    "LimitedBy",
    "Memory",
    "Observation",
    "Policy",
    "Reason",
    "Signal",
    "SignalState",
    "decide",
]
