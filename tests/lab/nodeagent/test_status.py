"""Phase and conditions of a pod out of its containers' records."""

import pytest

from penstock_lab.nodeagent.record import ContainerRecord, waiting
from penstock_lab.nodeagent.status import PodView, phase, pod_status

RUNNING = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}


def done(code):
    return {"terminated": {"exitCode": code, "reason": "x"}}


def record(state, *, last=None, ready=False):
    return ContainerRecord("c", "i", state=state, last_state=last or {}, ready=ready)


def view(main, *, init=(), policy="Always", ended=False, **changes):
    pod = {"metadata": {"generation": 4}, "spec": {"restartPolicy": policy}}
    fields = {"address": "127.9.0.1", "host": "127.9.255.1", "started_at": "2026-01-01T00:00:00Z"} | changes
    return PodView(pod=pod, init=list(init), main=list(main), ended=ended, **fields)


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (view([record(waiting("ContainerCreating"))]), "Pending"),
        (view([record(RUNNING), record(waiting("ErrImagePull"))]), "Pending"),
        (view([record(RUNNING)], init=[record(waiting("ContainerCreating"))]), "Pending"),
        (view([record(RUNNING)], init=[record(done(0))]), "Running"),
        (view([record(waiting("CrashLoopBackOff"), last=done(1))]), "Running"),
        (view([record(done(0))], policy="OnFailure"), "Succeeded"),
        (view([record(done(0)), record(done(3))], policy="Never"), "Failed"),
        (view([record(done(3)), record(RUNNING)], policy="Never"), "Running"),
        (view([record(waiting("PodInitializing"))], init=[record(done(2))], policy="Never"), "Failed"),
        (view([record(done(0))], ended=True), "Succeeded"),
        (view([record(done(143))], ended=True), "Failed"),
        (view([record(done(0))], refusal="no"), "Failed"),
    ],
)
def test_phase(seen, expected):
    assert phase(seen) == expected


def conditions(status):
    return {entry["type"]: (entry["status"], entry["reason"]) for entry in status["conditions"]}


def test_all_containers_must_be_ready():
    status = pod_status(view([record(RUNNING, ready=True), record(RUNNING)]), {}, "now")
    assert conditions(status)["Ready"] == ("False", "ContainersNotReady")
    status = pod_status(view([record(RUNNING, ready=True), record(RUNNING, ready=True)]), {}, "now")
    assert conditions(status)["Ready"] == ("True", "")
    assert conditions(status)["PodScheduled"] == ("True", "")
    assert (status["observedGeneration"], status["podIPs"]) == (4, [{"ip": "127.9.0.1"}])


def test_readiness_gate_needs_its_condition():
    seen = view([record(RUNNING, ready=True)])
    seen.pod["spec"]["readinessGates"] = [{"conditionType": "example.com/gate"}]
    status = pod_status(seen, {}, "now")
    assert conditions(status)["ContainersReady"] == ("True", "")
    assert conditions(status)["Ready"] == ("False", "ReadinessGatesNotReady")
    seen.pod["status"] = {"conditions": [{"type": "example.com/gate", "status": "True"}]}
    assert conditions(pod_status(seen, {}, "now"))["Ready"] == ("True", "")


def test_transition_time_changes_only_with_the_status():
    ready, unready = view([record(RUNNING, ready=True)]), view([record(RUNNING)])
    first = pod_status(ready, {}, "t1")
    same = pod_status(ready, first, "t2")
    assert same == first
    changed = {entry["type"]: entry["lastTransitionTime"] for entry in pod_status(unready, same, "t3")["conditions"]}
    assert (changed["Ready"], changed["ContainersReady"], changed["Initialized"]) == ("t3", "t3", "t1")


def test_a_record_carries_on_from_what_an_earlier_agent_reported():
    old = {
        "restartCount": 2,
        "containerID": "process://a",
        "state": RUNNING,
        "lastState": done(1),
    }
    taken = record(waiting("ContainerCreating"))
    taken.resume(old)
    assert taken.restarts == 2
    assert (taken.exit_code, taken.state["terminated"]["reason"]) == (137, "ContainerStatusUnknown")


def test_concluded_record_shows_its_last_end():
    never, looping = record(waiting("ErrImagePull")), record(waiting("CrashLoopBackOff"), last=done(5))
    never.conclude()
    looping.conclude()
    assert (never.exit_code, looping.exit_code) == (137, 5)
