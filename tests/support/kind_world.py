"""What the kind tests work with: the cluster, what is installed and served on it, and a pod to look at it from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from kind_load import PYTHON, load
from kind_record import Record
from pages import ROOT
from serving import Api

if TYPE_CHECKING:
    from scripts.kind.cluster import Cluster

TEAM, SYSTEM, MONITORING = "team-a", "penstock-system", "monitoring"
VISITOR = "visitor"
GATEWAY = f"http://penstock-gateway.{SYSTEM}/{TEAM}/chat"
# Events go by themselves; an IPAddress belongs to a Service, of whatever namespace.
PASSING = ("events", "events.events.k8s.io", "ipaddresses.networking.k8s.io")
UNPRIVILEGED = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}


@dataclass(frozen=True)
class World:
    """The cluster, what is served on it, and the record of the run.

    Attributes:
        kind: the cluster.
        api: of the services.
        record: of the run.
        before: names of what there was before the installation.
        old: whether the version before was installed first.
        operated: whether the Prometheus Operator is there.
        gone: names of the pods of the release that an upgrade has replaced.
    """

    kind: Cluster
    api: Api
    record: Record
    before: frozenset[str]
    old: bool
    operated: bool
    gone: set[str] = field(default_factory=set)

    def load(self, rate: float, **options: Any) -> Any:
        return load(self.kind.begin, GATEWAY, rate=rate, namespace=TEAM, pod=VISITOR, **options)

    def python(self, code: str, *arguments: str) -> str:
        """What a program in the visitor's pod prints."""
        command = ("exec", "--stdin", f"--namespace={TEAM}", VISITOR, "--", PYTHON, "-", *arguments)
        return self.kind.kubectl(*command, stdin=code)


def apply(kind: Cluster, *manifests: dict[str, Any]) -> None:
    kind.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(manifests))


def visit(kind: Cluster, image: str) -> None:
    """A pod with Python and the client, on the node that is not drained.

    Args:
        kind: the cluster.
        image: of the gateway, which has all that the client imports.
    """
    sources = {"client.py": ROOT / "tests/kind/client.py", "traffic.py": ROOT / "benchmarks/faults/traffic.py"}
    container = {
        "name": "python",
        "image": image,
        "command": [PYTHON, "-c", "import signal; signal.pause()"],
        "securityContext": UNPRIVILEGED,
        "volumeMounts": [{"name": "client", "mountPath": "/client"}],
    }
    spec = {
        "terminationGracePeriodSeconds": 0,
        "automountServiceAccountToken": False,
        "nodeName": kind.nodes()[0],
        "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [{"name": "client", "configMap": {"name": "client"}}],
    }
    apply(
        kind,
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "client", "namespace": TEAM},
            "data": {name: path.read_text() for name, path in sources.items()},
        },
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": VISITOR, "namespace": TEAM}, "spec": spec},
    )
    kind.kubectl("wait", f"--namespace={TEAM}", "--for=condition=Ready", f"pod/{VISITOR}", "--timeout=120s")


def objects(kind: Cluster) -> frozenset[str]:
    """Names of all objects of the cluster itself and of the namespace that Penstock is installed in."""
    found: set[str] = set()
    for namespaced in ("true", "false"):
        listed = kind.kubectl("api-resources", "--verbs=list", f"--namespaced={namespaced}", "--output=name").split()
        kinds = [name for name in listed if name not in PASSING]
        found.update(kind.kubectl("get", ",".join(kinds), f"--namespace={SYSTEM}", "--output=name").split())
    return frozenset(found)
