"""What doctor makes of what it found."""

import copy
from typing import Any

import pytest

from penstock_operator.api.crd import document
from penstock_operator.core import checkup
from penstock_operator.core.checkup import Level, Result
from penstock_operator.core.quantities import whole


def live_crd() -> dict[str, Any]:
    return copy.deepcopy(document()) | {"status": {"conditions": [{"type": "Established", "status": "True"}]}}


def service(name: str = "chat", *, accepted: str | None = "True", ready: str = "True", **spec: Any) -> dict[str, Any]:
    conditions = [
        {"type": "Accepted", "status": accepted, "reason": "InvalidSpec", "message": "no such flag"},
        {
            "type": "Ready",
            "status": ready,
            "reason": "Ready" if ready == "True" else "NotEnoughReplicas",
            "message": "no replica is ready",
        },
    ]
    return {
        "metadata": {"namespace": "demo", "name": name},
        "spec": spec or {"replicas": 1},
        "status": {} if accepted is None else {"conditions": conditions},
    }


def pod(namespace: str = "penstock-system", name: str = "operator", watches: str | None = None) -> dict[str, Any]:
    env = [] if watches is None else [{"name": "PENSTOCK_NAMESPACES", "value": watches}]
    return {"metadata": {"namespace": namespace, "name": name}, "spec": {"containers": [{"env": env}]}}


def levels(results: list[Result]) -> list[str]:
    return [result.level.value for result in results]


def test_the_crd_of_this_version_is_fine() -> None:
    assert checkup.crd(live_crd()).level is Level.OK


def test_a_crd_that_is_missing_or_other_fails_and_says_where() -> None:
    assert "not installed" in checkup.crd(None).message
    fresh = live_crd() | {"status": {}}
    assert "not Established" in checkup.crd(fresh).message
    unserved = live_crd()
    unserved["spec"]["versions"][0]["served"] = False
    assert "v1alpha1 is not served (nothing is)" in checkup.crd(unserved).message
    older = live_crd()
    del older["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["drain"]
    found = checkup.crd(older)
    assert (found.level, found.fix) == (Level.FAIL, checkup.APPLY_CRD)
    assert found.message.endswith("properties.spec.properties.drain")


@pytest.mark.parametrize(
    ("live", "wanted", "where"),
    [
        ({"a": 1}, {"a": 1}, None),
        ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]}, "a[1].b"),
        ({"a": [1]}, {"a": [1, 2]}, "a"),
        (1, 2, "its root"),
        ({}, {"z": 1}, "z"),
    ],
)
def test_the_first_difference(live: Any, wanted: Any, where: str | None) -> None:
    assert checkup.difference(live, wanted) == where


def test_each_right_that_is_missing_is_named() -> None:
    assert levels(checkup.rights([], asked=24, whose="the operator")) == ["OK"]
    found = checkup.rights(["patch pods", "create events"], asked=24, whose="the operator")
    assert [one.message for one in found] == ["the operator may not patch pods", "the operator may not create events"]
    assert levels(found) == ["FAIL", "FAIL"]


@pytest.mark.parametrize(
    ("pods", "ready", "theirs", "level"),
    [
        (1, 1, "0.1.0", "OK"),
        (0, 0, "0.1.0", "OK"),
        (1, 1, "0.0.9", "WARN"),
        (0, 0, None, "FAIL"),
        (1, 0, None, "FAIL"),
        (2, 2, "0.1.0", "FAIL"),
    ],
)
def test_the_operator(pods: int, ready: int, theirs: str | None, level: str) -> None:
    assert checkup.operator([pod()] * pods, ready, theirs=theirs, ours="0.1.0").level == level


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        ("team-a", "team-b", None),
        ("team-a, team-b", "team-b,team-c", "both watch team-b,"),
        ("team-a", "", "both watch team-a,"),
        ("", None, "both watch all namespaces,"),
    ],
)
def test_two_operators_may_run_as_long_as_they_share_no_namespace(
    one: str, other: str | None, shared: str | None
) -> None:
    found = checkup.overlap([pod("a", watches=one), pod("b", watches=other)])
    assert (found is None) == (shared is None)
    if found is not None:
        assert found.level is Level.FAIL
        assert shared in found.message
        assert "pod a/operator and pod b/operator" in found.message


