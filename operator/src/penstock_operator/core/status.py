"""From live children to the reconciler's part of `status`: counts, Accepted, Available, Progressing and Ready.

Pure: the same inputs give the same status, so an unchanged world costs no write. `lastTransitionTime` moves only when a
condition's status flips; all four types are present from the first visit on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from penstock_operator.core import naming
from penstock_operator.core.pods import Trouble, worst_trouble

Manifest = dict[str, Any]
ConditionStatus = Literal["True", "False", "Unknown"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """One condition without its times.

    Attributes:
        type: condition type.
        status: True, False or Unknown.
        reason: stable reason of `api.conditions`.
        message: for people; names the field and the fix where there is one.
        follows: the message is kept up to date while the reason stands.
    """

    type: str
    status: ConditionStatus
    reason: str
    message: str
    follows: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a spec was not accepted."""

    reason: str
    message: str


def timed(verdicts: Sequence[Verdict], previous: Sequence[Manifest], *, generation: int, now: str) -> list[Manifest]:
    """Conditions with times: unchanged ones keep theirs.

    The message stays as long as status, reason and generation stand, since the numbers and names in it (the last line
    of a crash, the nodes that had no room) change more often than what it says; unless the verdict says otherwise.

    Args:
        verdicts: what is true now.
        previous: conditions of the live status.
        generation: generation of the spec they speak about.
        now: RFC 3339 time.
    """
    known = {condition.get("type"): condition for condition in previous}
    conditions = []
    for verdict in verdicts:
        old = known.get(verdict.type, {})
        flipped = old.get("status") != verdict.status
        stands = (old.get("status"), old.get("reason"), old.get("observedGeneration")) == (
            verdict.status,
            verdict.reason,
            generation,
        )
        conditions.append(
            {
                "type": verdict.type,
                "status": verdict.status,
                "reason": verdict.reason,
                "message": old.get("message", "") if stands and not verdict.follows else verdict.message[:1024],
                "observedGeneration": generation,
                "lastTransitionTime": now if flipped else old.get("lastTransitionTime", now),
            }
        )
    return conditions


def verdicts(*, refusal: Refusal | None, deployment: Manifest | None, pods: Sequence[Manifest]) -> list[Verdict]:
    """The four reconcile conditions."""
    trouble = worst_trouble(pods)
    accepted = (
        Verdict("Accepted", "True", "Valid", "the spec is valid and supported")
        if refusal is None
        else Verdict("Accepted", "False", refusal.reason, refusal.message)
    )
    available = _available(deployment, trouble)
    progressing = _progressing(deployment, trouble)
    return [_ready(accepted, available, progressing), accepted, available, progressing]


def _available(deployment: Manifest | None, trouble: Trouble | None) -> Verdict:
    if deployment is None:
        return Verdict("Available", "False", "NoWorkload", "no Deployment yet")
    wanted = int(deployment.get("spec", {}).get("replicas", 1))
    ready = int(deployment.get("status", {}).get("readyReplicas") or 0)
    if wanted == 0:
        return Verdict("Available", "False", "ScaledToZero", "scaled to zero replicas")
    if ready > 0:
        return Verdict("Available", "True", "MinimumReplicasReady", "at least one replica serves")
    if trouble is not None and trouble.reason in ("WorkerCrashed", "ImagePullFailed"):
        return Verdict("Available", "False", trouble.reason, trouble.message)
    return Verdict("Available", "False", "NotEnoughReplicas", "no replica is ready")


def _progressing(deployment: Manifest | None, trouble: Trouble | None) -> Verdict:
    if deployment is None:
        return Verdict("Progressing", "Unknown", "NoWorkload", "no Deployment yet")
    if trouble is not None:
        return Verdict("Progressing", "False", trouble.reason, trouble.message)
    for condition in deployment.get("status", {}).get("conditions") or []:
        if condition.get("reason") == "ProgressDeadlineExceeded":
            return Verdict("Progressing", "False", "DeadlineExceeded", "the rollout made no progress in time")
    if rolling_out(deployment):
        return Verdict("Progressing", "True", "RollingOut", "replicas are being created or replaced")
    return Verdict("Progressing", "True", "Complete", "all replicas run the current template")


def _ready(accepted: Verdict, available: Verdict, progressing: Verdict) -> Verdict:
    for verdict in (accepted, available):
        if verdict.status != "True":
            return Verdict("Ready", "False", verdict.reason, verdict.message)
    if progressing.status == "False":
        # It serves, with fewer replicas than wanted: ready, but the reason says what is missing.
        return Verdict("Ready", "True", progressing.reason, f"serves, but not all replicas run: {progressing.message}")
    return Verdict("Ready", "True", "Ready", "accepted and available")


def rolling_out(deployment: Manifest) -> bool:
    """True while replicas of an older template exist, or the newest template is not observed or not complete."""
    status, spec = deployment.get("status", {}), deployment.get("spec", {})
    wanted = int(spec.get("replicas", 1))
    return (
        int(status.get("observedGeneration") or 0) < int(deployment["metadata"].get("generation") or 0)
        or int(status.get("updatedReplicas") or 0) < min(wanted, int(status.get("replicas") or 0))
        or int(status.get("replicas") or 0) != wanted
        or int(status.get("readyReplicas") or 0) < wanted
    )


def replacing(deployment: Manifest) -> bool:
    """True while pods of an older template run: a rollout, unlike a mere change of the count."""
    status = deployment.get("status", {})
    return int(status.get("updatedReplicas") or 0) < int(status.get("replicas") or 0)


def counts(service: str, *, generation: int, deployment: Manifest | None) -> Manifest:
    """The plain fields of the reconciler's status."""
    status = (deployment or {}).get("status", {})
    return {
        "observedGeneration": generation,
        "selector": naming.selector_string(service),
        "replicas": int(status.get("replicas") or 0),
        "readyReplicas": int(status.get("readyReplicas") or 0),
    }
