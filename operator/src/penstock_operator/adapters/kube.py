"""The API server over one HTTP session: list, server-side apply, scale, events, on plain dictionaries.

`kubernetes.aio` gives configuration and credentials (kubeconfig or in-cluster, tokens re-read as they rotate); its
generated models are not used, since building one costs more than the request. Every call has a deadline. Nothing
here retries: the work queue does, with back-off. Certificates rotate like tokens: a new connection trusts, and shows,
what their files hold by then.
"""

from __future__ import annotations

import json
import logging
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
from kubernetes.aio.client import Configuration
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config

from penstock_contract import names
from penstock_operator.adapters.errors import ConfigurationError, KubeError

Manifest = dict[str, Any]
_LOG = logging.getLogger("penstock.kube")
_PAGE = 500
_TIMEOUT = aiohttp.ClientTimeout(total=10)
# Kind to (API prefix, plural).
KINDS: Mapping[str, tuple[str, str]] = {
    names.KIND: (f"apis/{names.API_VERSION}", names.PLURAL),
    "Deployment": ("apis/apps/v1", "deployments"),
    "Service": ("api/v1", "services"),
    "PodDisruptionBudget": ("apis/policy/v1", "poddisruptionbudgets"),
    "Pod": ("api/v1", "pods"),
    "Event": ("api/v1", "events"),
}


async def load_configuration(kubeconfig: str | None) -> Configuration:
    """Client configuration from a kubeconfig file, or from the pod's service account when None.

    Raises:
        ConfigurationError: neither can be read.
    """
    configuration = Configuration()
    try:
        if kubeconfig is None:
            load_incluster_config(client_configuration=configuration)
        else:
            await load_kube_config(config_file=kubeconfig, client_configuration=configuration)
    except ConfigException as error:
        where = kubeconfig or "the pod's service account"
        raise ConfigurationError(f"no cluster configuration from {where}: {error}; set KUBECONFIG") from error
    return configuration


