"""An operator whose Prometheus answers, then does not, and then does again: what it says, and what it does not do.

One operator, namespace and service for each manner of a wrong answer, all at the same time: most of it is waiting.
"""

import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from alerting import Alerts, alerting
from oddprometheus import OddPrometheus, odd_prometheus
from penstock_lab.cluster import LocalCluster
from penstock_lab.operator import OperatorProcess
from serving import Api
from waiting import always, eventually

# What the condition says, after the address: what is wrong, and what to look at.
SAID = {
    "page": ("answered with a page, not with data", "prometheus.url of the chart"),
    "unauthorized": ("refused the query: HTTP 401 (Unauthorized)", "prometheus.tokenSecretRef"),
    "nothing": ("answered with nothing", "prometheus.url of the chart"),
    "silence": ("did not answer within 5 s", "see its load"),
}
ALERTS = {"PenstockPrometheusUnusable", "PenstockSignalsUnknown"}
pytestmark = pytest.mark.timeout(900)  # four operators at once, through an outage and back
WINDOW_SECONDS = 1
HELD_SECONDS = 5.0


@dataclass
class Lane:
    """One manner, and what was seen of it.

    Attributes:
        said: message of the condition then.
        told: (type, reason, message) of the events of the condition from then on, oldest first.
        asked: workers that the operator asked itself, and that answered.
    """

    manner: str
    api: Api
    source: OddPrometheus
    operator: OperatorProcess
    said: str = ""
    told: tuple[tuple[str, str, str], ...] = ()
    asked: float = 0.0

    def replicas(self) -> int:
        return int(self.api.get("deployment", "chat")["spec"]["replicas"])

    def least(self, count: int) -> None:
        self.api.patch("infsvc", "chat", {"spec": {"scaling": {"minReplicas": count}}})

    def live(self, alerts: Alerts) -> None:
        """From two replicas that nobody needs to one, which waits until Prometheus is believed."""
        self.api.wait("chat", "ScalingActive", "True", "SignalsFresh")
        eventually(lambda: len(self.api.ready_pods("chat")) == 2, what="two replicas")
        self.source.manner = self.manner
        self.least(1)
        self.said = self.api.wait("chat", "ScalingActive", "False", "MetricsUnavailable")["message"]
        always(lambda: self.replicas() == 2, what=f"holds two replicas: {self.manner}", seconds=HELD_SECONDS, every=0.5)
        eventually(lambda: self.alerts(alerts) == ALERTS, what="alerts fire")
        self.asked = self.scrapes()
        self.source.manner = ""
        self.api.wait("chat", "ScalingActive", "True", "SignalsFresh")
        eventually(lambda: self.replicas() == 1, what="shrinks once Prometheus is back", seconds=180.0)
        eventually(lambda: not self.alerts(alerts), what="no alert fires any more")
        self.told = self.events()

    def alerts(self, alerts: Alerts) -> set[str]:
        """Those about the metrics of this lane: a busy machine raises others."""
        return {
            name for name, about in alerts.firing() if name in ALERTS and about in (self.manner, self.api.namespace)
        }

    def scrapes(self) -> float:
        name = 'penstock_operator_pod_scrapes_total{result="answered"} '
        lines = [line for line in self.operator.metrics().splitlines() if line.startswith(name)]
        return float(lines[0].rsplit(" ", 1)[1]) if lines else 0.0

    def events(self) -> tuple[tuple[str, str, str], ...]:
        found = [item for item in self.api.items("events") if item["reason"] in ("MetricsUnavailable", "SignalsFresh")]
        found.sort(key=lambda item: item["metadata"]["creationTimestamp"])
        told = [(item["type"], item["reason"], item["message"]) for item in found]
        return tuple(told[[reason for _, reason, _ in told].index("MetricsUnavailable") :])


@pytest.fixture(scope="module")
def lanes(
    cluster: LocalCluster,
    crd: None,
    models: Path,
    kubectl: Callable[..., str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, Lane]]:
    """All of them, lived through."""
    folder = tmp_path_factory.mktemp("sources")
    with ExitStack() as stack, ThreadPoolExecutor(len(SAID)) as pool:

        def begin(manner: str) -> Lane:
            source = stack.enter_context(odd_prometheus(cluster.prometheus_url))
            api = Api(kubectl, stack.enter_context(namespace_of(kubectl, manner)), kubeconfig=cluster.kubeconfig)
            variables = {"PENSTOCK_PROMETHEUS_URL": source.url, "PENSTOCK_NAMESPACES": api.namespace}
            log = folder / f"{manner}.log"
            operator = OperatorProcess(cluster, log=log, tick_seconds=2.0, environment=variables)
            stack.enter_context(operator)
            api.apply(service())
            return Lane(manner, api, source, operator)

        begun = list(pool.map(begin, SAID))
        targets = {lane.manner: urlsplit(lane.operator.url).netloc for lane in begun}
        alerts = stack.enter_context(alerting(cluster, targets, folder))
        list(pool.map(lambda lane: lane.live(alerts), begun))
        yield {lane.manner: lane for lane in begun}


@contextmanager
def namespace_of(kubectl: Callable[..., str], manner: str) -> Iterator[str]:
    name = f"test-{manner}-{secrets.token_hex(3)}"
    kubectl("create", "namespace", name)
    kubectl("wait", f"--namespace={name}", "--for=create", "serviceaccount/default", "--timeout=120s")
    yield name
    kubectl("delete", "deployments,pods", "--all", f"--namespace={name}", "--wait=false")  # they hold no GPU
    kubectl("delete", "namespace", name, "--wait=false")


def service() -> dict[str, Any]:
    behavior = {"scaleDown": {"stabilizationWindowSeconds": WINDOW_SECONDS}}
    return {
        "apiVersion": "inference.penstock.dev/v1alpha1",
        "kind": "InferenceService",
        "metadata": {"name": "chat"},
        "spec": {
            "model": {"source": {"containerPath": "/models/tiny"}},
            "runtime": {
                "image": "penstock/worker:dev",
                "args": ["--emulate-device=/models/profile.json"],
                "accelerator": {"count": 0},
            },
            "scaling": {
                "minReplicas": 2,
                "maxReplicas": 4,
                "targets": {"tokensPerSecond": 150},
                "behavior": behavior,
            },
        },
    }


@pytest.mark.parametrize("manner", SAID)
def test_a_prometheus_that_answers_wrongly_or_late(lanes: dict[str, Lane], manner: str) -> None:
    """That nothing was removed meanwhile, that alerts fired, and that all went on afterwards, is seen on the way."""
    lane = lanes[manner]
    for text in (f"Prometheus at {lane.source.url} ", *SAID[manner]):
        assert text in lane.said
    (kind, reason, message), *_, last = lane.told
    assert (kind, reason, last[:2]) == ("Warning", "MetricsUnavailable", ("Normal", "SignalsFresh"))
    assert f"Prometheus at {lane.source.url} " in message
    assert all(one[1] != other[1] for one, other in pairwise(lane.told)), "one per transition"
    assert lane.asked > 0, "it held although the workers themselves said that they are idle"
