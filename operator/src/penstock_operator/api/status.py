"""`status` of an InferenceService: small, bounded, and written on transitions only.

It holds times and never ages, and no live measurement: those are metrics.
"""

from typing import Annotated, Literal

from pydantic import Field

from penstock_operator.api.base import Model
from penstock_operator.api.fields import CamelCase, Integer, ListMap, Message, Share, Timestamp
from penstock_operator.api.scaling import MAX_REPLICAS

ReplicaCount = Annotated[Integer, Field(ge=0)]


class Condition(Model):
    """One aspect of the state, as in all Kubernetes APIs."""

    type: CamelCase
    """Which aspect: Ready, Accepted, Available, Progressing, SLAMet, ScalingActive or ScalingLimited."""
    status: Literal["True", "False", "Unknown"]
    """Whether it holds."""
    reason: CamelCase
    """Why, as one word for programs."""
    message: Message = ""
    """Why, as a sentence for people."""
    last_transition_time: Timestamp
    """When status last changed."""
    observed_generation: Annotated[Integer, Field(ge=0)] = 0
    """The metadata.generation that this speaks of."""


class Prediction(Model):
    """What a number of replicas was predicted to achieve."""

    replicas: ReplicaCount
    """The number of replicas."""
    attainment: Share
    """Predicted share of requests within the objectives, from 0 to 1, such as "0.962"."""


class Signal(Model):
    """State of one input of the decision."""

    name: CamelCase
    """Which signal, such as Arrivals."""
    state: Literal["Fresh", "Stale", "Absent", "Contradictory"]
    """Fresh, too old, missing, or at odds with another signal."""
    observed_at: Timestamp | None = None
    """When it was last observed."""


class Decision(Model):
    """The last decision that changed something, with what it was made of."""

    decided_at: Timestamp
    """When it was made."""
    reason: CamelCase
    """What it answers to, such as PredictedBacklog."""
    limited_by: Literal["None", "Max", "Budget", "Rate", "Quota", "Unknown"] = "None"
    """What kept it from the number that demand asks for."""
    predictions: Annotated[tuple[Prediction, ...], Field(max_length=8)] = ()
    """What the numbers of replicas in question were predicted to achieve."""
    signals: Annotated[
        tuple[Signal, ...],
        Field(max_length=16),
        ListMap(("name",)),
    ] = ()
    """State of the inputs."""


class Learned(Model):
    """What was learned about the service; read back only if the metrics store has forgotten."""

    startup_seconds_p90: Annotated[Integer, Field(ge=0)] | None = None
    """Ninetieth percentile in seconds from a replica being scheduled to it being ready."""
    confidence: Literal["Low", "Medium", "High"] | None = None
    """How far the learned capacity of a replica is trusted."""


class InferenceServiceStatus(Model):
    """What was last observed and decided."""

    observed_generation: Annotated[Integer, Field(ge=0)] = 0
    """The metadata.generation that was last carried out."""
    selector: Annotated[str, Field(max_length=512)] = ""
    """Label selector of the pods, for the scale subresource."""
    replicas: ReplicaCount = 0
    """Pods that exist."""
    ready_replicas: ReplicaCount = 0
    """Pods that take requests."""
    desired_replicas: Annotated[Integer, Field(ge=0, le=MAX_REPLICAS)] | None = None
    """Number of replicas that was last decided, or spec.replicas."""
    decision: Decision | None = None
    """The last decision that changed something."""
    learned: Learned | None = None
    """What was learned about the service."""
    conditions: Annotated[
        tuple[Condition, ...],
        Field(max_length=16),
        ListMap(("type",)),
    ] = ()
    """The state by aspects; Ready sums it up."""

    def condition(self, kind: str) -> Condition | None:
        """Return the condition of a type, or None while it is not known."""
        return next((condition for condition in self.conditions if condition.type == kind), None)
