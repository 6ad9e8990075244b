"""What a cluster is asked to be, and where its files lie."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import secrets
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

COMPONENTS: Final = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "node-agent",
    "prometheus",
)
"""In the order in which they start; they stop in the reverse of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSpec:
    """One cluster, complete: the supervisor needs nothing else.

    Attributes:
        name: Chosen by the user; names the state folder by default.
        cluster_id: Unique to this run, see `new_id`.
        state_dir: Absolute.
        nodes: How many Nodes the node agent registers.
        gpus_per_node: `nvidia.com/gpu` of each Node.
        prometheus: Whether to run Prometheus.
        node_agent: Whether to run the node agent; without it there are no Nodes.
        audit: Whether the API server writes an audit log.
        scrape_interval_seconds: Of Prometheus.
        images: Image glob to `{argv, env, paths}`, see `images`.
        binaries: Path of each binary.
        keep_logs: Whether `logs/` outlives the cluster.
        python: Interpreter that runs the node agent.
    """

    name: str
    cluster_id: str
    state_dir: str
    nodes: int
    gpus_per_node: int
    prometheus: bool
    node_agent: bool
    audit: bool
    scrape_interval_seconds: float
    images: dict[str, dict[str, Any]]
    binaries: dict[str, str]
    keep_logs: bool
    python: str = field(default=sys.executable)

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, line: str) -> ClusterSpec:
        """The inverse of `to_json`."""
        return cls(**json.loads(line))

    def shape(self) -> dict[str, Any]:
        """What two clusters must have in common for one to stand in for the other."""
        chosen = ("nodes", "gpus_per_node", "prometheus", "node_agent", "audit", "scrape_interval_seconds", "images")
        return {name: getattr(self, name) for name in chosen}

    def components(self) -> list[str]:
        """The components of this cluster in starting order."""
        absent = {
            name for name, wanted in (("prometheus", self.prometheus), ("node-agent", self.node_agent)) if not wanted
        }
        return [name for name in COMPONENTS if name not in absent]


def id_prefix(state_dir: Path) -> str:
    """What the ids of all clusters that ever ran in this folder start with."""
    return f"{hashlib.sha256(str(state_dir).encode()).hexdigest()[:12]}-"


def new_id(state_dir: Path) -> str:
    """An id for one run of a cluster in this folder."""
    return id_prefix(state_dir) + secrets.token_hex(4)


@dataclass(frozen=True, slots=True)
class Layout:
    """The files of one cluster below its state folder."""

    root: Path

    @property
    def kubeconfig(self) -> Path:
        """The administrator's."""
        return self.root / "kubeconfig"

    @property
    def lock(self) -> Path:
        """Held by the supervisor while it lives."""
        return self.root / "lock"

    @property
    def socket(self) -> Path:
        """Where the supervisor listens."""
        return self.root / "supervisor.sock"

    @property
    def state(self) -> Path:
        """What runs: ids, pids with start times, ports."""
        return self.root / "cluster.json"

    @property
    def logs(self) -> Path:
        """One file per component."""
        return self.root / "logs"

    @property
    def audit_log(self) -> Path:
        """The API server's, JSON lines."""
        return self.logs / "audit.log"

    @property
    def node_agent(self) -> Path:
        """The node agent's own folder; `logs/` in it holds the containers' output."""
        return self.root / "node-agent"

    @property
    def models(self) -> Path:
        """What containers see as `/models` by default."""
        return self.root / "models"

    def log(self, component: str) -> Path:
        """The log of one component."""
        return self.logs / f"{component}.log"

    def data(self, component: str) -> Path:
        """The data folder of one component."""
        return self.root / "data" / component

    def credentials(self, user: str) -> Path:
        """The kubeconfig of one component."""
        return self.root / "credentials" / f"{user}.kubeconfig"
