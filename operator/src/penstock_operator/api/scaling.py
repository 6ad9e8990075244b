"""`spec.scaling`: between which bounds, by which targets and how fast the number of replicas moves."""

from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from penstock_operator.api.base import Model, Rule
from penstock_operator.api.fields import Integer, Money

MAX_REPLICAS: Final = 1000
DEFAULT_IDLE_SECONDS: Final = 600


class Targets(Model):
    """What one replica is trusted with until its capacity is learned; a cap on what is learned afterwards."""

    tokens_per_second: Annotated[Integer, Field(ge=1, le=10_000_000)] | None = None
    """Generated tokens per second that one replica is trusted to carry at the current mix."""
    queue_depth: Annotated[Integer, Field(ge=1, le=100_000)] | None = None
    """Waiting requests per replica that are tolerated."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.tokensPerSecond) || has(self.queueDepth)",
            "set targets.tokensPerSecond, targets.queueDepth or both, or remove targets",
            lambda targets: targets.tokens_per_second is not None or targets.queue_depth is not None,
        ),
    )


class Budget(Model):
    """What the service may cost."""

    max_cost_per_hour: Money
    """Hard cap of the cost per hour in cost.currency. ScalingLimited says BudgetCap when it binds."""


class ScaleUp(Model):
    """How fast replicas are added."""

    max_replicas_per_step: Annotated[Integer, Field(ge=1, le=MAX_REPLICAS)] | None = None
    """Most replicas added by one decision; no limit when not set."""


class ScaleDown(Model):
    """How fast replicas are removed."""

    stabilization_window_seconds: Annotated[Integer, Field(ge=0, le=3600)] = 120
    """How long in seconds fewer replicas must have sufficed before any is removed."""
    max_replicas_per_step: Annotated[Integer, Field(ge=1, le=MAX_REPLICAS)] | None = None
    """Most replicas removed by one decision; no limit when not set."""


class Behavior(Model):
    """How fast the number of replicas moves."""

    scale_up: ScaleUp = ScaleUp()
    """How fast replicas are added."""
    scale_down: ScaleDown = ScaleDown()
    """How fast replicas are removed."""


class Scaling(Model):
    """How the number of replicas follows demand."""

    mode: Literal["Auto", "Advise", "Paused"] = "Auto"
    """Auto decides and scales, Advise decides and changes nothing, Paused does neither."""
    min_replicas: Annotated[Integer, Field(ge=0, le=MAX_REPLICAS)] = 1
    """Fewest replicas; 0 lets an idle service give back all its accelerators."""
    max_replicas: Annotated[Integer, Field(ge=1, le=MAX_REPLICAS)]
    """Most replicas."""
    idle_seconds: Annotated[Integer, Field(ge=0, le=86_400)] | None = None
    """How long in seconds without a request until the last replica is removed. Only with minReplicas 0, where
    600 holds when not set."""
    targets: Targets | None = None
    """What one replica is trusted with until its capacity is learned, and a cap on what is learned."""
    budget: Budget | None = None
    """What the service may cost; needs spec.cost."""
    behavior: Behavior = Behavior()
    """How fast the number of replicas moves."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.minReplicas <= self.maxReplicas",
            "minReplicas must not exceed maxReplicas: lower minReplicas or raise maxReplicas",
            lambda scaling: scaling.min_replicas <= scaling.max_replicas,
            field="minReplicas",
        ),
        Rule(
            "!has(self.idleSeconds) || self.minReplicas == 0",
            "idleSeconds applies only with minReplicas 0: set minReplicas to 0, or remove idleSeconds",
            lambda scaling: scaling.idle_seconds is None or scaling.min_replicas == 0,
            field="idleSeconds",
        ),
    )

    @property
    def idle_after_seconds(self) -> int:
        """Seconds without a request until the last replica goes, the default resolved."""
        return DEFAULT_IDLE_SECONDS if self.idle_seconds is None else self.idle_seconds
