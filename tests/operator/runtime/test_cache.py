"""Whatever the order of lists, events and answers, the cache holds the newest state and nothing that is gone."""

import itertools
from typing import Any

import pytest

from penstock_contract import names
from penstock_operator.api import InferenceService, InvalidSpec
from penstock_operator.runtime import cache as module
from penstock_operator.runtime.cache import Cache

Manifest = dict[str, Any]
KEY = ("team-a", "chat")


def thing(version: int | str, *, uid: str = "a", kind: str = "Service", name: str = "chat", **labels: str) -> Manifest:
    metadata = {"namespace": "team-a", "name": name, "uid": uid, "resourceVersion": str(version), "labels": labels}
    return {"kind": kind, "metadata": metadata, "spec": {"seen": version}}


def pod(name: str, version: int = 1, *, service: str | None = "chat", uid: str = "") -> Manifest:
    labels = {names.SERVICE: service} if service else {}
    owner = {"kind": "ReplicaSet", "name": f"{service}-5d4c", "controller": True}
    metadata = {"namespace": "team-a", "name": name, "uid": uid or name, "resourceVersion": str(version)}
    metadata |= {"ownerReferences": [owner]}
    return {
        "kind": "Pod",
        "metadata": metadata | {"labels": labels},
        "spec": {"big": 1},
        "status": {"phase": "Running"},
    }


def versions(cache: Cache, kind: str = "Service") -> dict[str, int]:
    return {key[1]: cache.get(kind, key)["spec"]["seen"] for key in cache.keys(kind)}  # type: ignore[index]


@pytest.mark.parametrize("order", list(itertools.permutations([1, 2, 10])))
def test_the_newest_version_wins_in_any_order(order: tuple[int, ...]) -> None:
    cache = Cache()
    stored = [cache.put(thing(version)) for version in order]
    assert versions(cache) == {"chat": 10}
    assert stored[0] is True
    assert all(
        kept == (version == max(order[: index + 1]))
        for index, (version, kept) in enumerate(zip(order, stored, strict=True))
    )


def test_the_same_version_again_is_taken() -> None:
    cache = Cache()
    assert cache.put(thing(5))
    assert cache.put(thing(5))


@pytest.mark.parametrize("version", ["", "abc", "-1"])
def test_a_version_that_is_no_number_is_the_oldest(version: str) -> None:
    cache = Cache()
    cache.put(thing(1))
    assert not cache.put(thing(version))


def test_what_was_deleted_does_not_come_back() -> None:
    """The answer to a write, or a list, from before the deletion."""
    cache = Cache()
    cache.put(thing(5))
    cache.remove(thing(7))
    assert not cache.put(thing(6))
    assert cache.replace("Service", [thing(6)], known={}) == set()
    assert versions(cache) == {}


def test_a_deletion_that_comes_before_its_object_holds() -> None:
    cache = Cache()
    cache.remove(thing(7))
    assert not cache.put(thing(6))


def test_what_left_the_selector_may_return() -> None:
    """A watch with a selector calls it a deletion when a label goes; the same object returns with a newer version."""
    cache = Cache()
    cache.remove(thing(7))
    assert cache.put(thing(8))
    assert versions(cache) == {"chat": 8}


def test_a_namesake_outlives_the_deletion_of_its_predecessor() -> None:
    cache = Cache()
    cache.put(thing(9, uid="new"))
    cache.remove(thing(8, uid="old"))
    assert versions(cache) == {"chat": 9}
    assert not cache.put(thing(7, uid="old"))


def test_deleting_what_is_not_known_is_nothing() -> None:
    cache = Cache()
    cache.remove(thing(1))
    cache.remove(pod("p"))
    assert cache.pods(KEY) == []


def test_deletions_are_remembered_for_a_while_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_GRAVES", 3)
    cache = Cache()
    for index in range(10):
        cache.remove(thing(5, uid=str(index)))
    assert len(cache._graves) == 3
    assert not cache.put(thing(5, uid="9"))


def test_a_list_tells_what_is_gone() -> None:
    cache = Cache()
    for name in ("a", "b", "c"):
        cache.put(thing(1, uid=name, name=name))
    known = cache.identities("Service")
    gone = cache.replace("Service", [thing(2, uid="b", name="b"), thing(2, uid="d", name="d")], known=known)
    assert gone == {("team-a", "a"), ("team-a", "c")}
    assert versions(cache) == {"b": 2, "d": 2}


def test_what_came_after_the_list_was_asked_for_is_not_gone() -> None:
    cache = Cache()
    cache.put(thing(1, uid="old", name="recreated"))
    known = cache.identities("Service")
    cache.put(thing(5, uid="new", name="recreated"))
    cache.put(thing(6, name="young"))
    assert cache.replace("Service", [], known=known) == set()
    assert versions(cache) == {"recreated": 5, "young": 6}


