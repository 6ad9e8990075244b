"""Who asked the API server for what, from its audit log, and who may, from roles; both in the terms of RBAC."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# ServiceAccount, API group, resource or resource/subresource, verb.
Need = tuple[str, str, str, str]
_POD = "authentication.kubernetes.io/pod-name"
_DISCOVERY = ("/api", "/apis", "/version", "/openapi")


@dataclass(frozen=True)
class Request:
    """One request of a ServiceAccount.

    Attributes:
        account: name of the ServiceAccount.
        pod: that it came from.
        namespace: that it was about; empty for all.
        needs: rights that it takes.
        refused: what was said if it had no right to.
    """

    account: str
    pod: str
    namespace: str
    needs: frozenset[Need]
    refused: str = ""


def requests_of(log: Path, namespace: str) -> list[Request]:
    """All requests of the ServiceAccounts of a namespace, but those for discovery, which everybody may make."""
    prefix = f"system:serviceaccount:{namespace}:"
    found = []
    for line in log.read_text().splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # the line being written
        if entry["user"]["username"].startswith(prefix) and not _discovery(entry):
            found.append(_request(entry, entry["user"]["username"].removeprefix(prefix)))
    return found


def granted(roles: dict[str, Any], release: str) -> set[Need]:
    """What the roles of a release's ServiceAccounts allow; a role has the name of its account."""
    return {
        (role["metadata"]["name"], group, resource, verb)
        for role in roles["items"]
        if role["metadata"]["name"] in (f"{release}-operator", f"{release}-gateway")
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def _discovery(entry: dict[str, Any]) -> bool:
    if "objectRef" in entry:
        return False
    path = entry["requestURI"].partition("?")[0]
    assert path.startswith(_DISCOVERY), f"{entry['verb']} {path}: a right outside of the API's objects"
    return True


def _request(entry: dict[str, Any], account: str) -> Request:
    target = entry["objectRef"]
    status = entry.get("responseStatus", {})
    resource = "/".join(part for part in (target["resource"], target.get("subresource")) if part)
    verbs = {entry["verb"]}
    if entry["verb"] == "patch" and status.get("code") == 201:
        verbs.add("create")  # an apply that creates takes both rights
    return Request(
        account=account,
        pod=next(iter(entry["user"].get("extra", {}).get(_POD, [])), ""),
        namespace=target.get("namespace", ""),
        needs=frozenset((account, target.get("apiGroup", ""), resource, verb) for verb in verbs),
        refused=status.get("message", "403") if status.get("code") == 403 else "",
    )
