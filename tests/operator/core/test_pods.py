import itertools
from typing import Any

import pytest

from penstock_contract import names
from penstock_operator.core import pods


def pod(
    *,
    ready: bool = False,
    scheduled: str | None = "True",
    reason: str = "",
    containers: list[dict[str, Any]] | None = None,
    deleted: bool = False,
    phase: str = "Running",
) -> dict[str, Any]:
    conditions: list[dict[str, Any]] = [
        {"type": "Ready", "status": str(ready), "lastTransitionTime": "2026-01-01T00:01:40Z"}
    ]
    if scheduled is not None:
        conditions.append(
            {
                "type": "PodScheduled",
                "status": scheduled,
                "reason": reason,
                "message": "0/3 nodes: no gpu",
                "lastTransitionTime": "2026-01-01T00:00:30Z",
            }
        )
    metadata = {"name": "p", "creationTimestamp": "2026-01-01T00:00:00Z"}
    return {
        "metadata": metadata | ({"deletionTimestamp": "2026-01-01T01:00:00Z"} if deleted else {}),
        "status": {"phase": phase, "conditions": conditions, "containerStatuses": containers},
    }


def container(*, waiting: dict[str, Any] | None = None, now: Any = None, before: Any = None) -> dict[str, Any]:
    state = {"waiting": waiting} if waiting else {"terminated": now} if now else {"running": {}}
    return {"image": "reg/worker:1", "state": state, "lastState": {"terminated": before} if before else {}}


CRASHED = container(
    before={"exitCode": 3, "message": "loading\nKeyError: 'x'\n\n"}, waiting={"reason": "CrashLoopBackOff"}
)
PULL = container(waiting={"reason": "ImagePullBackOff", "message": "no such tag"})
LOST = pod(scheduled="False", reason="Unschedulable")


@pytest.mark.parametrize(
    ("seen", "reason", "text"),
    [
        (pod(ready=True), None, ""),
        (pod(), None, ""),
        (pod(containers=[container()]), None, ""),
        (pod(ready=True, containers=[CRASHED]), None, ""),
        (LOST, "Unschedulable", "no node has room: 0/3 nodes: no gpu"),
        (pod(scheduled="False", reason="SchedulingGated"), None, ""),
        (pod(scheduled=None), None, ""),
        (pod(containers=[PULL]), "ImagePullFailed", "image reg/worker:1: no such tag"),
        (pod(containers=[container(waiting={"reason": "ErrImagePull"})]), "ImagePullFailed", "ErrImagePull"),
        (pod(containers=[container(waiting={"reason": "ContainerCreating"})]), None, ""),
        (pod(containers=[CRASHED]), "WorkerCrashed", "exited with code 3: KeyError: 'x'"),
        (pod(containers=[container(now={"exitCode": 137, "reason": "OOMKilled"})]), "WorkerCrashed", "137: OOMKilled"),
        (pod(containers=[container(before={"exitCode": 1})]), "WorkerCrashed", "code 1: no message"),
        (pod(containers=[container(before={"exitCode": 0})]), None, ""),
        (
            pod(containers=[container(before={"exitCode": 0}, waiting={"reason": "CrashLoopBackOff"})]),
            "WorkerCrashed",
            "code 0",
        ),
        (pod(containers=[CRASHED], deleted=True), None, ""),
        (pod(containers=[CRASHED], phase="Failed"), None, ""),
    ],
)
def test_trouble(seen: dict[str, Any], reason: str | None, text: str) -> None:
    trouble = pods.worst_trouble([seen])
    assert (trouble.reason if trouble else None) == reason
    assert text in (trouble.message if trouble else "")


def test_the_worst_trouble_does_not_depend_on_the_order() -> None:
    seen = [LOST, pod(containers=[PULL]), pod(containers=[CRASHED]), pod(ready=True)]
    found = {pods.worst_trouble(order) for order in itertools.permutations(seen)}
    assert [trouble.reason for trouble in found if trouble] == ["WorkerCrashed"]
    assert pods.worst_trouble([]) is None


def test_pods_on_their_way_out_are_not_live_and_hold_their_accelerators_until_they_end() -> None:
    leaving, ended = pod(ready=True, deleted=True), pod(phase="Succeeded")
    assert pods.live([leaving, ended]) == []
    assert pods.scheduled([leaving, ended, pod(), LOST, pod(scheduled=None)]) == 2


def test_unschedulable_counts_live_pods_only() -> None:
    assert len(pods.unschedulable([LOST, pod(), pod(scheduled="False", reason="Unschedulable", deleted=True)])) == 1


def test_startup_has_two_parts() -> None:
    assert pods.startup(pod(ready=True)) == pods.Startup(to_scheduled=30.0, to_ready=70.0)


@pytest.mark.parametrize(
    "seen",
    [
        pod(),
        pod(ready=True, scheduled=None),
        pod(ready=True, containers=[{"restartCount": 1}]),
        {"metadata": {}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}},
        {"metadata": {}},
    ],
    ids=["not ready", "not scheduled", "restarted", "no times", "no status"],
)
def test_startup_is_unknown_without_all_times(seen: dict[str, Any]) -> None:
    assert pods.startup(seen) is None


def test_clocks_that_disagree_give_no_negative_time() -> None:
    seen = pod(ready=True)
    seen["metadata"]["creationTimestamp"] = "2026-01-01T00:00:31Z"
    assert pods.startup(seen) == pods.Startup(to_scheduled=0.0, to_ready=70.0)


@pytest.mark.parametrize(("count", "rank"), [(1, 1), (2, 2), (9, 9), (10, 9), (11, 10), (20, 18), (100, 90)])
def test_p90_is_the_nearest_rank(count: int, rank: int) -> None:
    seen = []
    for seconds in range(1, count + 1):
        one = pod(ready=True)
        minutes, rest = divmod(30 + seconds, 60)
        one["status"]["conditions"][0]["lastTransitionTime"] = f"2026-01-01T00:{minutes:02}:{rest:02}Z"
        seen.append(one)
    assert pods.startup_p90(seen, longest=1e9) == 30 + rank


def test_p90_is_unknown_without_a_measured_pod() -> None:
    assert pods.startup_p90([pod(), pod(ready=True, deleted=True)], longest=1e9) is None


def test_candidates_for_removal_say_what_speaks_for_and_against_them() -> None:
    serving, leaving, lost = pod(ready=True), pod(ready=True, deleted=True), LOST
    marked = pod(ready=True)
    marked["metadata"] |= {"name": "marked", "annotations": {names.DRAINING: "2026-01-01T00:00:10Z"}}
    found = pods.candidates([serving, leaving, lost, marked], {"marked": 3.0})
    assert [(one.name, one.ready, one.scheduled, one.work) for one in found] == [
        ("p", True, True, None),
        ("p", False, False, None),
        ("marked", True, True, 3.0),
    ]
    assert [one.draining_since for one in found] == [None, None, 1767225610.0]
    assert found[0].created == "2026-01-01T00:00:00Z"


def test_a_mark_made_by_hand_that_is_no_time_is_as_old_as_can_be() -> None:
    seen = pod(ready=True)
    seen["metadata"]["annotations"] = {names.DRAINING: "yes"}
    assert pods.candidates([seen], {})[0].draining_since == 0.0