def test_a_list_does_not_turn_back_what_is_newer() -> None:
    cache = Cache()
    known = cache.identities("Service")
    cache.put(thing(9))
    cache.replace("Service", [thing(3)], known=known)
    assert versions(cache) == {"chat": 9}


def test_kinds_do_not_mix() -> None:
    cache = Cache()
    cache.put(thing(1))
    cache.put(thing(2, kind="Deployment", uid="b"))
    assert cache.replace("Deployment", [], known=cache.identities("Deployment")) == {KEY}
    assert versions(cache) == {"chat": 1}


def test_items_of_a_list_may_lack_their_kind() -> None:
    cache = Cache()
    bare = thing(1)
    del bare["kind"]
    cache.replace("Service", [bare], known={})
    assert versions(cache) == {"chat": 1}


def names_of(cache: Cache, service: str = "chat") -> list[str]:
    return sorted(one["metadata"]["name"] for one in cache.pods(("team-a", service)))


def test_pods_are_found_by_their_service() -> None:
    cache = Cache()
    for one in (pod("a"), pod("b"), pod("c", service="other"), pod("d", service=None)):
        cache.put(one)
    assert names_of(cache) == ["a", "b"]
    cache.remove(pod("a", 2))
    assert names_of(cache) == ["b"]
    cache.remove(pod("b", 2))
    assert names_of(cache) == []


@pytest.mark.parametrize("service", [None, "other"])
def test_a_pod_that_is_relabelled_belongs_to_its_new_service_only(service: str | None) -> None:
    """People take a pod out of service by its label, to look into it."""
    cache = Cache()
    cache.put(pod("a"))
    cache.put(pod("a", 2, service=service))
    assert names_of(cache) == []
    assert names_of(cache, "other") == (["a"] if service else [])
    cache.remove(pod("a", 3, service=service))
    assert names_of(cache, "other") == []


@pytest.mark.parametrize(
    "owners",
    [
        None,
        [],
        [{"kind": "ReplicaSet", "name": "chat-5d4c"}],
        [{"kind": "ReplicaSet", "name": "other-5d4c", "controller": True}],
        [{"kind": "Job", "name": "chat-5d4c", "controller": True}],
    ],
)
def test_a_pod_with_the_labels_of_a_worker_is_none_until_its_replicaset_has_it(owners: list[Manifest] | None) -> None:
    """A copy that somebody made to look into, with the labels kept: it takes no load and is no replica."""
    cache = Cache()
    copy = pod("a")
    copy["metadata"]["ownerReferences"] = owners
    cache.put(copy)
    assert names_of(cache) == []
    cache.put(pod("a", 2))
    assert names_of(cache) == ["a"]
    copy["metadata"]["resourceVersion"] = "3"
    cache.put(copy)
    assert names_of(cache) == []


def test_an_old_pod_event_does_not_undo_the_index() -> None:
    cache = Cache()
    cache.put(pod("a", 5))
    cache.put(pod("a", 4, service=None))
    assert names_of(cache) == ["a"]


def test_pods_are_kept_without_what_nobody_reads() -> None:
    cache = Cache()
    one = pod("a")
    one["metadata"]["managedFields"] = [{}] * 100
    cache.put(one)
    kept = cache.pods(KEY)[0]
    assert "managedFields" not in kept["metadata"]
    assert kept["spec"] == {}
    assert kept["status"] == {"phase": "Running"}


def test_the_caller_may_put_while_it_walks_the_keys() -> None:
    cache = Cache()
    cache.put(thing(1))
    for _ in cache.keys("Service"):
        cache.put(thing(1, uid="b", name="other"))
    assert len(versions(cache)) == 2


def test_a_spec_is_parsed_once_per_generation(resource, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = []
    original = InferenceService.parse
    monkeypatch.setattr(InferenceService, "parse", lambda raw: parsed.append(raw) or original(raw))
    cache = Cache()
    for version in range(1, 4):
        cache.put(resource(version=version))
        first = cache.service(KEY)
    assert (len(parsed), cache.service(KEY) is first) == (1, True)
    cache.put(resource(version=5, generation=2))
    cache.service(KEY)
    cache.put(resource(version=6, generation=2, uid="u-2"))
    found = cache.service(KEY)
    assert len(parsed) == 3
    assert isinstance(found, InferenceService)
    assert found.metadata.uid == "u-2"


def test_a_spec_that_cannot_be_read_says_why_and_is_read_once(resource) -> None:
    cache = Cache()
    cache.put(resource(model={"source": {}}))
    found = cache.service(KEY)
    assert isinstance(found, InvalidSpec)
    assert "spec.model.source" in str(found)
    assert cache.service(KEY) is found


def test_a_service_that_is_gone_is_none(resource) -> None:
    cache = Cache()
    assert cache.service(KEY) is None
    cache.put(resource())
    assert cache.service(KEY) is not None
    cache.remove(resource(version=2))
    assert cache.service(KEY) is None
    assert cache._parsed == {}
