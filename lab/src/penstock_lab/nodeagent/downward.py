"""The downward API: fields of a pod and resources of a container as text."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from penstock_lab.nodeagent.errors import ConfigError
from penstock_lab.nodeagent.quantity import parse_quantity

if TYPE_CHECKING:
    from penstock_lab.nodeagent.sandbox import Sandbox

_KEYED = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")


def field(path: str, sandbox: Sandbox) -> str:  # noqa: PLR0911 - a table of fields
    """Return what a `fieldRef` names.

    Raises:
        ConfigError: the field is not offered.
    """
    metadata = sandbox.pod["metadata"]
    if keyed := _KEYED.fullmatch(path):
        return str(metadata.get(keyed[1], {}).get(keyed[2], ""))
    match path:
        case "metadata.name" | "metadata.namespace" | "metadata.uid":
            return str(metadata[path.removeprefix("metadata.")])
        case "metadata.labels" | "metadata.annotations":
            entries = metadata.get(path.removeprefix("metadata."), {})
            return "\n".join(f'{key}="{value}"' for key, value in sorted(entries.items()))
        case "spec.nodeName":
            return sandbox.node.name
        case "spec.serviceAccountName":
            return str(sandbox.spec.get("serviceAccountName", "default"))
        case "status.podIP" | "status.podIPs":
            return sandbox.address
        case "status.hostIP" | "status.hostIPs":
            return sandbox.node.address
    raise ConfigError(f"unsupported fieldPath: {path}")


def resource(reference: dict[str, Any], *, container: str, sandbox: Sandbox) -> str:
    """Return what a `resourceFieldRef` names, in whole divisors, rounded up; a missing limit is the node's capacity.

    Raises:
        ConfigError: there is no such container or resource.
    """
    wanted = reference.get("containerName", container)
    containers = [*sandbox.spec["containers"], *sandbox.spec.get("initContainers", ())]
    spec = next((entry for entry in containers if entry["name"] == wanted), None)
    kind, _, name = reference["resource"].partition(".")
    if spec is None or kind not in {"limits", "requests"}:
        raise ConfigError(f"unsupported resourceFieldRef: {reference['resource']} of container {wanted}")
    resources = spec.get("resources", {})
    amount = resources.get(kind, {}).get(name)
    if amount is None:
        amount = sandbox.node.capacity.get(name, "0") if kind == "limits" else "0"
    divisor = parse_quantity(reference.get("divisor") or "1") or Decimal(1)
    return str(math.ceil(parse_quantity(amount) / divisor))
