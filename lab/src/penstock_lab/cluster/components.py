"""The processes of a cluster: command line, port and readiness of each.

The flags are those of a production control plane where that costs nothing (RBAC, TLS to etcd, aggregation layer, audit)
and throw-away where it does (no fsync, no leader election). Endpoint controllers are off because EndpointSlices refuse
loopback addresses, which is what pods have here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from penstock_lab.cluster.addresses import LOOPBACK
from penstock_lab.cluster.certificates import FRONT_PROXY_NAME

if TYPE_CHECKING:
    from collections.abc import Mapping

    from penstock_lab.cluster.certificates import Certificates
    from penstock_lab.cluster.spec import ClusterSpec, Layout

SERVICE_RANGE: Final = "10.96.0.0/16"
SERVICE_IP: Final = "10.96.0.1"
ISSUER: Final = "https://kubernetes.default.svc.cluster.local"

TOLERATION_SECONDS: Final = 10
"""How long pods stay on a node that is not ready: short, so that a dead node matters within a test."""

AUDIT_POLICY: Final = json.dumps(
    {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [{"level": "Metadata"}],
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One process.

    Attributes:
        name: One of `spec.COMPONENTS`.
        argv: Its command line.
        port: Where it serves HTTP on loopback, None when it serves nothing.
        ready_path: What answers 200 there once it is ready.
        tls: Whether it serves HTTPS.
        ready_seconds: Deadline of readiness.
        stop_seconds: How long it may take to end after SIGTERM before SIGKILL.
        orderly: Whether it should be asked to end (SIGTERM) rather than be killed when its supervisor dies: true
            of what has children of its own.
    """

    name: str
    argv: tuple[str, ...]
    port: int | None = None
    ready_path: str = "/healthz"
    tls: bool = True
    ready_seconds: float = 60.0
    stop_seconds: float = 10.0
    orderly: bool = False


def build(
    spec: ClusterSpec, layout: Layout, *, certificates: Certificates, ports: Mapping[str, int], prefix: str
) -> dict[str, Component]:
    """All components of a cluster by name, in starting order."""
    made = {
        "etcd": _etcd(spec, layout, certificates, ports),
        "kube-apiserver": _apiserver(spec, layout, certificates, ports),
        "kube-controller-manager": _controller_manager(spec, layout, certificates, ports),
        "kube-scheduler": _scheduler(spec, layout, certificates, ports),
        "node-agent": _node_agent(spec, layout, prefix),
        "prometheus": _prometheus(spec, layout, ports),
    }
    return {name: made[name] for name in spec.components()}


def _etcd(spec: ClusterSpec, layout: Layout, certificates: Certificates, ports: Mapping[str, int]) -> Component:
    # TLS with client certificates even here: whoever writes to etcd is the administrator, and the node agent would
    # run processes for them as this user.
    url = f"https://{LOOPBACK}:{ports['etcd']}"
    argv = [
        spec.binaries.get("etcd", ""),
        f"--data-dir={layout.data('etcd')}",
        f"--listen-client-urls={url}",
        f"--advertise-client-urls={url}",
        f"--listen-peer-urls=https://{LOOPBACK}:0",
        "--unsafe-no-fsync",
        "--log-level=warn",
        "--client-cert-auth",
        f"--trusted-ca-file={certificates.authority}",
        f"--cert-file={certificates.file('server.crt')}",
        f"--key-file={certificates.file('server.key')}",
        "--peer-client-cert-auth",
        f"--peer-trusted-ca-file={certificates.authority}",
        f"--peer-cert-file={certificates.file('server.crt')}",
        f"--peer-key-file={certificates.file('server.key')}",
    ]
    return Component(name="etcd", argv=tuple(argv), port=ports["etcd"], ready_path="/health")