@pytest.mark.parametrize(
    ("at", "ticked_at", "now", "found"),
    [
        (100.0, 97.0, 101.0, None),
        (100.0, None, 101.0, ("WARN", "not decided anything yet")),
        (900.0, 97.0, 901.0, ("FAIL", "its last tick began 803 s ago")),
        (100.0, 97.0, 901.0, ("WARN", "its page is of 801 s ago")),
    ],
)
def test_an_operator_that_answers_and_does_not_decide(
    at: float, ticked_at: float | None, now: float, found: tuple[str, str] | None
) -> None:
    result = checkup.ticks({"at": at, "ticked_at": ticked_at, "tick_seconds": 5}, now=now)
    assert (result is None) == (found is None)
    if result is not None and found is not None:
        assert result.level == found[0]
        assert found[1] in result.message


def test_rights_that_cannot_be_asked_about_are_nobodys_fault() -> None:
    found = checkup.unseen_rights("the operator's account is not visible from here")
    assert (found.level, found.message) == (
        Level.WARN,
        "not checked: the operator's account is not visible from here",
    )


@pytest.mark.parametrize(("total", "ready", "level"), [(2, 2, "OK"), (2, 1, "WARN"), (2, 0, "FAIL"), (0, 0, "WARN")])
def test_the_gateways(total: int, ready: int, level: str) -> None:
    assert checkup.gateways(total, ready).level == level


def test_accelerators_on_the_nodes() -> None:
    nodes = [{"status": {"allocatable": {"nvidia.com/gpu": "4", "cpu": "8"}}}, {"status": {}}]
    cpu = service(runtime={"accelerator": {"count": 0}}, replicas=3)
    assert levels(checkup.accelerators([cpu], nodes)) == ["OK"]
    assert levels(checkup.accelerators([service(scaling={"minReplicas": 4})], nodes)) == ["OK"]
    assert levels(checkup.accelerators([service(scaling={"minReplicas": 5})], nodes)) == ["WARN"]
    amd = service(runtime={"accelerator": {"resourceName": "amd.com/gpu", "count": 1}}, replicas=0)
    none = checkup.accelerators([amd], nodes)
    assert levels(none) == ["WARN"], "a pool of nodes may be scaled to 0"
    assert "offers amd.com/gpu now" in none[0].message


def test_nodes_that_take_no_pods_offer_nothing() -> None:
    gpus = {"allocatable": {"nvidia.com/gpu": "4"}}
    cordoned = {"spec": {"unschedulable": True}, "status": gpus}
    lost = {"status": gpus | {"conditions": [{"type": "Ready", "status": "Unknown"}]}}
    found = checkup.accelerators([service(scaling={"minReplicas": 1})], [cordoned, lost])
    assert levels(found) == ["WARN"]
    assert levels(checkup.accelerators([service(scaling={"minReplicas": 1})], [cordoned, {"status": gpus}])) == ["OK"]


def test_services_that_are_not_as_they_should_be() -> None:
    found = checkup.services(
        [service(), service("bad", accepted="False"), service("new", accepted=None), service("slow", ready="False")]
    )
    assert levels(found) == ["OK", "FAIL", "WARN", "WARN"]
    assert found[0].message.startswith("1 of 4")
    assert checkup.summary(found) == {"OK": 1, "WARN": 2, "FAIL": 1}


@pytest.mark.parametrize(
    ("kind", "status", "reason", "says"),
    [
        ("Ready", "True", "Unschedulable", "ready, but (Unschedulable): why"),
        ("Ready", "False", "ScaledToZero", None),
        ("ScalingActive", "False", "SignalsAbsent", "not scaled as it should be (SignalsAbsent): why"),
        ("ScalingActive", "False", "ManualReplicas", None),
        ("ScalingActive", "False", "Paused", None),
        ("SLAMet", "False", "ObjectivesMissed", "misses its objectives (ObjectivesMissed): why"),
        ("SLAMet", "Unknown", "NoTraffic", None),
    ],
)
def test_a_service_that_runs_and_is_not_well(kind: str, status: str, reason: str, says: str | None) -> None:
    made = service()
    kept = [one for one in made["status"]["conditions"] if one["type"] != kind]
    made["status"]["conditions"] = [*kept, {"type": kind, "status": status, "reason": reason, "message": "why"}]
    found = checkup.services([made])
    assert levels(found) == (["OK"] if says is None else ["OK", "WARN"])
    if says is not None:
        assert says in found[1].message
        assert found[0].message.startswith("0 of 1")


@pytest.mark.parametrize(
    ("text", "number"),
    [("8", 8), (4, 4), ("2500m", 2), ("1k", 1000), ("1Ki", 1024), ("2Gi", 2**31), ("odd", 0), ("", 0), ("xm", 0)],
)
def test_quantities_of_devices(text: str | int, number: int) -> None:
    assert whole(text) == number
