"""One service account per measured program, so that the audit log tells whose request it was."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import yaml

from penstock_lab.kube import Kube, Resource

_NAMESPACE: Final = "kube-system"
_ACCOUNTS: Final = Resource("v1", "serviceaccounts")
_LIFETIME_SECONDS: Final = 6 * 3600


def user(name: str) -> str:
    """The user name of a program in the audit log."""
    return f"system:serviceaccount:{_NAMESPACE}:{name}"


async def create(kube: Kube, name: str) -> str:
    """Make a service account that may do everything; returns a token of it."""
    await kube.apply(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": _NAMESPACE}},
        manager="benchmark",
    )
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": role,
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": _NAMESPACE}],
    }
    await kube.apply(binding, manager="benchmark")
    request = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": _LIFETIME_SECONDS},
    }
    answer = await kube.create(_ACCOUNTS, request, namespace=_NAMESPACE, name=name, sub="token")
    return str(answer["status"]["token"])


def kubeconfig(admin: Path, *, name: str, token: str) -> Path:
    """Write a kubeconfig for `token` beside the administrator's, whose server and authority it takes over."""
    document = yaml.safe_load(admin.read_text(encoding="utf-8"))
    document["users"][0]["user"] = {"token": token}
    path = admin.with_name(f"{name}.kubeconfig")
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path
