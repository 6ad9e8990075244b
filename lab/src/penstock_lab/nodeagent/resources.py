"""The API resources that the node agent uses."""

from __future__ import annotations

from typing import Final

from penstock_lab.kube import Resource

PODS: Final = Resource("v1", "pods")
NODES: Final = Resource("v1", "nodes")
LEASES: Final = Resource("coordination.k8s.io/v1", "leases")
EVENTS: Final = Resource("v1", "events")
CONFIG_MAPS: Final = Resource("v1", "configmaps")
SECRETS: Final = Resource("v1", "secrets")
SERVICE_ACCOUNTS: Final = Resource("v1", "serviceaccounts")
CLAIMS: Final = Resource("v1", "persistentvolumeclaims")
PERSISTENT_VOLUMES: Final = Resource("v1", "persistentvolumes")