class Tls:
    """The TLS settings of a configuration, made anew whenever one of its files has changed."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._versions = self._now()
        self._context = self._read()

    def context(self) -> ssl.SSLContext:
        """Of the files as they are; while they cannot be used, such as between two writes, as they were."""
        versions = self._now()
        if versions != self._versions:
            try:
                self._context = self._read()
            except (OSError, ValueError) as error:  # SSLError is an OSError
                _LOG.warning("certificates_unusable error=%s", error)
            self._versions = versions
        return self._context

    def _now(self) -> tuple[tuple[int, int, int] | None, ...]:
        files = (self._configuration.ssl_ca_cert, self._configuration.cert_file, self._configuration.key_file)
        return tuple(_version(file) if file else None for file in files)

    def _read(self) -> ssl.SSLContext:
        configuration = self._configuration
        context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
        if configuration.cert_file:
            context.load_cert_chain(configuration.cert_file, keyfile=configuration.key_file)
        if not configuration.verify_ssl:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


def _version(file: str) -> tuple[int, int, int] | None:
    try:
        found = Path(file).stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


class KubeClient:
    """`core.ports.Kube` over aiohttp."""

    def __init__(self, configuration: Configuration, *, namespaces: tuple[str, ...] = ()) -> None:
        self._configuration = configuration
        self._namespaces = namespaces
        self._tls = Tls(configuration)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=16), timeout=_TIMEOUT, trust_env=True
        )

    async def close(self) -> None:
        """Close the session."""
        await self._session.close()

    async def list(self, kind: str, *, label_selector: str = "") -> list[Manifest]:
        """All objects of `kind` in the watched namespaces, in pages; whole, as a watch or a single read gives them."""
        prefix, plural = KINDS[kind]
        paths = [f"{prefix}/namespaces/{quote(one)}/{plural}" for one in self._namespaces] or [f"{prefix}/{plural}"]
        found: list[Manifest] = []
        for path in paths:
            token = ""
            while True:
                query = {"limit": str(_PAGE), "labelSelector": label_selector, "continue": token}
                page = await self._call("GET", path, query={key: value for key, value in query.items() if value})
                if "apiVersion" not in page:  # a proxy's page, say; taken for an empty list it would delete all
                    raise KubeError(0, "NotAList", f"{path} answered with something else than a list")
                # The server leaves out of items what it says once of the list; without it, no object looks as applied.
                found += [{"apiVersion": page["apiVersion"], "kind": kind} | item for item in page.get("items") or []]
                token = page.get("metadata", {}).get("continue") or ""
                if not token:
                    break
        return found

    async def get(self, kind: str, *, namespace: str, name: str) -> Manifest | None:
        """One object, or None when it does not exist."""
        try:
            return await self._call("GET", _path(kind, namespace, name))
        except KubeError as error:
            if error.status == 404:
                return None
            raise

    async def read(self, path: str, *, query: Mapping[str, str] | None = None) -> Manifest:
        """GET of any path below the server's root that answers with an object: for people's commands."""
        return await self._call("GET", path, query=query)

    async def review(self, path: str, body: Manifest) -> Manifest:
        """POST of a question that the server answers and does not store, such as an access review."""
        return await self._call("POST", path, body=body)

    async def discovered(self, kind: str) -> bool:
        """Whether the API server's discovery names a kind: for a new CRD that is later than its first answer."""
        prefix, plural = KINDS[kind]
        group, _, version = prefix.removeprefix("apis/").partition("/")
        try:
            groups = await self._call("GET", "apis")
            resources = await self._call("GET", f"apis/{group}/{version}")
        except KubeError as error:
            if error.status == 404:
                return False
            raise
        return any(item.get("name") == group for item in groups.get("groups") or []) and any(
            item.get("name") == plural for item in resources.get("resources") or []
        )

    async def apply(self, manifest: Manifest, *, manager: str, force: bool = True) -> Manifest:
        """Server-side apply; returns the live object."""
        metadata = manifest["metadata"]
        path = _path(manifest["kind"], metadata["namespace"], metadata["name"])
        return await self._apply(path, manifest, manager=manager, force=force)

    async def apply_status(self, manifest: Manifest, *, manager: str) -> Manifest:
        """Server-side apply of the status subresource with force: each manager sends only what it owns."""
        metadata = manifest["metadata"]
        path = _path(manifest["kind"], metadata["namespace"], metadata["name"]) + "/status"
        return await self._apply(path, manifest, manager=manager, force=True)

    async def scale(self, *, namespace: str, name: str, replicas: int, manager: str) -> None:
        """Apply a Deployment's `/scale` with force."""
        body = {
            "apiVersion": "autoscaling/v1",
            "kind": "Scale",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"replicas": replicas},
        }
        await self._apply(_path("Deployment", namespace, name) + "/scale", body, manager=manager, force=True)

    async def annotate_pod(self, *, namespace: str, name: str, annotations: Mapping[str, str | None]) -> None:
        """Set annotations of a pod, or remove those that are None; a pod that is gone needs none."""
        query = {"fieldManager": names.AUTOSCALER_MANAGER}
        body: Manifest = {"metadata": {"annotations": dict(annotations)}}
        try:
            await self._call(
                "PATCH",
                _path("Pod", namespace, name),
                query=query,
                body=body,
                content_type="application/merge-patch+json",
            )
        except KubeError as error:
            if error.status != 404:
                raise

    async def create_event(self, event: Manifest) -> None:
        """Post an event. A lost event is logged: it must not stop the work that it tells of."""
        namespace = quote(event["metadata"]["namespace"])
        try:
            await self._call("POST", f"api/v1/namespaces/{namespace}/events", body=event)
        except KubeError as error:
            _LOG.warning("event_lost reason=%s error=%s", event.get("reason"), error)

    async def _apply(self, path: str, body: Manifest, *, manager: str, force: bool) -> Manifest:
        query = {"fieldManager": manager, "force": "true" if force else "false"}
        return await self._call("PATCH", path, query=query, body=body, content_type="application/apply-patch+yaml")

    async def _call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Manifest | None = None,
        content_type: str = "application/json",
    ) -> Manifest:
        headers = {"Accept": "application/json"}
        if authorization := await self._configuration.get_api_key_with_prefix("BearerToken"):
            headers["Authorization"] = authorization
        data = None
        if body is not None:
            headers["Content-Type"] = content_type
            data = json.dumps(body).encode()
        url = f"{self._configuration.host}/{path}"
        try:
            request = self._session.request(
                method, url, params=query, headers=headers, data=data, ssl=self._tls.context()
            )
            async with request as response:
                text = await response.text()
                status = response.status
        except (aiohttp.ClientError, TimeoutError) as error:
            raise KubeError(0, type(error).__name__, str(error) or "no answer in time") from error
        answer = _decoded(text)
        if status >= 400:
            known = answer or {}
            raise KubeError(status, str(known.get("reason") or status), str(known.get("message") or text[:200]))
        if answer is None:
            raise KubeError(
                0, "NotAnObject", f"{path} answered {status} with something else than an object: {text[:80]!r}"
            )
        return answer


def _path(kind: str, namespace: str, name: str) -> str:
    prefix, plural = KINDS[kind]
    return f"{prefix}/namespaces/{quote(namespace)}/{plural}/{quote(name)}"


def _decoded(text: str) -> Manifest | None:
    try:
        answer = json.loads(text)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None
