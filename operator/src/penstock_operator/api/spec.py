"""`spec` of an InferenceService: the parts put together, with the rules that span them."""

from typing import Annotated, ClassVar

from pydantic import Field

from penstock_operator.api.base import Model, Rule
from penstock_operator.api.fields import Integer, Money, matches
from penstock_operator.api.model_source import ServedModel
from penstock_operator.api.runtime import Runtime
from penstock_operator.api.scaling import MAX_REPLICAS, Scaling
from penstock_operator.api.sla import SLA


class Cost(Model):
    """What accelerators cost."""

    per_accelerator_hour: Money
    """Price of one accelerator for one hour, such as "2.50"."""
    currency: Annotated[
        str,
        Field(min_length=3, max_length=3),
        matches("[A-Z]{3}", "currency must be three capital letters such as USD"),
    ] = "USD"
    """Currency by its ISO 4217 code; only shown, never converted."""


class Routing(Model):
    """What the gateway does with requests that no replica can take yet."""

    max_held_requests: Annotated[Integer, Field(ge=0, le=1_000_000)] = 1000
    """Most requests that are held while no replica is ready; more are rejected."""
    hold_timeout_seconds: Annotated[Integer, Field(ge=1, le=3600)] = 120
    """How long in seconds a request is held before it is rejected."""


class Rollout(Model):
    """How replicas are replaced when the pod template changes."""

    max_surge: Annotated[Integer, Field(ge=0, le=MAX_REPLICAS)] = 1
    """Most replicas above the wanted number during a rollout; each needs free accelerators."""
    max_unavailable: Annotated[Integer, Field(ge=0, le=MAX_REPLICAS)] = 0
    """Most replicas below the wanted number during a rollout."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.maxSurge > 0 || self.maxUnavailable > 0",
            "maxSurge and maxUnavailable must not both be 0: set maxSurge to 1, "
            "or maxUnavailable to 1 where no accelerator is spare",
            lambda rollout: rollout.max_surge > 0 or rollout.max_unavailable > 0,
        ),
    )


class Drain(Model):
    """How a replica is emptied before it is removed."""

    timeout_seconds: Annotated[Integer, Field(ge=0, le=3600)] = 120
    """How long in seconds running requests may take to finish before the replica is removed anyway."""


def _floor_fits_budget(spec: "InferenceServiceSpec") -> bool:
    if spec.scaling is None or spec.scaling.budget is None or spec.cost is None:
        return True
    floor = (
        float(spec.cost.per_accelerator_hour) * float(spec.runtime.accelerator.count) * float(spec.scaling.min_replicas)
    )
    return floor <= float(spec.scaling.budget.max_cost_per_hour) * 1.000000001


class InferenceServiceSpec(Model):
    """What is served, by what, and at which service level."""

    model: ServedModel
    """What is served."""
    runtime: Runtime = Runtime()
    """How one replica runs."""
    sla: SLA | None = None
    """The service level that is promised."""
    replicas: Annotated[Integer, Field(ge=0, le=MAX_REPLICAS)] | None = None
    """A fixed number of replicas; excludes scaling."""
    scaling: Scaling | None = None
    """How the number of replicas follows demand; excludes replicas."""
    cost: Cost | None = None
    """What accelerators cost, for budgets and reports."""
    routing: Routing = Routing()
    """What the gateway does with requests that no replica can take yet."""
    rollout: Rollout = Rollout()
    """How replicas are replaced when the pod template changes."""
    drain: Drain = Drain()
    """How a replica is emptied before it is removed."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!(has(self.replicas) && has(self.scaling))",
            "replicas and scaling exclude each other: remove replicas to scale with demand, "
            "or scaling to keep a fixed number",
            lambda spec: spec.replicas is None or spec.scaling is None,
        ),
        Rule(
            "has(self.replicas) || has(self.scaling)",
            "set replicas for a fixed number, or scaling.maxReplicas to scale with demand",
            lambda spec: spec.replicas is not None or spec.scaling is not None,
        ),
        Rule(
            "!has(self.scaling) || !has(self.scaling.budget) || has(self.cost)",
            "scaling.budget needs a price: set cost.perAcceleratorHour, or remove scaling.budget",
            lambda spec: spec.scaling is None or spec.scaling.budget is None or spec.cost is not None,
        ),
        Rule(
            # Doubles, with room for their rounding.
            "!has(self.scaling) || !has(self.scaling.budget) || !has(self.cost)"
            " || double(self.cost.perAcceleratorHour) * double(self.runtime.accelerator.count)"
            " * double(self.scaling.minReplicas)"
            " <= double(self.scaling.budget.maxCostPerHour) * 1.000000001",
            "scaling.budget.maxCostPerHour does not pay for scaling.minReplicas: raise the budget or lower minReplicas",
            _floor_fits_budget,
        ),
    )
