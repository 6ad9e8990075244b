"""Config maps and secrets as containers and volumes ask for them: read when needed, absent ones named."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Literal

from penstock_lab.kube import KubeError
from penstock_lab.nodeagent.errors import ConfigError
from penstock_lab.nodeagent.resources import CONFIG_MAPS, SECRETS

if TYPE_CHECKING:
    from penstock_lab.kube import Kube

ConfigKind = Literal["configmap", "secret"]


class ConfigSource:
    """Reads config maps and secrets of any namespace."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube

    async def data(self, kind: ConfigKind, name: str, *, namespace: str, optional: bool = False) -> dict[str, bytes]:
        """Return the entries of one object; none if it is optional and absent.

        Raises:
            ConfigError: it is absent, or the server refuses it.
        """
        resource = CONFIG_MAPS if kind == "configmap" else SECRETS
        try:
            found = await self._kube.get(resource, name, namespace=namespace)
        except KubeError as error:
            if error.status == 404 and optional:
                return {}
            missing = f'{kind} "{name}" not found' if error.status == 404 else f'{kind} "{name}": {error}'
            raise ConfigError(missing) from error
        if kind == "secret":
            return {key: base64.b64decode(value) for key, value in (found.get("data") or {}).items()}
        plain = {key: str(value).encode() for key, value in (found.get("data") or {}).items()}
        binary = {key: base64.b64decode(value) for key, value in (found.get("binaryData") or {}).items()}
        return plain | binary

    async def value(self, kind: ConfigKind, reference: dict[str, str | bool], *, namespace: str) -> str | None:
        """Return what a `configMapKeyRef` or `secretKeyRef` names; None if it is optional and absent.

        Raises:
            ConfigError: the object or the key is absent.
        """
        name, key, optional = str(reference["name"]), str(reference["key"]), bool(reference.get("optional"))
        data = await self.data(kind, name, namespace=namespace, optional=optional)
        if key not in data:
            if optional:
                return None
            raise ConfigError(f'couldn\'t find key {key} in {kind} "{namespace}/{name}"')
        return data[key].decode(errors="replace")
