"""What the Prometheus Operator reads of the chart, judged by its own CRDs on the real API server."""

import copy
import json
from collections.abc import Callable, Iterator

import pytest
import yaml

import monitoring_crds
from chart import Manifest, Rendered
from waiting import eventually

pytestmark = pytest.mark.cluster

Render = Callable[..., Rendered]
Kubectl = Callable[..., str]
KINDS = {"PodMonitor": "podmonitors", "PrometheusRule": "prometheusrules"}
ASKED = {"podMonitor": {"enabled": True}, "alerts": {"prometheusRule": True}}


@pytest.fixture(scope="module")
def served(kubectl: Kubectl) -> Iterator[None]:
    """The session's cluster serves the kinds of the Prometheus Operator; none of its other tests expects them."""
    try:
        files = monitoring_crds.manifests(*KINDS.values())
    except monitoring_crds.NoGoError as error:
        pytest.skip(str(error))
    names = [f"{kind}.monitoring.coreos.com" for kind in KINDS.values()]
    kubectl("apply", "--server-side", *(f"--filename={path}" for path in files))
    kubectl("wait", "--for=create", "crd", *names)
    eventually(lambda: established(kubectl, names), what="the CRDs are established")
    yield
    kubectl("delete", "crd", *names)


def established(kubectl: Kubectl, names: list[str]) -> bool:
    found = json.loads(kubectl("get", "crd", *names, "--output=json"))["items"]
    conditions = [(one["type"], one["status"]) for item in found for one in item["status"].get("conditions") or ()]
    return conditions.count(("Established", "True")) == len(names)


def apply(kubectl: Kubectl, *manifests: Manifest) -> list[Manifest]:
    """Apply them in `default`, whatever namespace they name; the API server refuses every field that is not in its CRD.

    Returns:
        What it keeps.
    """
    here = copy.deepcopy(manifests)
    for manifest in here:
        manifest["metadata"]["namespace"] = "default"
    options = ("--server-side", "--force-conflicts", "--validate=strict", "--output=json", "--filename=-")
    kept = json.loads(kubectl("apply", *options, stdin=yaml.safe_dump_all(here)))
    return list(kept["items"] if kept["kind"] == "List" else [kept])


@pytest.mark.parametrize("ci", ["minimal", "full", "namespaced"])
@pytest.mark.usefixtures("served")
def test_the_kinds_of_the_prometheus_operator_are_taken(ci: str, render: Render, kubectl: Kubectl) -> None:
    rendered = render({} if ci == "full" else ASKED, ci=ci)
    wanted = [manifest for kind in KINDS for manifest in rendered.kind(kind)]
    components = {"operator", "worker"} | ({"gateway"} if ci != "namespaced" else set())
    assert {one["metadata"]["name"].rpartition("-")[2] for one in rendered.kind("PodMonitor")} == components
    kept = apply(kubectl, *wanted)
    assert [specified(one) for one in kept] == [specified(one) for one in wanted]


def specified(manifest: Manifest) -> Manifest:
    """What it asks for, with the one default of the API server's that concerns it."""
    spec = copy.deepcopy(manifest["spec"])
    for endpoint in spec.get("podMetricsEndpoints", ()):
        for relabeling in endpoint["relabelings"]:
            relabeling.setdefault("action", "replace")
    return dict(spec)


def unknown(monitor: Manifest) -> None:
    monitor["spec"]["podMetricsEndpoints"][0]["relabelConfigs"] = []


def wrong(monitor: Manifest) -> None:
    monitor["spec"]["podMetricsEndpoints"][0]["relabelings"][0]["action"] = "rename"


def unreadable(monitor: Manifest) -> None:
    monitor["spec"]["podMetricsEndpoints"][0]["interval"] = "2 seconds"


@pytest.mark.parametrize(
    ("spoil", "field"),
    [
        (unknown, r'unknown field "\.?spec\.podMetricsEndpoints\[0\]\.relabelConfigs"|relabelConfigs: field not'),
        (wrong, r'relabelings\[0\]\.action: Unsupported value: "rename"'),
        (unreadable, r"podMetricsEndpoints\[0\]\.interval: Invalid value"),
    ],
    ids=["unknown", "wrong", "unreadable"],
)
@pytest.mark.usefixtures("served")
def test_a_monitor_that_it_would_not_read_is_refused(
    spoil: Callable[[Manifest], None], field: str, render: Render, kubectl: Kubectl
) -> None:
    monitor = copy.deepcopy(render(ASKED).one("PodMonitor", "penstock-worker"))
    spoil(monitor)
    with pytest.raises(AssertionError, match=field):
        apply(kubectl, monitor)
