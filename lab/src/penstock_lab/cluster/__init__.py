"""A real Kubernetes control plane on a bare machine, as processes: no root, no containers, gone without a trace."""

from penstock_lab.cluster.errors import ClusterError
from penstock_lab.cluster.local import LocalCluster

__all__ = ["ClusterError", "LocalCluster"]
