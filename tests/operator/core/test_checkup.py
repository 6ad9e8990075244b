"""What doctor makes of what it found."""

import copy
from typing import Any

import pytest

from penstock_operator.api.crd import document
from penstock_operator.core import checkup
from penstock_operator.core.checkup import Level, Result, Series
from penstock_operator.core.quantities import whole

KEY = ("demo", "chat")
GOOD = Series(ready=2, missing=(), reporting=2, age_seconds=1.0)


def live_crd() -> dict[str, Any]:
    return copy.deepcopy(document()) | {"status": {"conditions": [{"type": "Established", "status": "True"}]}}


def service(name: str = "chat", *, accepted: str | None = "True", ready: str = "True", **spec: Any) -> dict[str, Any]:
    conditions = [
        {"type": "Accepted", "status": accepted, "reason": "InvalidSpec", "message": "no such flag"},
        {"type": "Ready", "status": ready, "reason": "NotEnoughReplicas", "message": "no replica is ready"},
    ]
    return {
        "metadata": {"namespace": "demo", "name": name},
        "spec": spec or {"replicas": 1},
        "status": {} if accepted is None else {"conditions": conditions},
    }


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
    assert checkup.operator([{}] * pods, ready, theirs=theirs, ours="0.1.0").level == level


@pytest.mark.parametrize(("total", "ready", "level"), [(2, 2, "OK"), (2, 1, "WARN"), (2, 0, "FAIL"), (0, 0, "WARN")])
def test_the_gateways(total: int, ready: int, level: str) -> None:
    assert checkup.gateways(total, ready).level == level


@pytest.mark.parametrize(
    ("seconds", "level"), [(5.0, "OK"), (15.0, "OK"), (30.0, "WARN"), (61.0, "FAIL"), (None, "WARN")]
)
def test_the_scrape_interval(seconds: float | None, level: str) -> None:
    assert checkup.interval(seconds).level == level


@pytest.mark.parametrize(
    ("found", "level", "says"),
    [
        (GOOD, "OK", "all there, 1.0 s old, 2 of 2 pods"),
        (Series(0, ("x",), 0, None), "OK", "no ready replica"),
        (Series(2, ("some_total",), 2, 1.0), "FAIL", "no series of some_total"),
        (Series(2, (), 2, 61.0), "FAIL", "too old (61 s)"),
        (Series(2, (), 2, None), "FAIL", "too old (unknown)"),
        (Series(2, (), 1, 1.0), "WARN", "1 of 2 ready pods are scraped"),
    ],
)  # fmt: skip
def test_the_series_of_a_service(found: Series, level: str, says: str) -> None:
    result = checkup.series(KEY, found, window_seconds=60.0)
    assert (result.level, says in result.message) == (level, True)
    assert (result.fix == "") == (level == "OK")


def test_labels_that_betray_a_wrong_scrape_job() -> None:
    assert levels(checkup.labels(renamed=0, unclaimed=[], doubled=[])) == ["OK"]
    found = checkup.labels(renamed=3, unclaimed=["demo/chat"], doubled=["demo/chat-1"])
    assert levels(found) == ["FAIL"] * 3
    assert "honor_labels: false" in found[1].fix


def test_accelerators_on_the_nodes() -> None:
    nodes = [{"status": {"allocatable": {"nvidia.com/gpu": "4", "cpu": "8"}}}, {"status": {}}]
    cpu = service(runtime={"accelerator": {"count": 0}}, replicas=3)
    assert levels(checkup.accelerators([cpu], nodes)) == ["OK"]
    assert levels(checkup.accelerators([service(scaling={"minReplicas": 4})], nodes)) == ["OK"]
    assert levels(checkup.accelerators([service(scaling={"minReplicas": 5})], nodes)) == ["WARN"]
    amd = service(runtime={"accelerator": {"resourceName": "amd.com/gpu", "count": 1}}, replicas=0)
    assert "no node offers amd.com/gpu" in checkup.accelerators([amd], nodes)[0].message


def test_services_that_are_not_as_they_should_be() -> None:
    found = checkup.services(
        [service(), service("bad", accepted="False"), service("new", accepted=None), service("slow", ready="False")]
    )
    assert levels(found) == ["OK", "FAIL", "WARN", "WARN"]
    assert found[0].message.startswith("1 of 4")
    assert checkup.summary(found) == {"OK": 1, "WARN": 2, "FAIL": 1}


@pytest.mark.parametrize(
    ("text", "number"),
    [("8", 8), (4, 4), ("2500m", 2), ("1k", 1000), ("1Ki", 1024), ("2Gi", 2**31), ("odd", 0), ("", 0), ("xm", 0)],
)
def test_quantities_of_devices(text: str | int, number: int) -> None:
    assert whole(text) == number
