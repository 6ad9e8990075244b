"""The condition types of an InferenceService and every reason they may carry.

This is the one place where they are spelled: types and reasons are API, people alert on them. A type keeps
its meaning for ever; a reason is only added. Every member knows in one sentence what it means, from which the
reference documentation is made.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Mapping


class _Explained(StrEnum):
    """A string that knows its meaning.

    Attributes:
        meaning: one sentence for people.
    """

    meaning: str

    def __new__(cls, value: str, meaning: str) -> Self:
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member


class ConditionType(_Explained):
    """The conditions, in the order in which they are shown."""

    READY = "Ready", "Summary: requests are served as declared. If not, it has the reason of what fails."
    ACCEPTED = "Accepted", "The specification is valid beyond what the API server checks."
    AVAILABLE = "Available", "At least one replica is ready to serve."
    PROGRESSING = "Progressing", "The replicas run, or are on their way to run, what the specification says."
    SLA_MET = "SLAMet", "Every objective kept its error budget over the window."
    SCALING_ACTIVE = "ScalingActive", "The signals are usable and the number of replicas follows them."
    SCALING_LIMITED = "ScalingLimited", "Something keeps the number of replicas from what demand asks for."


class Reason(_Explained):
    """Base of the reasons; one subclass for each condition type."""


class ReadyReason(Reason):
    """Reasons of Ready. When it is not True it carries the reason of the condition that fails."""

    READY = "Ready", "Accepted and Available hold; all replicas run or are on their way."


class AcceptedReason(Reason):
    """Reasons of Accepted."""

    VALID = "Valid", "The specification can be carried out."
    INVALID_SPEC = (
        "InvalidSpec",
        "A field has a value that cannot be carried out; the last good one still serves.",
    )
    ENGINE_NOT_SUPPORTED = (
        "EngineNotSupported",
        "This version of the operator cannot run the engine asked for.",
    )
    NAME_CONFLICT = "NameConflict", "An object of somebody else has the name of a child, and is left alone."


class AvailableReason(Reason):
    """Reasons of Available."""

    MINIMUM_REPLICAS_READY = (
        "MinimumReplicasReady",
        "At least the smallest allowed number of replicas is ready.",
    )
    NOT_ENOUGH_REPLICAS = "NotEnoughReplicas", "No replica is ready."
    WORKER_CRASHED = (
        "WorkerCrashed",
        "A worker exits and is started again and again; the message has its last line.",
    )
    IMAGE_PULL_FAILED = "ImagePullFailed", "The image of the worker cannot be pulled."
    SCALED_TO_ZERO = "ScaledToZero", "No replica runs because none is needed; a request brings one back."
    NO_WORKLOAD = "NoWorkload", "There is no Deployment yet."


class ProgressingReason(Reason):
    """Reasons of Progressing."""

    COMPLETE = "Complete", "Every wanted replica runs what the specification says and is ready."
    ROLLING_OUT = "RollingOut", "Replicas are being started or replaced."
    NO_WORKLOAD = "NoWorkload", "There is no Deployment yet."
    WORKER_CRASHED = "WorkerCrashed", "A worker ended; the message holds what it said last."
    IMAGE_PULL_FAILED = "ImagePullFailed", "The image of a worker cannot be pulled."
    UNSCHEDULABLE = "Unschedulable", "A replica finds no node, most often for want of free accelerators."
    DEADLINE_EXCEEDED = (
        "DeadlineExceeded",
        "A replica did not become ready within runtime.startupTimeoutSeconds.",
    )


class SLAMetReason(Reason):
    """Reasons of SLAMet."""

    OBJECTIVES_MET = "ObjectivesMet", "Every objective kept its error budget over the window."
    OBJECTIVES_MISSED = "ObjectivesMissed", "At least one objective spent its error budget over the window."
    NO_TRAFFIC = "NoTraffic", "No request arrived within the window."
    NOT_MEASURED = "NotMeasured", "Latencies are not known: nothing was measured, or it cannot be read."
    NO_OBJECTIVES = "NoObjectives", "The specification sets no objective."


class ScalingActiveReason(Reason):
    """Reasons of ScalingActive."""

    SIGNALS_FRESH = "SignalsFresh", "Every signal that the decision needs is fresh."
    SIGNALS_FROM_PODS = (
        "SignalsFromPods",
        "The metrics store is gone; the workers are asked for their metrics themselves.",
    )
    METRICS_UNAVAILABLE = (
        "MetricsUnavailable",
        "The metrics store gives no usable answer; no replica is removed.",
    )
    SIGNALS_STALE = "SignalsStale", "A signal is too old to act on; replicas hold."
    SIGNALS_ABSENT = (
        "SignalsAbsent",
        "A signal that is expected is missing, which is not zero; replicas hold.",
    )
    PAUSED = "Paused", "scaling.mode is Paused: nothing is decided."
    ADVISE = "Advise", "scaling.mode is Advise: decisions are shown and not carried out."
    FOREIGN_SCALER = (
        "ForeignScaler",
        "Somebody else sets the replicas of the Deployment; the operator stands back.",
    )
    MANUAL_REPLICAS = "ManualReplicas", "spec.replicas fixes the number."


class ScalingLimitedReason(Reason):
    """Reasons of ScalingLimited."""

    WITHIN_BOUNDS = "WithinBounds", "The number of replicas is what demand asks for."
    AT_MAX_REPLICAS = "AtMaxReplicas", "Demand asks for more than scaling.maxReplicas."
    BUDGET_CAP = "BudgetCap", "Demand asks for more than scaling.budget.maxCostPerHour pays for."
    RATE_LIMITED = "RateLimited", "scaling.behavior allows fewer replicas to be added or removed at once."
    SIGNALS_UNKNOWN = "SignalsUnknown", "What demand asks for is not known."
    QUOTA = "Quota", "Pods find no node with room, so no more are asked for."


REASONS: Final[Mapping[ConditionType, type[Reason]]] = {
    ConditionType.READY: ReadyReason,
    ConditionType.ACCEPTED: AcceptedReason,
    ConditionType.AVAILABLE: AvailableReason,
    ConditionType.PROGRESSING: ProgressingReason,
    ConditionType.SLA_MET: SLAMetReason,
    ConditionType.SCALING_ACTIVE: ScalingActiveReason,
    ConditionType.SCALING_LIMITED: ScalingLimitedReason,
}
