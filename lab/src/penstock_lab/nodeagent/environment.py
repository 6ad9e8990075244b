"""The environment of a container: what Kubernetes says about env and envFrom, plus the marks that the agent adds.

Later entries win: the machine's few (`PATH`, locale), the image's, KUBECONFIG for a mounted service account, `envFrom`,
`env`, and last what no pod may change: the address to bind and the marks by which strays are found.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from penstock_contract.names import BIND_ADDRESS_ENV
from penstock_lab.nodeagent import downward

if TYPE_CHECKING:
    from collections.abc import Mapping

    from penstock_lab.nodeagent.configs import ConfigKind, ConfigSource
    from penstock_lab.nodeagent.paths import PathMap
    from penstock_lab.nodeagent.sandbox import Sandbox

CLUSTER_MARK: Final = "PENSTOCK_CLUSTER"
POD_MARK: Final = "PENSTOCK_POD_UID"
CONTAINER_MARK: Final = "PENSTOCK_CONTAINER_ID"
TERMINATION_LOG: Final = "PENSTOCK_TERMINATION_LOG"

_REFERENCE: Final = re.compile(r"\$(\$|\(([^()]*)\))")


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Expand `$(NAME)`; an unknown name stays as it is and `$$` is a literal dollar sign.

    Source: third_party/forked/golang/expansion in kubernetes/kubernetes.
    """

    def replace(match: re.Match[str]) -> str:
        return "$" if match[1] == "$" else variables.get(match[2], match[0])

    return _REFERENCE.sub(replace, text)


async def declared(container: dict[str, Any], *, sandbox: Sandbox, configs: ConfigSource) -> dict[str, str]:
    """Return the variables that the pod declares for a container.

    Raises:
        ConfigError: something they refer to is not there.
    """
    variables: dict[str, str] = {}
    for source in container.get("envFrom", ()):
        kind: ConfigKind = "configmap" if "configMapRef" in source else "secret"
        reference = source.get("configMapRef") or source["secretRef"]
        optional = bool(reference.get("optional"))
        data = await configs.data(kind, reference["name"], namespace=sandbox.namespace, optional=optional)
        prefix = source.get("prefix", "")
        variables |= {f"{prefix}{key}": value.decode(errors="replace") for key, value in data.items()}
    for entry in container.get("env", ()):
        if "valueFrom" in entry:
            value = await _referred(entry["valueFrom"], container["name"], sandbox=sandbox, configs=configs)
        else:
            value = expand(entry.get("value", ""), variables)
        if value is not None:
            variables[entry["name"]] = value
    return variables


def assemble(
    *,
    machine: Mapping[str, str],
    image: Mapping[str, str],
    variables: Mapping[str, str],
    fixed: Mapping[str, str],
    kubeconfig: str | None,
    sandbox: Sandbox,
    paths: PathMap,
) -> dict[str, str]:
    """Return the whole environment; what image and pod say is rewritten to real paths, what the machine says is real.

    Args:
        machine: What every process on this machine gets.
        image: The image's own variables.
        variables: What the pod declares.
        fixed: What the pod may not change.
        kubeconfig: File with the credentials of the mounted service account.
        sandbox: The pod.
        paths: Where the container's folders really are.
    """
    environment = {**machine, "HOSTNAME": sandbox.name} | _rewritten(image, paths)
    if kubeconfig is not None:
        environment["KUBECONFIG"] = kubeconfig
    environment |= _rewritten(variables, paths)
    return environment | {BIND_ADDRESS_ENV: sandbox.address, POD_MARK: sandbox.uid, **fixed}


def _rewritten(variables: Mapping[str, str], paths: PathMap) -> dict[str, str]:
    return {name: paths.rewrite(value) for name, value in variables.items()}


async def _referred(source: dict[str, Any], container: str, *, sandbox: Sandbox, configs: ConfigSource) -> str | None:
    if "fieldRef" in source:
        return downward.field(source["fieldRef"]["fieldPath"], sandbox)
    if "resourceFieldRef" in source:
        return downward.resource(source["resourceFieldRef"], container=container, sandbox=sandbox)
    if "configMapKeyRef" in source:
        return await configs.value("configmap", source["configMapKeyRef"], namespace=sandbox.namespace)
    return await configs.value("secret", source["secretKeyRef"], namespace=sandbox.namespace)
