from typing import Any

import pytest

from penstock_contract import names
from penstock_operator.runtime.events import condition_events, event

NOW = 1_800_000_000.7


def condition(kind: str, status: str, reason: str, message: str = "m") -> dict[str, Any]:
    return {"type": kind, "status": status, "reason": reason, "message": message}


READY = condition("Ready", "True", "Ready")
UP = condition("Available", "True", "MinimumReplicasReady")
DOWN = condition("Available", "False", "WorkerCrashed", "exited with code 1")
FREE = condition("ScalingLimited", "False", "WithinBounds")
CAPPED = condition("ScalingLimited", "True", "AtMaxReplicas")
MANUAL = condition("ScalingActive", "False", "ManualReplicas")
ASLEEP = condition("Available", "False", "ScaledToZero")


def told(resource, old: list[dict[str, Any]], new: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(item["type"], item["reason"]) for item in condition_events(resource(), old, new, now=NOW)]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ([], [READY, UP, FREE], []),
        ([], [condition("Ready", "False", "WorkerCrashed"), DOWN], [("Warning", "WorkerCrashed")]),
        ([UP], [UP], []),
        ([UP], [UP | {"message": "another"}], []),
        ([UP], [DOWN], [("Warning", "WorkerCrashed")]),
        ([DOWN], [UP], [("Normal", "MinimumReplicasReady")]),
        ([DOWN], [DOWN | {"reason": "ImagePullFailed"}], [("Warning", "ImagePullFailed")]),
        ([FREE], [CAPPED], [("Warning", "AtMaxReplicas")]),
        ([CAPPED], [FREE], [("Normal", "WithinBounds")]),
        ([], [CAPPED], [("Warning", "AtMaxReplicas")]),
        ([], [MANUAL], []),
        ([condition("ScalingActive", "True", "SignalsFresh")], [MANUAL], [("Normal", "ManualReplicas")]),
        ([UP], [ASLEEP], [("Normal", "ScaledToZero")]),
        ([], [condition("Progressing", "Unknown", "NoWorkload")], []),
        (
            [UP, condition("Progressing", "True", "Complete")],
            [DOWN, condition("Progressing", "False", "WorkerCrashed")],
            [("Warning", "WorkerCrashed")],
        ),
        ([READY], [condition("Ready", "False", "WorkerCrashed")], []),
    ],
    ids=[
        "healthy at first", "sick at first", "unchanged", "another message", "falls", "recovers", "another reason",
        "limited", "free again", "limited at first", "fixed at first", "becomes fixed", "falls asleep", "unknown",
        "one cause for two conditions", "the summary",
    ],
)  # fmt: skip
def test_one_event_per_transition(resource, old: Any, new: Any, expected: list[tuple[str, str]]) -> None:
    assert told(resource, old, new) == expected


def test_an_event_is_about_the_resource(resource) -> None:
    found = event(resource(), kind="Normal", reason="ScaledUp", message="x" * 2000, now=NOW)
    assert found["involvedObject"]["uid"] == "u-1"
    assert found["involvedObject"]["apiVersion"] == names.API_VERSION
    assert found["metadata"]["namespace"] == "team-a"
    assert found["firstTimestamp"] == found["lastTimestamp"] == "2027-01-15T08:00:00Z"
    assert len(found["message"]) == 1024


def test_two_events_never_share_a_name(resource) -> None:
    found = {event(resource(), kind="Normal", reason="r", message="m", now=NOW)["metadata"]["name"] for _ in range(100)}
    assert len(found) == 100
