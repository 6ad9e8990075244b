"""The reconciler's part of the status."""

from typing import Any

import pytest

from penstock_operator.api import REASONS, ConditionType, InferenceServiceStatus
from penstock_operator.core.drift import covers
from penstock_operator.core.status import Refusal, Verdict, counts, replacing, rolling_out, timed, verdicts

T0, T1 = "2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z"
FOUR = ["Ready", "Accepted", "Available", "Progressing"]


def deployment(
    *, wanted: int = 2, replicas: int = 2, ready: int = 2, updated: int = 2, observed: int = 3, **status: Any
) -> dict[str, Any]:
    return {
        "metadata": {"generation": 3},
        "spec": {"replicas": wanted},
        "status": {
            "replicas": replicas,
            "readyReplicas": ready,
            "updatedReplicas": updated,
            "observedGeneration": observed,
        }
        | status,
    }


def pod(**state: Any) -> dict[str, Any]:
    conditions = [
        {"type": "Ready", "status": "False"},
        state.pop("scheduled", {"type": "PodScheduled", "status": "True"}),
    ]
    return {"metadata": {}, "status": {"conditions": conditions, "containerStatuses": [state] if state else []}}


UNSCHEDULABLE = pod(scheduled={"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "full"})
CRASHED = pod(state={}, lastState={"terminated": {"exitCode": 1, "message": "boom"}})
NO_IMAGE = pod(image="i", state={"waiting": {"reason": "ErrImagePull"}})
NEW = {"metadata": {"generation": 1}, "spec": {"replicas": 1}}
LATE = [{"type": "Progressing", "reason": "ProgressDeadlineExceeded"}]
REFUSED = Refusal("EngineNotSupported", "spec.runtime.engine: no; use another")

WORLDS: dict[str, tuple[Refusal | None, dict[str, Any] | None, list[dict[str, Any]], dict[str, tuple[str, str]]]] = {
    "first visit": (
        None,
        None,
        [],
        {
            "Ready": ("False", "NoWorkload"),
            "Accepted": ("True", "Valid"),
            "Available": ("False", "NoWorkload"),
            "Progressing": ("Unknown", "NoWorkload"),
        },
    ),
    "refused at once": (REFUSED, None, [], {"Ready": ("False", REFUSED.reason), "Accepted": ("False", REFUSED.reason)}),
    "refused later": (
        REFUSED,
        deployment(),
        [],
        {"Ready": ("False", REFUSED.reason), "Available": ("True", "MinimumReplicasReady")},
    ),
    "just created": (
        None,
        NEW,
        [],
        {"Available": ("False", "NotEnoughReplicas"), "Progressing": ("True", "RollingOut")},
    ),
    "all well": (
        None,
        deployment(),
        [],
        {
            "Ready": ("True", "Ready"),
            "Available": ("True", "MinimumReplicasReady"),
            "Progressing": ("True", "Complete"),
        },
    ),
    "one of two": (
        None,
        deployment(ready=1, conditions=[{"type": "Progressing", "reason": "ReplicaSetUpdated"}]),
        [],
        {"Ready": ("True", "Ready"), "Progressing": ("True", "RollingOut")},
    ),
    "asleep": (
        None,
        deployment(wanted=0, replicas=0, ready=0, updated=0),
        [],
        {"Ready": ("False", "ScaledToZero"), "Progressing": ("True", "Complete")},
    ),
    "no node": (
        None,
        deployment(ready=0),
        [UNSCHEDULABLE],
        {"Available": ("False", "NotEnoughReplicas"), "Progressing": ("False", "Unschedulable")},
    ),
    "one without a node": (
        None,
        deployment(ready=1),
        [UNSCHEDULABLE],
        {"Ready": ("True", "Unschedulable"), "Available": ("True", "MinimumReplicasReady")},
    ),
    "crashing": (
        None,
        deployment(ready=0),
        [CRASHED],
        {"Ready": ("False", "WorkerCrashed"), "Available": ("False", "WorkerCrashed")},
    ),
    "no image": (
        None,
        deployment(ready=0),
        [NO_IMAGE],
        {"Available": ("False", "ImagePullFailed"), "Progressing": ("False", "ImagePullFailed")},
    ),
    "too slow": (
        None,
        deployment(ready=0, conditions=LATE),
        [],
        {"Progressing": ("False", "DeadlineExceeded"), "Ready": ("False", "NotEnoughReplicas")},
    ),
}


def conditions(world: str, previous: list[dict[str, Any]] | None = None, *, generation: int = 1, now: str = T0):
    refusal, live, pods, _ = WORLDS[world]
    found = verdicts(refusal=refusal, deployment=live, pods=pods)
    return timed(found, previous or [], generation=generation, now=now)


@pytest.mark.parametrize("world", WORLDS)
def test_what_is_true(world: str) -> None:
    found = {item["type"]: (item["status"], item["reason"]) for item in conditions(world)}
    assert list(found) == FOUR, "all conditions stand from the first visit on"
    assert {kind: found[kind] for kind in WORLDS[world][3]} == WORLDS[world][3]


@pytest.mark.parametrize("world", WORLDS)
def test_ready_says_why_not(world: str) -> None:
    found = {item["type"]: item for item in conditions(world)}
    first_bad = next((found[kind] for kind in ("Accepted", "Available") if found[kind]["status"] != "True"), None)
    assert found["Ready"]["status"] == ("False" if first_bad else "True")
    if first_bad:
        assert (found["Ready"]["reason"], found["Ready"]["message"]) == (first_bad["reason"], first_bad["message"])


@pytest.mark.parametrize("world", WORLDS)
def test_every_reason_is_documented(world: str) -> None:
    """Ready repeats the reason of another condition, Progressing that of the pod that keeps it."""
    known = {str(kind): {str(reason) for reason in reasons} for kind, reasons in REASONS.items()}
    known["Progressing"] |= known["Available"]
    known["Ready"] |= known["Accepted"] | known["Available"] | known["Progressing"]
    for item in conditions(world):
        assert item["reason"] in known[item["type"]]
        assert ConditionType(item["type"])


@pytest.mark.parametrize("world", WORLDS)
def test_the_status_is_what_the_resource_admits(world: str) -> None:
    status = counts("chat", generation=1, deployment=WORLDS[world][1]) | {"conditions": conditions(world)}
    parsed = InferenceServiceStatus.model_validate(status)
    assert len(parsed.conditions) == 4


@pytest.mark.parametrize("world", WORLDS)
def test_an_unchanged_world_costs_no_write(world: str) -> None:
    first = counts("chat", generation=1, deployment=WORLDS[world][1]) | {"conditions": conditions(world)}
    again = counts("chat", generation=1, deployment=WORLDS[world][1]) | {
        "conditions": conditions(world, first["conditions"], now=T1)
    }
    assert covers(first, again)
    assert again == first


@pytest.mark.parametrize("before", WORLDS)
@pytest.mark.parametrize("after", WORLDS)
def test_the_time_moves_only_when_a_status_flips(before: str, after: str) -> None:
    old = {item["type"]: item for item in conditions(before)}
    for item in conditions(after, list(old.values()), generation=2, now=T1):
        flipped = old[item["type"]]["status"] != item["status"]
        assert item["lastTransitionTime"] == (T1 if flipped else T0)
        assert item["observedGeneration"] == 2


def test_conditions_of_others_are_not_touched() -> None:
    foreign = {"type": "SLAMet", "status": "True", "lastTransitionTime": T0}
    assert [item["type"] for item in conditions("all well", [foreign])] == FOUR


def test_the_message_stays_until_status_reason_or_generation_change() -> None:
    def crash(text: str, *, generation: int = 1, reason: str = "WorkerCrashed") -> list[dict[str, Any]]:
        return timed([Verdict("Available", "False", reason, text)], old, generation=generation, now=T1)

    old: list[dict[str, Any]] = []
    old = crash("12:00 boom")
    assert crash("12:05 boom") == old
    assert crash("12:05 boom", generation=2)[0]["message"] == "12:05 boom"
    assert crash("no such tag", reason="ImagePullFailed")[0]["message"] == "no such tag"


def test_a_long_message_is_cut() -> None:
    found = timed([Verdict("Available", "False", "WorkerCrashed", "x" * 5000)], [], generation=1, now=T0)
    assert len(found[0]["message"]) == 1024


@pytest.mark.parametrize(
    ("live", "rolling", "old_pods"),
    [
        (deployment(), False, False),
        (deployment(observed=2), True, False),
        (deployment(updated=1), True, True),
        (deployment(replicas=3, updated=2), True, True),
        (deployment(ready=1), True, False),
        (deployment(wanted=3), True, False),
        (deployment(wanted=0, replicas=0, ready=0, updated=0), False, False),
        (NEW, True, False),
    ],
    ids=["complete", "not seen yet", "replacing", "surging", "starting", "growing", "asleep", "new"],
)
def test_a_change_of_the_count_is_no_replacement(live: dict[str, Any], *, rolling: bool, old_pods: bool) -> None:
    assert (rolling_out(live), replacing(live)) == (rolling, old_pods)


def test_counts() -> None:
    assert counts("chat", generation=4, deployment=deployment(ready=1)) == {
        "observedGeneration": 4,
        "selector": "app.kubernetes.io/name=penstock-worker,inference.penstock.dev/service=chat",
        "replicas": 2,
        "readyReplicas": 1,
    }
    assert counts("chat", generation=1, deployment=None)["replicas"] == 0


def test_a_message_that_follows_is_kept_up_to_date_and_its_time_is_not() -> None:
    def told(text: str, old: Any) -> Any:
        verdict = Verdict("ScalingActive", "False", "MetricsUnavailable", text, follows=True)
        return timed([verdict], old, generation=1, now=T1 if old else T0)

    later = told("HTTP 401", told("cannot be reached", []))
    assert (later[0]["message"], later[0]["lastTransitionTime"]) == ("HTTP 401", T0)