def _apiserver(spec: ClusterSpec, layout: Layout, certificates: Certificates, ports: Mapping[str, int]) -> Component:
    argv = [
        spec.binaries.get("kube-apiserver", ""),
        f"--etcd-servers=https://{LOOPBACK}:{ports['etcd']}",
        f"--etcd-cafile={certificates.authority}",
        f"--etcd-certfile={certificates.file('etcd-client.crt')}",
        f"--etcd-keyfile={certificates.file('etcd-client.key')}",
        f"--bind-address={LOOPBACK}",
        f"--advertise-address={LOOPBACK}",
        f"--secure-port={ports['kube-apiserver']}",
        f"--tls-cert-file={certificates.file('server.crt')}",
        f"--tls-private-key-file={certificates.file('server.key')}",
        "--endpoint-reconciler-type=none",
        f"--service-cluster-ip-range={SERVICE_RANGE}",
        "--authorization-mode=RBAC",
        f"--service-account-issuer={ISSUER}",
        f"--service-account-key-file={certificates.file('service-account.pub')}",
        f"--service-account-signing-key-file={certificates.file('service-account.key')}",
        f"--token-auth-file={layout.root / 'tokens.csv'}",
        f"--default-not-ready-toleration-seconds={TOLERATION_SECONDS}",
        f"--default-unreachable-toleration-seconds={TOLERATION_SECONDS}",
        "--profiling=false",
        *_aggregation(certificates),
    ]
    if spec.audit:
        argv += [
            f"--audit-policy-file={layout.root / 'audit-policy.json'}",
            f"--audit-log-path={layout.audit_log}",
        ]
    return Component(name="kube-apiserver", argv=tuple(argv), port=ports["kube-apiserver"], ready_path="/readyz")


def _aggregation(certificates: Certificates) -> list[str]:
    """What an extension API server (a metrics adapter) needs to trust requests passed on to it."""
    return [
        f"--client-ca-file={certificates.authority}",
        f"--requestheader-client-ca-file={certificates.file('front-proxy-ca.crt')}",
        f"--requestheader-allowed-names={FRONT_PROXY_NAME}",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={certificates.file('front-proxy-client.crt')}",
        f"--proxy-client-key-file={certificates.file('front-proxy-client.key')}",
    ]


def _serving(certificates: Certificates, port: int) -> list[str]:
    return [
        f"--bind-address={LOOPBACK}",
        f"--secure-port={port}",
        f"--tls-cert-file={certificates.file('server.crt')}",
        f"--tls-private-key-file={certificates.file('server.key')}",
    ]


def _controller_manager(
    spec: ClusterSpec, layout: Layout, certificates: Certificates, ports: Mapping[str, int]
) -> Component:
    name = "kube-controller-manager"
    argv = [
        spec.binaries.get(name, ""),
        f"--kubeconfig={layout.credentials('system:' + name)}",
        "--leader-elect=false",
        *_serving(certificates, ports[name]),
        "--use-service-account-credentials",
        f"--service-account-private-key-file={certificates.file('service-account.key')}",
        f"--root-ca-file={certificates.authority}",
        "--controllers=*,-endpoints-controller,-endpointslice-controller,-endpointslice-mirroring-controller",
        "--node-monitor-grace-period=20s",
        "--kube-api-qps=100",  # the default makes ~6 ReplicaSets a second
        "--kube-api-burst=200",
        "--profiling=false",
    ]
    return Component(name=name, argv=tuple(argv), port=ports[name])


def _scheduler(spec: ClusterSpec, layout: Layout, certificates: Certificates, ports: Mapping[str, int]) -> Component:
    name = "kube-scheduler"
    argv = [
        spec.binaries.get(name, ""),
        f"--kubeconfig={layout.credentials('system:' + name)}",
        "--leader-elect=false",
        *_serving(certificates, ports[name]),
        "--profiling=false",
    ]
    return Component(name=name, argv=tuple(argv), port=ports[name])


def _node_agent(spec: ClusterSpec, layout: Layout, prefix: str) -> Component:
    argv = [
        *(spec.python, "-P", "-m", "penstock_lab.nodeagent"),
        *("--kubeconfig", str(layout.credentials("penstock-node-agent"))),
        *("--nodes", str(spec.nodes)),
        *("--gpus-per-node", str(spec.gpus_per_node)),
        *("--address-prefix", prefix),
        *("--state-dir", str(layout.node_agent)),
        *("--images", str(layout.root / "images.yaml")),
        *("--cluster-id", spec.cluster_id),
    ]
    return Component(name="node-agent", argv=tuple(argv), stop_seconds=15.0, orderly=True)


def _prometheus(spec: ClusterSpec, layout: Layout, ports: Mapping[str, int]) -> Component:
    argv = [
        spec.binaries.get("prometheus", ""),
        f"--config.file={layout.root / 'prometheus.yml'}",
        f"--storage.tsdb.path={layout.data('prometheus')}",
        f"--web.listen-address={LOOPBACK}:{ports.get('prometheus', 0)}",
        "--storage.tsdb.retention.time=1d",
        "--scrape.discovery-reload-interval=100ms",  # 5 s otherwise: longer than a worker takes to start
        "--log.level=warn",
    ]
    port = ports.get("prometheus")
    return Component(name="prometheus", argv=tuple(argv), port=port, ready_path="/-/ready", tls=False)
