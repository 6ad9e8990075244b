"""Who may talk to the API server of a cluster: one token per user, one kubeconfig per token.

Each component is its own user, so the audit log tells them apart and RBAC applies to those that have bootstrap roles.
"""

from __future__ import annotations

import base64
import secrets
from typing import TYPE_CHECKING, Final

import yaml

from penstock_lab.cluster.files import write_private

if TYPE_CHECKING:
    from pathlib import Path

ADMIN: Final = "penstock-admin"
MASTERS: Final = "system:masters"

USERS: Final = {
    ADMIN: MASTERS,
    "system:kube-controller-manager": "",
    "system:kube-scheduler": "",
    "penstock-node-agent": MASTERS,
    "penstock-prometheus": "",
}
"""User name to group. Those without a group have exactly what RBAC gives them."""


def create_tokens(path: Path) -> dict[str, str]:
    """Write the API server's token file with a new token for every user, and return them by user."""
    tokens = {user: secrets.token_urlsafe(32) for user in USERS}
    rows = [f"{token},{user},{user}" + (f',"{USERS[user]}"' if USERS[user] else "") for user, token in tokens.items()]
    write_private(path, "\n".join(rows) + "\n")
    return tokens


def write_kubeconfig(path: Path, *, server: str, authority: Path, user: str, token: str, context: str) -> None:
    """Write a kubeconfig that is complete in itself: it may be copied anywhere."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    certificate = base64.b64encode(authority.read_bytes()).decode()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": context, "cluster": {"server": server, "certificate-authority-data": certificate}}],
        "users": [{"name": user, "user": {"token": token}}],
        "contexts": [{"name": context, "context": {"cluster": context, "user": user}}],
        "current-context": context,
    }
    write_private(path, yaml.safe_dump(config, sort_keys=False))
