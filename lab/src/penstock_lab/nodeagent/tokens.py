"""Service account tokens of a pod: from TokenRequest, bound to the pod, renewed at four fifths of their life."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import yaml

from penstock_lab.nodeagent.resources import SERVICE_ACCOUNTS

if TYPE_CHECKING:
    from penstock_lab.kube import Kube
    from penstock_lab.nodeagent.sandbox import Sandbox

# Long, because common Python clients read a kubeconfig once and never again.
_LIFETIME_SECONDS: Final = 24 * 3600
_RENEW_AT: Final = 0.8


class Tokens:
    """The tokens of one pod, one per audience."""

    def __init__(self, kube: Kube, sandbox: Sandbox) -> None:
        self._kube = kube
        self._sandbox = sandbox
        self._held: dict[str, tuple[str, datetime]] = {}

    async def token(self, projection: dict[str, Any], *, now: datetime) -> str:
        """Return a token for a `serviceAccountToken` projection, a new one if the last is old.

        Raises:
            KubeError: the server refuses it.
        """
        audience = projection.get("audience", "")
        token, renew = self._held.get(audience, ("", now))
        if now < renew:
            return token
        answer = await self._kube.create(
            SERVICE_ACCOUNTS,
            self._request(audience, int(projection.get("expirationSeconds", 0))),
            namespace=self._sandbox.namespace,
            name=self._sandbox.spec.get("serviceAccountName", "default"),
            sub="token",
        )
        expiry = datetime.fromisoformat(answer["status"]["expirationTimestamp"]).astimezone(UTC)
        token = str(answer["status"]["token"])
        self._held[audience] = (token, now + (expiry - now) * _RENEW_AT)
        return token

    def kubeconfig(self, token: str) -> bytes:
        """Return a kubeconfig that speaks to the agent's API server with this token."""
        connection = self._kube.connection
        cluster: dict[str, Any] = {"server": connection.server}
        if connection.ca_data is not None:
            cluster["certificate-authority-data"] = base64.b64encode(connection.ca_data.encode()).decode()
        context = {"cluster": "local", "user": "pod", "namespace": self._sandbox.namespace}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "local",
            "clusters": [{"name": "local", "cluster": cluster}],
            "users": [{"name": "pod", "user": {"token": token}}],
            "contexts": [{"name": "local", "context": context}],
        }
        return yaml.safe_dump(document).encode()

    def _request(self, audience: str, lifetime_seconds: int) -> dict[str, Any]:
        metadata = self._sandbox.pod["metadata"]
        bound = {"apiVersion": "v1", "kind": "Pod", "name": metadata["name"], "uid": metadata["uid"]}
        lifetime = timedelta(seconds=max(lifetime_seconds, _LIFETIME_SECONDS))
        spec: dict[str, Any] = {"expirationSeconds": int(lifetime.total_seconds()), "boundObjectRef": bound}
        if audience:
            spec["audiences"] = [audience]
        return {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
