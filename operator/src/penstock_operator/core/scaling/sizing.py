"""From demand, backlog and capacity to a replica count."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from penstock_operator.core.scaling.types import Policy, Reason

BACKLOG_DRAIN_SECONDS = 60.0
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


def backlog_when_ready(
    *, excess: float, need: float, ready: int, etas: Sequence[float], horizon_seconds: float
) -> float:
    """Work that will be waiting at the horizon, in replica-seconds.

    Today's queue grows by what is offered beyond the ready replicas, and shrinks by what they have left; pods on their
    way help from their time of arrival on. So a backlog that they will have worked off asks for nothing more.

    Args:
        excess: in the queue now beyond what is tolerated, in replica-seconds.
        need: replicas that the load of now keeps busy.
        ready: replicas.
        etas: seconds until each pod on its way is ready.
        horizon_seconds: when one asked for now would be.
    """
    waiting, at, serving = excess, 0.0, ready
    for eta in (*sorted(min(max(0.0, eta), horizon_seconds) for eta in etas), horizon_seconds):
        waiting = max(0.0, waiting + (need - serving) * (eta - at))
        at, serving = eta, serving + 1
    return waiting


def excess_queue(*, waiting: float, tolerated_per_replica: float, ready: int) -> float:
    """Waiting requests beyond what the ready replicas may hold."""
    return max(0.0, waiting - tolerated_per_replica * max(1, ready))


def need(*, now: float, growth: float, backlog: float) -> Need:
    """Replicas to have when those that are asked for now are ready.

    Args:
        now: replicas that the load of now keeps busy.
        growth: load to prepare for, over the load of now.
        backlog: work that will be waiting then, in replica-seconds.
    """
    return Need(load=now * growth, backlog=backlog / BACKLOG_DRAIN_SECONDS)


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
