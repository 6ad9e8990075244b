"""What a spec asks for, in the units of the policy; worked out once per spec, because every tick needs it of all."""

from __future__ import annotations

from dataclasses import dataclass

from penstock_operator.api import InferenceService
from penstock_operator.core.policy import cost_per_replica_hour, objectives, scaling_policy
from penstock_operator.core.scaling import Policy
from penstock_operator.core.sla import Objective

Promise = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms of one service.

    Attributes:
        service: the resource that says so.
        policy: None when `spec.replicas` fixes the count.
        objectives: of the SLA.
        window_seconds: of the SLA; 0 without one.
        price: of one replica per hour; None without one.
    """

    service: InferenceService
    policy: Policy | None
    objectives: tuple[Objective, ...]
    window_seconds: int
    price: float | None

    @property
    def promise(self) -> Promise:
        """Uid and generation: what was measured of other objectives, or of a namesake, is not of this promise."""
        return self.service.metadata.uid, self.service.metadata.generation


def terms_of(service: InferenceService) -> Terms:
    """The terms of a service."""
    spec = service.spec
    window = 0 if spec.sla is None else spec.sla.window_seconds
    return Terms(service, scaling_policy(spec), objectives(spec), window, cost_per_replica_hour(spec))
