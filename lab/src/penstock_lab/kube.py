"""A small asynchronous Kubernetes client over plain dicts.

One aiohttp session per client, no generated models (they cost 88 MiB and twice the CPU per call). Everything is
addressed by a `Resource` and names; nothing is discovered except by `apply`, which has to turn a manifest's kind into
a path. Every refusal of the server is a `KubeError` that carries the HTTP status and the server's own message; an
unreachable server is aiohttp's or the system's own error, gathered in `UNREACHABLE` for callers that retry.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Self

import aiohttp

from penstock_lab.kubeconfig import Connection

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping
    from pathlib import Path

Object = dict[str, Any]
PatchType = Literal["merge", "strategic", "json", "apply"]

UNREACHABLE: Final = (aiohttp.ClientError, OSError, TimeoutError)
_WATCH_SILENCE_SECONDS: Final = 150.0  # the server sends a bookmark about once a minute
_PATCH_TYPES: Final[dict[PatchType, str]] = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "json": "application/json-patch+json",
    "apply": "application/apply-patch+yaml",
}


class KubeError(Exception):
    """The API server answered and refused; `status` is the HTTP code, `reason` the Kubernetes reason."""

    def __init__(self, *, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message


@dataclass(frozen=True, slots=True)
class Resource:
    """A collection, such as `Resource("apps/v1", "deployments")`."""

    api_version: str
    plural: str

    def path(self, *, namespace: str | None = None, name: str | None = None, sub: str | None = None) -> str:
        """Return the URL path of the collection, an object in it, or a subresource of that object."""
        root = f"/apis/{self.api_version}" if "/" in self.api_version else f"/api/{self.api_version}"
        parts = [root, f"namespaces/{namespace}" if namespace else "", self.plural, name or "", sub or ""]
        return "/".join(part for part in parts if part)


class Kube:
    """Calls against one API server; use as an asynchronous context manager."""

    def __init__(self, connection: Connection, *, timeout_seconds: float = 30.0) -> None:
        self.connection = connection
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._headers = {"Authorization": f"Bearer {connection.token}"} if connection.token else {}
        self._session: aiohttp.ClientSession | None = None
        self._plurals: dict[tuple[str, str], tuple[str, bool]] = {}

    @classmethod
    def from_kubeconfig(cls, path: Path, *, timeout_seconds: float = 30.0) -> Self:
        """Make a client for the current context of a kubeconfig file."""
        return cls(Connection.from_kubeconfig(path), timeout_seconds=timeout_seconds)

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(limit=0, ssl=self.connection.tls or True)
        self._session = aiohttp.ClientSession(
            base_url=self.connection.server, connector=connector, headers=self._headers, timeout=self._timeout
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        params: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> Any:
        """Send one request, wait out 429s as told, and return the decoded body (text if it is not JSON).

        Raises:
            KubeError: the server refused.
        """
        data = None if body is None else json.dumps(body).encode()
        while True:
            async with self._open.request(
                method, path, data=data, params=params, headers={"Content-Type": content_type}
            ) as response:
                if response.status == 429 and (wait := response.headers.get("Retry-After")):
                    await asyncio.sleep(float(wait))
                    continue
                if response.status >= 400:
                    raise _refusal(response.status, await response.text())
                if response.content_type != "application/json":
                    return await response.text()
                return await response.json()

    async def get(
        self, resource: Resource, name: str, *, namespace: str | None = None, sub: str | None = None
    ) -> Object:
        """Read one object; `KubeError.status` 404 when it is not there."""
        found: Object = await self.request("GET", resource.path(namespace=namespace, name=name, sub=sub))
        return found

    async def list(self, resource: Resource, *, namespace: str | None = None, **selectors: str) -> Object:
        """Return the whole List object; selectors are query names, such as `labelSelector="app=web"`."""
        found: Object = await self.request("GET", resource.path(namespace=namespace), params=selectors)
        return found

    async def create(
        self,
        resource: Resource,
        body: Object,
        *,
        namespace: str | None = None,
        name: str | None = None,
        sub: str | None = None,
    ) -> Object:
        """POST an object, or with `name` and `sub` to a subresource such as `token`."""
        made: Object = await self.request("POST", resource.path(namespace=namespace, name=name, sub=sub), body=body)
        return made

    async def patch(
        self,
        resource: Resource,
        name: str,
        body: Any,
        *,
        namespace: str | None = None,
        sub: str | None = None,
        kind: PatchType = "merge",
        **params: str,
    ) -> Object:
        """PATCH an object; `kind` is the patch's media type."""
        path = resource.path(namespace=namespace, name=name, sub=sub)
        done: Object = await self.request("PATCH", path, body=body, params=params, content_type=_PATCH_TYPES[kind])
        return done

    async def delete(
        self,
        resource: Resource,
        name: str,
        *,
        namespace: str | None = None,
        uid: str | None = None,
        grace_seconds: int | None = None,
        propagation: str | None = None,
    ) -> None:
        """DELETE an object; with `uid` only if it is still that one (409 otherwise)."""
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        if propagation is not None:
            options["propagationPolicy"] = propagation
        await self.request("DELETE", resource.path(namespace=namespace, name=name), body=options)

    async def apply(self, manifest: Object, *, manager: str, force: bool = True) -> Object:
        """Server-side apply a manifest of any kind the server knows.

        Raises:
            KubeError: the server refused; 404 also when it does not know the kind.
        """
        plural, namespaced = await self._plural(manifest["apiVersion"], manifest["kind"])
        metadata = manifest["metadata"]
        return await self.patch(
            Resource(manifest["apiVersion"], plural),
            metadata["name"],
            manifest,
            namespace=metadata.get("namespace", "default") if namespaced else None,
            kind="apply",
            fieldManager=manager,
            force=str(force).lower(),
        )

    async def watch(
        self, resource: Resource, *, resource_version: str, namespace: str | None = None, **selectors: str
    ) -> AsyncGenerator[tuple[str, Object]]:
        """Yield (ADDED | MODIFIED | DELETED | BOOKMARK, object) until the server closes the stream.

        Raises:
            KubeError: 410 when `resource_version` is too old: list again.
        """
        params = {"watch": "1", "allowWatchBookmarks": "true", "resourceVersion": resource_version, **selectors}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=_WATCH_SILENCE_SECONDS)
        async with self._open.get(
            resource.path(namespace=namespace), params=params, timeout=timeout, read_bufsize=2**24
        ) as response:
            if response.status >= 400:
                raise _refusal(response.status, await response.text())
            try:
                async for line in response.content:
                    if not line.endswith(b"\n"):
                        return  # cut off in the middle of an event
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        raise _refusal(event["object"].get("code", 500), json.dumps(event["object"]))
                    yield event["type"], event["object"]
            finally:
                _cut(response)

    @property
    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("Kube is used outside its `async with` block")
        return self._session

    async def _plural(self, api_version: str, kind: str) -> tuple[str, bool]:
        if (api_version, kind) not in self._plurals:
            for entry in (await self.request("GET", Resource(api_version, "").path()))["resources"]:
                if "/" not in entry["name"]:
                    self._plurals[api_version, entry["kind"]] = (entry["name"], entry["namespaced"])
        if (api_version, kind) not in self._plurals:
            raise KubeError(status=404, reason="NotFound", message=f"{api_version} serves no kind {kind}")
        return self._plurals[api_version, kind]


def _cut(response: aiohttp.ClientResponse) -> None:
    """End the connection of an answer that has no end now: a farewell by TLS may outlive the event loop."""
    connection = response.connection
    if connection is not None and connection.transport is not None:
        connection.transport.abort()


def _refusal(status: int, text: str) -> KubeError:
    try:
        body = json.loads(text)
        return KubeError(
            status=status, reason=str(body.get("reason", "Unknown")), message=str(body.get("message", text))
        )
    except (ValueError, AttributeError):
        return KubeError(status=status, reason="Unknown", message=text.strip()[:500])
