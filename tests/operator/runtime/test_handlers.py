"""What kopf is told to watch, and that an event does no more than update the cache and mark a service dirty."""

import itertools
from collections.abc import Sized
from typing import Any

import kopf
import pytest
from kubernetes.aio.client import Configuration

from penstock_contract import names
from penstock_operator.runtime import handlers
from penstock_operator.runtime.cache import Cache, Key

KINDS = {
    "pods": ("", "v1", "Pod"),
    "services": ("", "v1", "Service"),
    "deployments": ("apps", "v1", "Deployment"),
    "poddisruptionbudgets": ("policy", "v1", "PodDisruptionBudget"),
}


def resource_of(plural: str) -> kopf.Resource:
    group, version, kind = KINDS.get(plural, (names.GROUP, names.VERSION, names.KIND))
    return kopf.Resource(group=group, version=version, plural=plural, kind=kind, namespaced=True)


class Watching:
    """The registered handlers, called as kopf calls them."""

    def __init__(self) -> None:
        self.cache = Cache()
        self.dirty: list[Key] = []
        self.gone: list[Key] = []
        self._registry = handlers.registry(
            self.cache, dirty=self.dirty.append, gone=self.gone.append, configuration=Configuration()
        )

    async def tell(self, plural: str, kind: str | None, obj: dict[str, Any]) -> None:
        resource = resource_of(plural)
        found = [one for one in self._registry._watching._handlers if one.selector and one.selector.check(resource)]
        assert len(found) == 1
        await found[0].fn(event={"type": kind, "object": obj}, resource=resource)  # type: ignore[call-arg]


def child(plural: str, version: int = 1, *, service: str | None = "chat") -> dict[str, Any]:
    labels = {names.SERVICE: service} if service else {}
    metadata = {"namespace": "team-a", "name": "c", "uid": "c-1", "resourceVersion": str(version), "labels": labels}
    return {"kind": KINDS[plural][2], "metadata": metadata}


@pytest.mark.parametrize("plural", KINDS)
def test_children_are_filtered_by_the_server(plural: str) -> None:
    assert handlers.settings().watching.label_selectors.collect(resource_of(plural)) == [
        handlers.PODS if plural == "pods" else handlers.MANAGED
    ]


def test_services_are_watched_without_a_filter() -> None:
    assert handlers.settings().watching.label_selectors.collect(resource_of(names.PLURAL)) == []


def test_kopf_writes_nothing() -> None:
    chosen = handlers.settings()
    assert chosen.posting.enabled is False
    assert chosen.scanning.disabled is True
    registry = Watching()._registry
    assert not list(registry._changing.get_all_handlers())
    assert not list(registry._spawning.get_all_handlers())
    assert not list(registry._indexing.get_all_handlers())


def test_an_api_server_that_is_away_never_uses_up_the_attempts() -> None:
    """Kopf escalates when they end, and a watch that escalates ends the operator."""
    backoffs = handlers.settings().networking.error_backoffs
    assert not isinstance(backoffs, float | Sized)
    first, second = (list(itertools.islice(backoffs, 1000)) for _ in range(2))
    assert all(0.8 <= seconds <= 12 for seconds in first)
    assert max(first[:2]) < 2.5, "each request starts over"
    assert max(second[:2]) < 2.5
    assert first != second


@pytest.mark.parametrize("kind", [None, "ADDED", "MODIFIED"])
@pytest.mark.parametrize("plural", KINDS)
async def test_an_event_of_a_child_marks_its_service(plural: str, kind: str | None) -> None:
    watching = Watching()
    await watching.tell(plural, kind, child(plural))
    assert watching.dirty == [("team-a", "chat")]
    assert watching.cache.get(KINDS[plural][2], ("team-a", "c")) is not None
    await watching.tell(plural, "DELETED", child(plural, 2))
    assert watching.dirty == [("team-a", "chat")] * 2
    assert watching.cache.get(KINDS[plural][2], ("team-a", "c")) is None


@pytest.mark.parametrize("plural", KINDS)
async def test_an_old_event_and_an_object_of_nobody_mark_nothing(plural: str) -> None:
    watching = Watching()
    watching.cache.put(child(plural, 5))
    await watching.tell(plural, "MODIFIED", child(plural, 4))
    await watching.tell(plural, "MODIFIED", child(plural, 6, service=None))
    assert watching.dirty == []


async def test_events_of_a_service(resource) -> None:
    watching = Watching()
    await watching.tell(names.PLURAL, "ADDED", resource())
    assert (watching.dirty, watching.gone) == ([("team-a", "chat")], [])
    await watching.tell(names.PLURAL, "DELETED", resource(version=2))
    assert watching.gone == [("team-a", "chat")]
    assert watching.cache.service(("team-a", "chat")) is None


async def test_a_namesake_is_not_forgotten_with_its_predecessor(resource) -> None:
    watching = Watching()
    watching.cache.put(resource(uid="new", version=9))
    await watching.tell(names.PLURAL, "DELETED", resource(uid="old", version=8))
    assert (watching.dirty, watching.gone) == ([("team-a", "chat")], [])


@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
async def test_kopf_logs_in_with_the_token_of_now(scheme: str) -> None:
    """From a kubeconfig the client library writes the one, from a pod's ServiceAccount the other."""
    configuration = Configuration(host="https://example")
    configuration.api_key["BearerToken"] = f"{scheme} first"
    login = handlers._login(configuration)
    assert ((await login()).scheme, (await login()).token) == ("Bearer", "first")
    configuration.api_key["BearerToken"] = f"{scheme} second"
    found = await login()
    assert (found.token, found.server) == ("second", "https://example")
    assert found.expiration is not None
    anonymous = await handlers._login(Configuration(host="https://example"))()
    assert (anonymous.scheme, anonymous.token) == (None, None)
