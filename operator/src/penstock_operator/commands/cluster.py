"""What a command on somebody's machine sees of a cluster: the API server, and through it or beside it the operator.

The operator's `/state.json` is asked at the URL that was given, else through the API server's proxy to its pod, else at
the pod's own address: a proxy refuses loopback addresses, which local clusters use, and a laptop reaches no pod.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from kubernetes.aio.config import ConfigException, list_kube_config_contexts

from penstock_contract import names
from penstock_operator.adapters.errors import ConfigurationError, KubeError
from penstock_operator.adapters.kube import KubeClient, load_configuration
from penstock_operator.commands.errors import AmbiguousError
from penstock_operator.core.pods import is_ready, live

Manifest = dict[str, Any]
OPERATOR_NAMESPACE = "PENSTOCK_OPERATOR_NAMESPACE"
OPERATOR_PODS = f"{names.LABEL_NAME}={names.MANAGED_BY}"
GATEWAY_PODS = f"{names.LABEL_NAME}={names.GATEWAY_NAME}"
_TIMEOUT = aiohttp.ClientTimeout(total=8)
_PORT = 8080
_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True, slots=True)
class Where:
    """Which cluster, and where in it.

    Attributes:
        kubeconfig: file; None is the pod's service account.
        namespace: in which a name without one is looked for.
        operator_url: of the operator's HTTP port; None finds it.
        operator_namespace: where the operator is looked for; None is everywhere.
        namespaces: those that are looked into, where not all may be; empty is all.
    """

    kubeconfig: str | None
    namespace: str
    operator_url: str | None = None
    operator_namespace: str | None = None
    namespaces: tuple[str, ...] = ()


def where(
    env: Mapping[str, str],
    *,
    kubeconfig: str | None,
    namespace: str | None,
    operator_url: str | None,
    operator_namespace: str | None,
) -> Where:
    """Options, then environment, then what kubectl would take."""
    operator_namespace = operator_namespace or env.get(OPERATOR_NAMESPACE) or None
    file = kubeconfig or env.get("KUBECONFIG") or None
    usual = Path(env.get("HOME") or Path.home()) / ".kube" / "config"
    if file is None and usual.is_file():
        file = str(usual)
    mine = namespace or _namespace(file)
    if file is not None:
        return Where(file, mine, operator_url, operator_namespace)
    # Inside a pod, with the operator's own rights: its namespaces are ours, and it is in this one.
    watched = tuple(part.strip() for part in env.get("PENSTOCK_NAMESPACES", "").split(",") if part.strip())
    return Where(None, mine, operator_url, operator_namespace or mine, watched)


def _namespace(kubeconfig: str | None) -> str:
    """Of the kubeconfig's context, or of the pod."""
    try:
        if kubeconfig is None:
            return (_SERVICE_ACCOUNT / "namespace").read_text(encoding="utf-8").strip() or "default"
        _, active = list_kube_config_contexts(config_file=kubeconfig)
        return str((active or {}).get("context", {}).get("namespace") or "default")
    except (OSError, ConfigException):
        return "default"


@dataclass(frozen=True, slots=True)
class Page:
    """The operator's answer, or why there is none.

    Attributes:
        state: decoded `/state.json`; None without an answer.
        source: URL or path that answered.
        tried: what did not, and why.
    """

    state: Manifest | None
    source: str = ""
    tried: tuple[str, ...] = ()


