"""The files of a config map, secret, downward API or projected volume, by path in the volume."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from penstock_lab.nodeagent import downward
from penstock_lab.nodeagent.errors import ConfigError, MountError

if TYPE_CHECKING:
    from penstock_lab.nodeagent.configs import ConfigSource
    from penstock_lab.nodeagent.sandbox import Sandbox
    from penstock_lab.nodeagent.tokens import Tokens

Files = dict[str, bytes]

# The root certificate that the controller-manager publishes in each namespace, if it was told one.
_ROOT_CERTIFICATE = "kube-root-ca.crt"


class PayloadReader:
    """Reads the content of volumes of one pod."""

    def __init__(
        self, *, sandbox: Sandbox, configs: ConfigSource, tokens: Tokens, root_certificate: str | None
    ) -> None:
        self._sandbox = sandbox
        self._configs = configs
        self._tokens = tokens
        self._root = root_certificate

    async def read(self, source: dict[str, Any]) -> Files | None:
        """Return the files of a volume or projection; None if it is not of a kind made of files.

        Raises:
            ConfigError: an object or key is absent.
            KubeError: the server refuses a token.
        """
        if "configMap" in source:
            return await self._config_map(source["configMap"])
        if "secret" in source:
            secret = source["secret"]
            name, optional = secret.get("secretName") or secret["name"], bool(secret.get("optional"))
            data = await self._configs.data("secret", name, namespace=self._sandbox.namespace, optional=optional)
            return _select(data, secret, f"secret {name}")
        if "downwardAPI" in source:
            return {item["path"]: self._downward(item).encode() for item in source["downwardAPI"].get("items", ())}
        if "serviceAccountToken" in source:
            projection = source["serviceAccountToken"]
            token = await self._tokens.token(projection, now=datetime.now(UTC))
            return {projection["path"]: token.encode()}
        if "projected" in source:
            files: Files = {}
            for part in source["projected"].get("sources", ()):
                content = await self.read(part)
                if content is None:
                    raise MountError(f"projection of {', '.join(part)} is not supported by the node agent")
                files |= content
            return files
        return None

    async def _config_map(self, source: dict[str, Any]) -> Files:
        name, optional = source["name"], bool(source.get("optional"))
        own = name == _ROOT_CERTIFICATE and self._root is not None
        data = await self._configs.data("configmap", name, namespace=self._sandbox.namespace, optional=optional or own)
        if own and self._root is not None:
            data = data or {"ca.crt": self._root.encode()}
        return _select(data, source, f"configmap {name}")

    def _downward(self, item: dict[str, Any]) -> str:
        if "fieldRef" in item:
            return downward.field(item["fieldRef"]["fieldPath"], self._sandbox)
        return downward.resource(item["resourceFieldRef"], container="", sandbox=self._sandbox)


def _select(data: Files, source: dict[str, Any], what: str) -> Files:
    """Keep the keys that `items` lists, under the paths it gives; all keys without `items`."""
    items = source.get("items")
    if not items:
        return data
    missing = [item["key"] for item in items if item["key"] not in data]
    if missing and not source.get("optional"):
        raise ConfigError(f"{what} references non-existent key: {missing[0]}")
    return {item["path"]: data[item["key"]] for item in items if item["key"] in data}
