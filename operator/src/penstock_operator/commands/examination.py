"""Looks at everything that `penstock doctor` reports on; what may not be looked at is said, and is no failure.

Runs with anybody's rights: an administrator's on a laptop, or the operator's own inside its pod (`helm test`), where
nodes and CRDs cannot be read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from penstock_contract import names
from penstock_operator.adapters.errors import KubeError
from penstock_operator.adapters.prometheus import PrometheusSource
from penstock_operator.commands.cluster import GATEWAY_PODS, Cluster, Page
from penstock_operator.core import checkup, naming
from penstock_operator.core.checkup import Level, Result, ok
from penstock_operator.core.pods import is_ready, live
from penstock_operator.core.ports import Unavailable
from penstock_operator.core.rights import RIGHTS
from penstock_operator.core.scaling.signals import SCRAPE_INTERVAL_QUERY, WINDOW_INTERVALS, by_service

Manifest = dict[str, Any]
Key = tuple[str, str]
_FORBIDDEN = (401, 403)
_CRD = f"apis/apiextensions.k8s.io/v1/customresourcedefinitions/{names.PLURAL}.{names.GROUP}"
_W = "penstock_worker_"
# What a decision is made of. Counters by reason have no series before the first, so `requests_finished` is not asked.
NEEDED = tuple(
    f"{_W}{name}"
    for name in (
        "requests_arrived_total",
        "prompt_tokens_total",
        "generated_tokens_total",
        "engine_steps_total",
        "requests_waiting",
        "requests_running",
    )
)
_BY = "by (namespace, inferenceservice)"
_RENAMED = 'count(penstock_gateway_requests_arrived_total{exported_inferenceservice!=""})'
_UNCLAIMED = f"count {_BY} ({_W}requests_waiting) unless count {_BY} (up)"
_DOUBLED = f"count by (namespace, pod) ({_W}requests_waiting) > 1"


class Examination:
    """One run; `results` grows in the order of the questions."""

    def __init__(self, cluster: Cluster, *, prometheus_url: str | None, env: Mapping[str, str]) -> None:
        self._cluster = cluster
        self._prometheus_url = prometheus_url
        self._env = env
        self._operators: list[Manifest] = []
        self._services: list[Manifest] = []
        self._page = Page(None)
        self._found = False
        self.results: list[Result] = []

    async def run(self) -> list[Result]:
        """Look at everything."""
        if not await self._api_server():
            return self.results
        await self._guarded("crd", self._crd())
        await self._guarded("operator", self._find())
        await self._guarded("rights", self._rights())
        await self._guarded("operator", self._operator())
        await self._guarded("gateways", self._gateways())
        await self._guarded("prometheus", self._prometheus())
        await self._guarded("nodes", self._nodes())
        self.results += checkup.services(self._services)
        return self.results

    async def _guarded(self, check: str, look: Any) -> None:
        """Run one look; what may not be seen from here is a warning, anything else that goes wrong a failure."""
        try:
            await look
        except KubeError as error:
            if error.status in _FORBIDDEN:
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
            if error.status not in _FORBIDDEN or not await self._cluster.kube.discovered(names.KIND):
                raise
            text = f"{names.PLURAL}.{names.GROUP} is served; its schema may not be read with these rights"
            self.results.append(ok("crd", text))
            return
        self.results.append(checkup.crd(found))

    async def _find(self) -> None:
        """What later questions need: the operator's pods and state, and the services."""
        self._page = await self._cluster.state()
        self._operators = await self._cluster.operators()
        self._found = True
        try:
            self._services = await self._cluster.kube.list(names.KIND)
        except KubeError as error:
            if error.status != 404:
                raise

    async def _rights(self) -> None:
        account = self._account()
        asked, refused, whose = 0, [], "the caller"
        for namespace in self._namespaces():
            for right in RIGHTS:
                for verb in right.verbs:
                    asked += 1
                    allowed, whose = await self._may(account, right.group, right.resource, verb, namespace)
                    if not allowed:
                        place = f" in namespace {namespace}" if namespace else ""
                        refused.append(f"{verb} {right.resource}.{right.group}".rstrip(".") + place)
        self.results += checkup.rights(refused, asked=asked, whose=whose)

    async def _may(
        self, account: tuple[str, str] | None, group: str, resource: str, verb: str, namespace: str
    ) -> tuple[bool, str]:
        """Whether the operator's ServiceAccount may, where that can be asked; else whether the caller may."""
        plural, _, sub = resource.partition("/")
        attributes = {"group": group, "resource": plural, "subresource": sub, "verb": verb, "namespace": namespace}
        spec: Manifest = {"resourceAttributes": {key: value for key, value in attributes.items() if value}}
        root = "apis/authorization.k8s.io/v1"
        kind = "AccessReview"
        if account is not None:
            groups = ["system:serviceaccounts", f"system:serviceaccounts:{account[0]}", "system:authenticated"]
            user = f"system:serviceaccount:{':'.join(account)}"
            body = {
                "apiVersion": "authorization.k8s.io/v1",
                "kind": f"Subject{kind}",
                "spec": spec | {"user": user, "groups": groups},
            }
            try:
                answer = await self._cluster.kube.review(f"{root}/subjectaccessreviews", body)
                return bool(answer.get("status", {}).get("allowed")), f"ServiceAccount {'/'.join(account)}"
            except KubeError as error:
                if error.status not in _FORBIDDEN:
                    raise
        body = {"apiVersion": "authorization.k8s.io/v1", "kind": f"SelfSubject{kind}", "spec": spec}
        answer = await self._cluster.kube.review(f"{root}/selfsubjectaccessreviews", body)
        return bool(answer.get("status", {}).get("allowed")), "the caller"

    def _account(self) -> tuple[str, str] | None:
        for pod in self._operators:
            return pod["metadata"]["namespace"], pod.get("spec", {}).get("serviceAccountName", "default")
        return None

    def _namespaces(self) -> list[str]:
        """Those that the operator watches; an empty name is all of them."""
        text = self._setting("PENSTOCK_NAMESPACES") or ""
        return [part.strip() for part in text.split(",") if part.strip()] or [""]

    def _setting(self, name: str) -> str | None:
        """Of the operator's own environment, as its pod shows it, or of ours inside that pod."""
        for pod in self._operators:
            for container in pod.get("spec", {}).get("containers") or []:
                for entry in container.get("env") or []:
                    if entry["name"] == name and "value" in entry:
                        return str(entry["value"])
        return self._env.get(name)

    async def _operator(self) -> None:
        if self._page.state is None and not self._found:
            return  # that it may not be looked for is said already
        theirs = None if self._page.state is None else str(self._page.state["version"])
        ready = sum(is_ready(pod) for pod in self._operators)
        self.results.append(checkup.operator(self._operators, ready, theirs=theirs, ours=version("penstock")))

    async def _gateways(self) -> None:
        found = live(await self._cluster.pods(GATEWAY_PODS))
        self.results.append(checkup.gateways(len(found), sum(is_ready(pod) for pod in found)))

    async def _prometheus(self) -> None:
        if (said := (self._page.state or {}).get("metrics_source")) and said["ok"] is False:
            fix = "start Prometheus, or mend prometheus.url of the chart"
            self._say(Level.FAIL, "prometheus", f"the operator gets nothing: {said['detail']}", fix)
        url = self._prometheus_url or self._setting("PENSTOCK_PROMETHEUS_URL")
        if not url:
            self._say(Level.WARN, "prometheus", "its URL is not known here", "give --prometheus-url")
            return
        source = PrometheusSource(url, token_file=self._file("TOKEN"), ca_file=self._file("CA"))
        try:
            answer = await source.instant("vector(1)")
            if isinstance(answer, Unavailable):
                self._unreachable(answer.reason)
                return
            self.results.append(ok("prometheus", f"answers at {url}"))
            await self._metrics(source)
        finally:
            source.close()

    def _unreachable(self, reason: str) -> None:
        said = (self._page.state or {}).get("metrics_source") or {}
        if said.get("ok"):
            text = f"{reason} from here, though the operator reaches it"
            self._say(Level.WARN, "prometheus", text, "run it inside the cluster, or give --prometheus-url")
        else:
            self._say(Level.FAIL, "prometheus", reason, "start it, or give --prometheus-url; see prometheus.url")

    def _file(self, name: str) -> Path | None:
        """Credentials of Prometheus, which only the operator's own pod has."""
        text = self._env.get(f"PENSTOCK_PROMETHEUS_{name}_FILE")
        return Path(text) if text and Path(text).is_file() else None

    async def _metrics(self, source: PrometheusSource) -> None:
        answer = await source.instant(SCRAPE_INTERVAL_QUERY)
        seconds = None if isinstance(answer, Unavailable) or not answer else max(0.1, answer[0].value)
        pods = {_key(service): await self._ready_pods(service) for service in self._services}
        if any(pods.values()):
            self.results.append(checkup.interval(seconds))
        window = WINDOW_INTERVALS * (seconds or 15.0)
        counts = await asyncio.gather(*(source.instant(f"count {_BY} ({name})") for name in NEEDED))
        present = [by_service(one) for one in counts]
        age = by_service(await source.instant(f"time() - max {_BY} (timestamp({NEEDED[-2]}))"))
        fresh = by_service(await source.instant(f"count {_BY} (time() - timestamp({NEEDED[-2]}) < {window:.0f})"))
        for key, ready in pods.items():
            missing = [name for name, one in zip(NEEDED, present, strict=True) if key not in _values(one)]
            found = checkup.Series(ready, tuple(missing), int(_values(fresh).get(key, 0)), _values(age).get(key))
            self.results.append(checkup.series(key, found, window_seconds=window))
        await self._labels(source)

    async def _ready_pods(self, service: Manifest) -> int:
        metadata = service["metadata"]
        selector = naming.selector_string(metadata["name"])
        found = await self._cluster.pods(selector, namespace=metadata["namespace"])
        return sum(is_ready(pod) for pod in live(found))

    async def _labels(self, source: PrometheusSource) -> None:
        answers = await asyncio.gather(*(source.instant(text) for text in (_RENAMED, _UNCLAIMED, _DOUBLED)))
        renamed, unclaimed, doubled = (() if isinstance(one, Unavailable) else one for one in answers)
        self.results += checkup.labels(
            renamed=int(renamed[0].value) if renamed else 0,
            unclaimed=[_said(sample.labels, "inferenceservice") for sample in unclaimed],
            doubled=[_said(sample.labels, "pod") for sample in doubled],
        )

    async def _nodes(self) -> None:
        answer = await self._cluster.kube.read("api/v1/nodes")
        self.results += checkup.accelerators(self._services, list(answer.get("items") or []))


def _key(service: Manifest) -> Key:
    return service["metadata"]["namespace"], service["metadata"]["name"]


def _values(answer: Mapping[Key, float] | Unavailable) -> Mapping[Key, float]:
    return {} if isinstance(answer, Unavailable) else answer


def _said(labels: Mapping[str, str], name: str) -> str:
    return f"{labels.get('namespace', '?')}/{labels.get(name, '?')}"
