"""From demand, backlog and capacity to a replica count."""

from __future__ import annotations

import math
from dataclasses import dataclass

from penstock_operator.core.scaling.types import Policy, Reason

BACKLOG_DRAIN_SECONDS = 30.0
DOWN_UTILISATION = 0.9
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Need:
    """Replicas that the load asks for, as a fraction, and which part of it asked.

    Attributes:
        load: offered load over capacity.
        backlog: what it takes on top to work off the excess queue in BACKLOG_DRAIN_SECONDS.
    """

    load: float
    backlog: float

    @property
    def total(self) -> float:
        """Replicas needed."""
        return self.load + self.backlog

    @property
    def reason(self) -> Reason:
        """Which part decides."""
        return (
            Reason.BACKLOG
            if math.ceil(self.load - _ROUNDING) < math.ceil(self.total - _ROUNDING)
            else Reason.OFFERED_LOAD
        )


def excess_queue(*, waiting: float, tolerated_per_replica: float, ready: int) -> float:
    """Waiting requests beyond what the ready replicas may hold."""
    return max(0.0, waiting - tolerated_per_replica * max(1, ready))


def need(*, demand: float, excess_requests: float, tokens_per_request: float, capacity: float) -> Need:
    """Replicas for a demand in generated tokens/s and a queue in requests; capacity in tokens/s per replica."""
    backlog = excess_requests * tokens_per_request / BACKLOG_DRAIN_SECONDS
    return Need(load=demand / capacity, backlog=backlog / capacity)


def recommend(needed: float, *, current: int) -> int:
    """Replica count for a need, with a band against flapping.

    Up as soon as the current count does not suffice; down only to a count that would be at most DOWN_UTILISATION busy.
    Monotone in `needed`, and a count once reached stays while the need does not move.
    """
    up = math.ceil(needed - _ROUNDING)
    if up > current:
        return up
    return min(current, max(1, math.ceil(needed / DOWN_UTILISATION - _ROUNDING)))


def affordable(policy: Policy) -> int | None:
    """Most replicas that the budget pays for; None without a budget or a price."""
    if policy.max_cost_per_hour is None or not policy.cost_per_replica_hour:
        return None
    return int(policy.max_cost_per_hour / policy.cost_per_replica_hour + _ROUNDING)
