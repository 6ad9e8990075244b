"""What the containers of one pod share: the pod object, its address, its node and its folder.

`pod` is replaced by every update from the API server, so that labels and annotations are read as they are now; the
rest is fixed while the pod lives.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """One registered node: capacities are Kubernetes quantities by resource name."""

    name: str
    address: str
    capacity: dict[str, str]


@dataclass(slots=True)
class Sandbox:
    """One pod on this machine; `folder` holds its volumes and working folders, `logs` its containers' logs."""

    pod: dict[str, Any]
    node: NodeInfo
    address: str
    folder: Path
    logs: Path

    @property
    def name(self) -> str:
        """The pod's name."""
        return str(self.pod["metadata"]["name"])

    @property
    def namespace(self) -> str:
        """The pod's namespace."""
        return str(self.pod["metadata"]["namespace"])

    @property
    def uid(self) -> str:
        """The pod's uid."""
        return str(self.pod["metadata"]["uid"])

    @property
    def spec(self) -> dict[str, Any]:
        """The pod's spec."""
        spec: dict[str, Any] = self.pod["spec"]
        return spec

    def log_file(self, container: str) -> Path:
        """Return where a container logs to, over all its restarts."""
        return self.logs / f"{self.namespace}_{self.name}_{container}.log"
