"""The last known state of the watched objects.

Filled by a list at start, then by watch events and by the answers to our own writes. An older version never replaces a
newer one, and nothing that was deleted comes back, so the order in which those three arrive does not matter. Pods are
indexed by service, those that a ReplicaSet of its Deployment controls: labels alone can be on a pod that somebody made
by hand, such as a copy to look into. Specs are parsed once per generation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from penstock_contract import names
from penstock_operator.api import InferenceService, InvalidSpec
from penstock_operator.core import naming
from penstock_operator.core.handover import last_edit, replicas_entries

Manifest = dict[str, Any]
Key = tuple[str, str]
_UNUSED_OF_PODS = ("generateName",)
_GRAVES = 4096


def key_of(obj: Manifest) -> Key:
    """(namespace, name) of an object."""
    metadata = obj["metadata"]
    return metadata["namespace"], metadata["name"]


def service_of(obj: Manifest) -> Key | None:
    """(namespace, name) of the InferenceService that an object belongs to, by its label."""
    name = (obj["metadata"].get("labels") or {}).get(names.SERVICE)
    return (obj["metadata"]["namespace"], name) if name else None


GATEWAYS: Key = ("", names.GATEWAY_NAME)


def _index_of(pod: Manifest) -> Key | None:
    """Under which key `Cache.pods` finds a pod: its service, or GATEWAYS."""
    if (pod["metadata"].get("labels") or {}).get(names.LABEL_NAME) == names.GATEWAY_NAME:
        return GATEWAYS
    service = service_of(pod)
    return service if service is not None and _controller(pod) == naming.child_name(service[1]) else None


def _controller(pod: Manifest) -> str:
    """Name of the Deployment whose ReplicaSet controls a pod: the ReplicaSet's without its hash; empty without one."""
    for reference in pod["metadata"].get("ownerReferences") or ():
        if reference.get("controller") and reference.get("kind") == "ReplicaSet":
            return str(reference.get("name", "")).rpartition("-")[0]
    return ""


class Cache:
    """Objects by kind and key."""

    def __init__(self) -> None:
        self._objects: dict[str, dict[Key, Manifest]] = {}
        self._pods: dict[Key, dict[Key, Manifest]] = {}
        self._parsed: dict[Key, tuple[str, int, InferenceService | InvalidSpec]] = {}
        self._graves: dict[str, int] = {}  # uid to the version of the deletion, oldest first

    def get(self, kind: str, key: Key) -> Manifest | None:
        """The object, or None when none is known."""
        return self._objects.get(kind, {}).get(key)

    def keys(self, kind: str) -> Iterator[Key]:
        """Keys of all known objects of a kind, a snapshot."""
        return iter(list(self._objects.get(kind, {})))

    def pods(self, service: Key) -> list[Manifest]:
        """Pods of a service, or with GATEWAYS those of the gateways."""
        return list(self._pods.get(service, {}).values())

    def identities(self, kind: str) -> dict[Key, str]:
        """Keys and uids of all known objects of a kind, a snapshot."""
        return {key: _uid(obj) for key, obj in self._objects.get(kind, {}).items()}

    def put(self, obj: Manifest) -> bool:
        """Store an object; False when a newer version of it is known already, or its deletion."""
        kind, key = obj["kind"], key_of(obj)
        obj = _slim(obj)
        known = self._objects.setdefault(kind, {})
        old = known.get(key)
        if old is not None and _version(old) > _version(obj):
            return False
        if _version(obj) <= self._graves.get(_uid(obj), -1):
            return False
        known[key] = obj
        if kind == "Pod":
            if old is not None:
                self._unindex(old)
            if (service := _index_of(obj)) is not None:
                self._pods.setdefault(service, {})[key] = obj
        return True

    def remove(self, obj: Manifest) -> None:
        """Forget an object, unless another of the same name has taken its place."""
        kind, key = obj["kind"], key_of(obj)
        self._bury(obj)
        old = self.get(kind, key)
        if old is None or _uid(old) != _uid(obj):
            return
        del self._objects[kind][key]
        if kind == names.KIND:
            self._parsed.pop(key, None)
        if kind == "Pod":
            self._unindex(old)

    def replace(self, kind: str, objects: list[Manifest], *, known: Mapping[Key, str]) -> set[Key]:
        """Take a full list as the truth for a kind.

        Args:
            kind: kind of the objects.
            objects: all objects of the kind at some time after `known` was taken.
            known: `identities` from before the list was asked for. Only what was known then and is not listed is gone:
                what came meanwhile may be younger than the list.

        Returns:
            Keys that were known and are gone.
        """
        listed = {key_of(obj) for obj in objects}
        here = self._objects.get(kind, {})
        gone = [obj for key, obj in here.items() if key not in listed and known.get(key) == _uid(obj)]
        for obj in gone:
            self.remove(obj)
        for obj in objects:
            self.put({"kind": kind} | obj)
        return {key_of(obj) for obj in gone}

    def service(self, key: Key) -> InferenceService | InvalidSpec | None:
        """The parsed resource, or why its spec cannot be read; None when it does not exist.

        The parsed resource has no status; read the live one from `get`.
        """
        raw = self.get(names.KIND, key)
        if raw is None:
            return None
        uid, generation = raw["metadata"].get("uid", ""), int(raw["metadata"].get("generation") or 0)
        known = self._parsed.get(key)
        if known is not None and known[:2] == (uid, generation):
            return known[2]
        parsed: InferenceService | InvalidSpec
        try:
            parsed = InferenceService.parse({name: value for name, value in raw.items() if name != "status"})
        except InvalidSpec as error:
            parsed = error
        self._parsed[key] = (uid, generation, parsed)
        return parsed

    def _unindex(self, pod: Manifest) -> None:
        if (service := _index_of(pod)) is None:
            return
        siblings = self._pods.get(service, {})
        siblings.pop(key_of(pod), None)
        if not siblings:
            self._pods.pop(service, None)

    def _bury(self, obj: Manifest) -> None:
        """Remember a deletion, so that an answer or a list from before it does not bring the object back."""
        self._graves.pop(_uid(obj), None)
        self._graves[_uid(obj)] = _version(obj)
        if len(self._graves) > _GRAVES:
            del self._graves[next(iter(self._graves))]


def _slim(obj: Manifest) -> Manifest:
    """The object without what nobody reads, which is most of it."""
    metadata = dict(obj["metadata"])
    managed_fields = metadata.pop("managedFields", None)
    if obj["kind"] == "Deployment":
        metadata["managedFields"] = replicas_entries(managed_fields)
    if obj["kind"] == names.KIND:
        metadata["managedFields"] = last_edit(managed_fields)
    if obj["kind"] == "Pod":
        metadata = {name: value for name, value in metadata.items() if name not in _UNUSED_OF_PODS}
        if owners := [one for one in metadata.get("ownerReferences") or () if one.get("controller")]:
            metadata["ownerReferences"] = owners
        return {"kind": "Pod", "metadata": metadata, "spec": {}, "status": obj.get("status", {})}
    return obj | {"metadata": metadata}


def _uid(obj: Manifest) -> str:
    return str(obj["metadata"].get("uid", ""))


def _version(obj: Manifest) -> int:
    """Resource versions are ordered numbers (KEP-5504); anything else counts as oldest."""
    text = str(obj["metadata"].get("resourceVersion") or "")
    return int(text) if text.isdigit() else 0
