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
        changed_at: Unix seconds at which a threshold was seen to change, or a namesake to take over; None if never.
    """

    service: InferenceService
    policy: Policy | None
    objectives: tuple[Objective, ...]
    window_seconds: int
    price: float | None
    changed_at: float | None = None

    def counted_alike(self, now: float) -> bool:
        """Whether all that the gateways counted in the window was judged by the objectives of now."""
        return self.changed_at is None or now - self.changed_at >= self.window_seconds

    @property
    def promise(self) -> Promise:
        """Uid and generation: what was measured of other objectives, or of a namesake, is not of this promise."""
        return self.service.metadata.uid, self.service.metadata.generation


def terms_of(service: InferenceService, before: Terms | None = None, *, now: float = 0.0) -> Terms:
    """The terms of a service.

    Args:
        service: the resource.
        before: its terms until now, or those of the namesake that it took over from.
        now: Unix seconds.
    """
    spec = service.spec
    window = 0 if spec.sla is None else spec.sla.window_seconds
    promised, changed_at = objectives(spec), None
    if before is not None:
        same = before.objectives == promised and before.service.metadata.uid == service.metadata.uid
        changed_at = before.changed_at if same else now
    return Terms(service, scaling_policy(spec), promised, window, cost_per_replica_hour(spec), changed_at)
