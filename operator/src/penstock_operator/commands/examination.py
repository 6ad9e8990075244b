"""Looks at everything that `penstock doctor` reports on; what may not be looked at is said, and is no failure.

Runs with anybody's rights: an administrator's on a laptop, or the operator's own inside its pod (`helm test`), where
nodes and CRDs cannot be read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from penstock_contract import names
from penstock_operator.adapters.errors import KubeError
from penstock_operator.adapters.prometheus import Access
from penstock_operator.commands.cluster import GATEWAY_PODS, Cluster, Page, ambiguous
from penstock_operator.commands.permissions import FORBIDDEN, permissions
from penstock_operator.commands.prometheus import Address, Expected, prometheus
from penstock_operator.core import checkup, naming
from penstock_operator.core.checkup import Level, Result, ok
from penstock_operator.core.pods import is_ready, live
from penstock_operator.runtime.settings import prometheus_access

Manifest = dict[str, Any]
_CRD = f"apis/apiextensions.k8s.io/v1/customresourcedefinitions/{names.PLURAL}.{names.GROUP}"


class Examination:
    """One run; `results` grows in the order of the questions."""

    def __init__(self, cluster: Cluster, *, address: Address, env: Mapping[str, str]) -> None:
        self._cluster = cluster
        self._address = address
        self._env = env
        self._labelled: list[Manifest] = []  # with the operator's label, whoever put it there
        self._operators: list[Manifest] = []  # those of one namespace, to be believed
        self._services: list[Manifest] | None = None
        self._gateways_ready = 0
        self._page = Page(None)
        self._found = False
        self.results: list[Result] = []

    async def run(self) -> list[Result]:
        """Look at everything."""
        if not await self._api_server():
            return self.results
        await self._guarded("crd", self._crd())
        await self._guarded("operator", self._find())
        await self._guarded("services", self._list())
        await self._guarded("rights", self._rights())
        await self._guarded("operator", self._operator())
        await self._guarded("gateways", self._gateways())
        await self._guarded("prometheus", self._prometheus())
        await self._guarded("nodes", self._nodes())
        if self._services is not None:
            self.results += checkup.services(self._services)
        return self.results

    async def _guarded(self, check: str, look: Any) -> None:
        """Run one look; what may not be seen from here is a warning, anything else that goes wrong a failure."""
        try:
            await look
        except KubeError as error:
            if error.status in FORBIDDEN:
                text = f"may not be looked at with these rights: {error.message}"
                self._say(Level.WARN, check, text, "run it with an administrator's kubeconfig to see more")
            else:
                self._say(Level.FAIL, check, f"the API server answered: {error}", "run it again, then see its log")

    def _say(self, level: Level, check: str, message: str, fix: str = "") -> None:
        self.results.append(Result(level, check, message, fix))

    async def _api_server(self) -> bool:
        try:
            answer = await self._cluster.kube.read("version")
        except KubeError as error:
            fix = "check KUBECONFIG (kubectl version tells the same), network and credentials"
            self._say(Level.FAIL, "api-server", f"cannot be reached: {error.message or error.reason}", fix)
            return False
        self.results.append(ok("api-server", f"answers, Kubernetes {answer.get('gitVersion', 'of unknown version')}"))
        return True

    async def _crd(self) -> None:
        try:
            found = await self._cluster.kube.read(_CRD)
        except KubeError as error:
            if error.status == 404:
                self.results.append(checkup.crd(None))
                return
            if error.status not in FORBIDDEN or not await self._cluster.kube.discovered(names.KIND):
                raise
            text = f"{names.PLURAL}.{names.GROUP} is served; its schema may not be read with these rights"
            self.results.append(ok("crd", text))
            return
        self.results.append(checkup.crd(found))

    async def _find(self) -> None:
        """What later questions need of the operator: its pods and state."""
        if self._cluster.place.operator_url is not None:  # needs no right to see pods
            self._page = await self._cluster.state(brief=True)
        self._labelled = await self._cluster.operators()
        self._found = True
        if ambiguous(self._labelled):
            return
        self._operators = self._labelled
        if self._cluster.place.operator_url is None:
            self._page = await self._cluster.state(brief=True)

    async def _list(self) -> None:
        try:
            self._services = await self._cluster.kube.list(names.KIND)
        except KubeError as error:
            if error.status != 404:
                raise

    async def _rights(self) -> None:
        for pod in self._operators:
            account = pod["metadata"]["namespace"], pod.get("spec", {}).get("serviceAccountName", "default")
            self.results += await permissions(self._cluster.kube, account, self._namespaces())
            return
        self.results.append(checkup.unseen_rights("the operator's account is not visible from here"))

    def _namespaces(self) -> list[str]:
        """Those that the operator watches; an empty name is all of them."""
        text = self._setting("PENSTOCK_NAMESPACES") or ""
        return [part.strip() for part in text.split(",") if part.strip()] or [""]

    def _setting(self, name: str) -> str | None:
        """Of the operator's own environment, as its pod shows it, or of ours inside that pod."""
        said = (checkup.setting(pod, name) for pod in self._operators)
        return next((text for text in said if text is not None), self._env.get(name))

    async def _operator(self) -> None:
        if why := ambiguous(self._labelled):
            clash = checkup.overlap(self._labelled)
            self.results.append(clash or Result(Level.WARN, "operator", why, "run it once for each of them"))
            if self._page.state is None:
                return
        if self._page.state is None and not self._found:
            return  # that it may not be looked for is said already
        theirs = None if self._page.state is None else str(self._page.state["version"])
        ready = sum(is_ready(pod) for pod in self._operators)
        self.results.append(checkup.operator(self._operators, ready, theirs=theirs, ours=version("penstock")))
        if self._page.state is not None:
            late = checkup.ticks(self._page.state, now=datetime.now(UTC).timestamp())
            self.results += [] if late is None else [late]

    async def _gateways(self) -> None:
        found = live(await self._cluster.pods(GATEWAY_PODS))
        self._gateways_ready = sum(is_ready(pod) for pod in found)
        self.results.append(checkup.gateways(len(found), self._gateways_ready))

    async def _prometheus(self) -> None:
        if (said := self._source()) and said["ok"] is False:
            fix = "start Prometheus, or mend prometheus.url of the chart"
            self._say(Level.FAIL, "prometheus", f"the operator gets nothing: {said['detail']}", fix)
        url = self._address.url or self._setting("PENSTOCK_PROMETHEUS_URL")
        if not url:
            self._say(Level.WARN, "prometheus", "its URL is not known here", "give --prometheus-url")
            return
        address = replace(self._address, url=url, access=self._access())
        services = self._services or []
        expected = Expected(
            services=services,
            ready={_key(service): await self._ready_pods(service) for service in services},
            gateways=self._gateways_ready,
            theirs=bool(self._source().get("ok")),
        )
        self.results += await prometheus(address, expected)

    def _source(self) -> Manifest:
        """What the operator says of Prometheus."""
        return dict((self._page.state or {}).get("metrics_source") or {})

    def _access(self) -> Access:
        """Credentials of Prometheus: those that were given, else the pod's own, which go to its own address only."""
        given = self._address.access
        return given if self._address.given or given != Access() else prometheus_access(self._env)

    async def _ready_pods(self, service: Manifest) -> int:
        metadata = service["metadata"]
        selector = naming.selector_string(metadata["name"])
        found = await self._cluster.pods(selector, namespace=metadata["namespace"])
        return sum(is_ready(pod) for pod in live(found))

    async def _nodes(self) -> None:
        answer = await self._cluster.kube.read("api/v1/nodes")
        self.results += checkup.accelerators(self._services or [], list(answer.get("items") or []))


def _key(service: Manifest) -> tuple[str, str]:
    return service["metadata"]["namespace"], service["metadata"]["name"]
