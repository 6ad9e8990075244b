"""What the operator may do at the API server, as data: `penstock doctor` asks for each; a test compares the chart."""

from __future__ import annotations

from dataclasses import dataclass

from penstock_contract import names


@dataclass(frozen=True, slots=True)
class Right:
    """Verbs on one resource, as in a rule of RBAC.

    Attributes:
        group: API group; empty is the core group.
        resource: plural, with a subresource after a slash.
        verbs: as RBAC spells them.
    """

    group: str
    resource: str
    verbs: tuple[str, ...]


RIGHTS = (
    Right(names.GROUP, names.PLURAL, ("get", "list", "watch")),
    Right(names.GROUP, f"{names.PLURAL}/status", ("patch",)),
    Right(names.GROUP, f"{names.PLURAL}/finalizers", ("update",)),
    Right("apps", "deployments", ("get", "list", "watch", "create", "patch")),
    Right("apps", "deployments/scale", ("patch",)),
    Right("", "services", ("get", "list", "watch", "create", "patch")),
    Right("policy", "poddisruptionbudgets", ("get", "list", "watch", "create", "patch")),
    Right("", "pods", ("list", "watch", "patch")),
    Right("", "events", ("create",)),
)