class Cluster:
    """The API server and the operator."""

    def __init__(self, kube: KubeClient, place: Where) -> None:
        self.kube = kube
        self.place = place

    async def pods(self, selector: str, *, namespace: str | None = None) -> list[Manifest]:
        """Pods by label, everywhere or in one namespace, also those on their way out.

        Raises:
            KubeError: the API server refused or was away.
        """
        places = [namespace] if namespace else self.place.namespaces
        paths = [f"api/v1/namespaces/{place}/pods" for place in places] or ["api/v1/pods"]
        lists = [await self.kube.read(path, query={"labelSelector": selector}) for path in paths]
        return [pod for found in lists for pod in found.get("items") or []]

    async def operators(self) -> list[Manifest]:
        """Pods with the operator's label where it is looked for, those that are ready first.

        Raises:
            KubeError: as above.
        """
        found = live(await self.pods(OPERATOR_PODS, namespace=self.place.operator_namespace))
        return sorted(found, key=lambda pod: not is_ready(pod))

    async def state(self, service: str | None = None, *, brief: bool = False) -> Page:
        """The operator's state.

        Args:
            service: `namespace/name`; None is all.
            brief: without decisions, history, signals and predictions.

        Raises:
            AmbiguousError: pods of several namespaces say that they are the operator, and nobody said which to believe.
        """
        query = ({} if service is None else {"service": service}) | ({"brief": "1"} if brief else {})
        tried: list[str] = []
        if self.place.operator_url is not None:
            url = f"{self.place.operator_url.rstrip('/')}/state.json"
            return await _first([url], query, tried) or Page(None, tried=tuple(tried))
        try:
            pods = await self.operators()
        except KubeError as error:
            text = f"cannot look for the operator's pod: {error.message}; give --operator-url or --operator-namespace"
            return Page(None, tried=(text,))
        if several := ambiguous(pods):
            raise AmbiguousError(several)
        for pod in pods:
            if page := await self._through_proxy(pod, query, tried):
                return page
        addresses = [(pod.get("status", {}).get("podIP"), port_of(pod)) for pod in pods]
        urls = [f"http://{address}:{port}/state.json" for address, port in addresses if address]
        if page := await _first(urls, query, tried):
            return page
        return Page(None, tried=tuple(tried) or (f"no pod is labelled {OPERATOR_PODS}: is the operator installed?",))

    async def _through_proxy(self, pod: Manifest, query: Mapping[str, str], tried: list[str]) -> Page | None:
        metadata = pod["metadata"]
        place = f"{metadata['namespace']}/{metadata['name']}"
        path = f"api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}:{port_of(pod)}/proxy/state.json"
        try:
            return Page(await self.kube.read(path, query=query), source=f"the API server's proxy to {place}")
        except KubeError as error:
            tried.append(f"proxy to pod {place}: {error.message or error.reason}")
            return None


def ambiguous(operators: Sequence[Manifest]) -> str:
    """Why none of these pods may be believed, or nothing: anybody may put the operator's label on a pod of his own."""
    places = sorted({pod["metadata"]["namespace"] for pod in operators})
    if len(places) < 2:
        return ""
    return (
        f"pods in the namespaces {', '.join(places)} say that they are the operator: give --operator-namespace, "
        f"or set {OPERATOR_NAMESPACE}"
    )


def port_of(pod: Manifest) -> int:
    """The port of a pod that is named http, or what the operator listens on by default."""
    for container in pod.get("spec", {}).get("containers") or []:
        for port in container.get("ports") or []:
            if port.get("name") == "http":
                return int(port["containerPort"])
    return _PORT


async def _first(urls: Sequence[str], query: Mapping[str, str], tried: list[str]) -> Page | None:
    async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
        for url in urls:
            try:
                async with session.get(url, params=query) as response:
                    response.raise_for_status()
                    state = json.loads(await response.text())
                    if isinstance(state, dict) and "services" in state:
                        return Page(state, source=url)
                    tried.append(f"{url}: no operator answers there")
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                tried.append(f"{url}: {str(error) or type(error).__name__}")
    return None


@asynccontextmanager
async def connected(place: Where) -> AsyncIterator[Cluster]:
    """The cluster.

    Raises:
        ConfigurationError: there is no configuration of one.
    """
    try:
        configuration = await load_configuration(place.kubeconfig)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"kubeconfig {place.kubeconfig} cannot be used: {error}") from error
    kube = KubeClient(configuration, namespaces=place.namespaces)
    try:
        yield Cluster(kube, place)
    finally:
        await kube.close()


def environment() -> Mapping[str, str]:
    """The environment of a command; read here only."""
    return os.environ
