"""The NetworkPolicies, judged by the API's own rules: no network of the tests' clusters enforces them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from chart import Manifest, Rendered
from penstock_contract import names
from penstock_operator.core import naming

Render = Callable[..., Rendered]
NAMESPACE = "kubernetes.io/metadata.name"
MONITORING = {NAMESPACE: "monitoring"}
VALUES: dict[str, Any] = {
    "networkPolicy": {
        "enabled": True,
        "prometheusFrom": [{"namespaceSelector": {"matchLabels": MONITORING}}],
        "workerNamespaces": ["team-a"],
    }
}
PORTS = {"http": names.HTTP_PORT, "admin": names.ADMIN_PORT}


@dataclass(frozen=True)
class Pod:
    """A pod: where it is, its labels, its ports by name."""

    namespace: str
    labels: dict[str, str]
    ports: dict[str, int] = field(default_factory=dict)


def admitted(policies: list[Manifest], source: Pod, target: Pod, port: str) -> bool:
    """Whether traffic may pass: a pod that no policy selects takes all, another what any rule admits."""
    chosen = [
        policy["spec"]
        for policy in policies
        if policy["metadata"]["namespace"] == target.namespace and selects(policy["spec"]["podSelector"], target.labels)
    ]
    return not chosen or any(
        admits(rule, source, port=port, here=target.namespace) for spec in chosen for rule in spec.get("ingress", ())
    )


def admits(rule: Manifest, source: Pod, *, port: str, here: str) -> bool:
    peers = rule.get("from")
    return port in [item["port"] for item in rule["ports"]] and (
        peers is None or any(is_peer(peer, source, here=here) for peer in peers)
    )


def is_peer(peer: Manifest, source: Pod, *, here: str) -> bool:
    if "ipBlock" in peer:
        return False
    place = peer.get("namespaceSelector")
    near = source.namespace == here if place is None else selects(place, {NAMESPACE: source.namespace})
    return near and selects(peer.get("podSelector", {}), source.labels)


def selects(selector: Manifest, labels: dict[str, str]) -> bool:
    for expression in selector.get("matchExpressions", ()):
        assert expression["operator"] == "Exists"
        if expression["key"] not in labels:
            return False
    return selector.get("matchLabels", {}).items() <= labels.items()


def world(rendered: Rendered) -> dict[str, Pod]:
    """The pods that talk to each other, with the labels and ports that the chart and the operator give them."""
    found = {}
    for item in rendered.kind("Deployment"):
        template = item["spec"]["template"]
        (container,) = template["spec"]["containers"]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        found[container["name"]] = Pod(item["metadata"]["namespace"], template["metadata"]["labels"], ports)
    (doctor,) = rendered.kind("Pod")
    return found | {
        "doctor": Pod(doctor["metadata"]["namespace"], doctor["metadata"]["labels"]),
        "worker": Pod("team-a", naming.labels("chat"), PORTS),
        "worker elsewhere": Pod("team-b", naming.labels("chat"), PORTS),
        "prometheus": Pod("monitoring", {"app": "prometheus"}),
        "client": Pod("web", {"app": "shop"}),
        "impostor": Pod("web", found["gateway"].labels),
    }


ALLOWED = {
    ("prometheus", "operator", "http"), ("prometheus", "gateway", "admin"), ("prometheus", "worker", "http"),
    ("operator", "gateway", "admin"), ("operator", "worker", "http"),
    ("gateway", "worker", "http"), ("doctor", "operator", "http"),
    *((name, "gateway", "http") for name in ("prometheus", "operator", "gateway", "worker", "worker elsewhere",
                                             "doctor", "client", "impostor")),
}  # fmt: skip


def passing(render: Render, values: dict[str, Any], ci: str = "minimal") -> set[tuple[str, str, str]]:
    rendered = render(values, ci=ci)
    pods, policies = world(rendered), rendered.kind("NetworkPolicy")
    return {
        (source, target, port)
        for source in pods
        for target in ("operator", "gateway", "worker")
        for port in pods[target].ports
        if admitted(policies, pods[source], pods[target], port)
    }


def test_nobody_comes_in_but_those_who_have_business_there(render: Render) -> None:
    assert passing(render, VALUES) == ALLOWED


def test_what_is_scraped_is_admitted_to_prometheus(render: Render) -> None:
    """Ports as the PodMonitors name them."""
    rendered = render(VALUES | {"podMonitor": {"enabled": True}})
    for monitor in rendered.kind("PodMonitor"):
        component = monitor["metadata"]["name"].removeprefix("penstock-")
        for endpoint in monitor["spec"]["podMetricsEndpoints"]:
            assert ("prometheus", component, endpoint["port"]) in ALLOWED


def test_clients_can_be_named(render: Render) -> None:
    shop = {"namespaceSelector": {"matchLabels": {NAMESPACE: "web"}}, "podSelector": {"matchLabels": {"app": "shop"}}}
    named = {
        "networkPolicy": VALUES["networkPolicy"]
        | {"gatewayFrom": [shop], "workersFrom": [shop], "operatorFrom": [shop]}
    }
    found = passing(render, named)
    assert {source for source, target, port in found if (target, port) == ("gateway", "http")} == {"client"}
    assert {("client", "worker", "http"), ("client", "operator", "http")} <= found
    assert ("client", "worker", "admin") not in found


@pytest.mark.parametrize("served", [{"workerNamespaces": []}, {"workerNamespaces": ["team-b"]}])
def test_workers_are_fenced_in_where_it_is_said(render: Render, served: dict[str, Any]) -> None:
    values = {"watchNamespaces": ["team-b"], "networkPolicy": VALUES["networkPolicy"] | served}
    rendered = render(values)
    places = [item["metadata"]["namespace"] for item in rendered.kind("NetworkPolicy")]
    assert places.count("team-b") == 1
    assert "team-a" not in places


def test_there_is_no_fence_unless_it_is_asked_for(render: Render) -> None:
    assert render().kind("NetworkPolicy") == []
