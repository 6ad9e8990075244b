"""The API server as the end-to-end tests use it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import urllib3
import yaml

from penstock_contract import names
from penstock_lab.kubeconfig import Connection
from waiting import eventually

Chat = Callable[..., dict[str, Any]]
# Where the kinds that tests read are served.
PATHS = {
    "infsvc": (f"apis/{names.API_VERSION}", "inferenceservices"),
    "deployment": ("apis/apps/v1", "deployments"),
    "pdb": ("apis/policy/v1", "poddisruptionbudgets"),
    "pods": ("api/v1", "pods"),
    "service": ("api/v1", "services"),
    "events": ("api/v1", "events"),
}


class Reader:
    """Reads objects over connections that it keeps: who waits asks often, and a kubectl is a process each time."""

    def __init__(self, kubeconfig: Path) -> None:
        connection = Connection.from_kubeconfig(kubeconfig)
        self._server = connection.server
        headers = {"Authorization": f"Bearer {connection.token}"}
        self._pool = urllib3.PoolManager(ssl_context=connection.tls, headers=headers, timeout=30.0)

    def get(self, kind: str, name: str, *, namespace: str, selector: str = "") -> Any:
        group, plural = PATHS[kind]
        path = f"{self._server}/{group}/namespaces/{namespace}/{plural}" + (f"/{name}" if name else "")
        try:
            answer = self._pool.request("GET", path, fields={"labelSelector": selector} if selector else None)
        except urllib3.exceptions.HTTPError as error:
            raise OSError(f"{path}: {error}") from error  # as of a server that is not there: `eventually` asks again
        assert answer.status == 200, f"{path}: {answer.data.decode(errors='replace')}"
        return answer.json()


class Api:
    """The API server in one namespace: changed through kubectl, as people do; read without it, given a kubeconfig."""

    def __init__(self, run: Callable[..., str], namespace: str, *, kubeconfig: Path | None = None) -> None:
        self.run = run
        self.namespace = namespace
        self._reader = None if kubeconfig is None else Reader(kubeconfig)

    def apply(self, manifest: dict[str, Any]) -> None:
        self.run("apply", "-n", self.namespace, "-f", "-", stdin=yaml.safe_dump(manifest))

    def get(self, kind: str, name: str = "") -> Any:
        return self._read(kind, name)

    def items(self, kind: str) -> list[Any]:
        return list(self.get(kind)["items"])

    def patch(self, kind: str, name: str, body: dict[str, Any]) -> None:
        self.run("patch", kind, name, "-n", self.namespace, "--type=merge", f"--patch={json.dumps(body)}")

    def condition(self, name: str, kind: str) -> dict[str, Any]:
        conditions = self.get("infsvc", name).get("status", {}).get("conditions", [])
        return next((item for item in conditions if item["type"] == kind), {})

    def wait(self, name: str, kind: str, status: str, reason: str | None = None, *, seconds: float = 120.0) -> Any:
        def met() -> Any:
            found = self.condition(name, kind)
            return found if found.get("status") == status and reason in (None, found.get("reason")) else None

        return eventually(met, what=f"{name}: {kind}={status} {reason or ''}", seconds=seconds)

    def pods(self, service: str) -> list[Any]:
        found = self._read("pods", selector=f"{names.SERVICE}={service}")["items"]
        return [pod for pod in found if not pod["metadata"].get("deletionTimestamp")]

    def ready_pods(self, service: str) -> list[Any]:
        def ready(pod: Any) -> bool:
            return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", []))

        return [pod for pod in self.pods(service) if ready(pod)]

    def _read(self, kind: str, name: str = "", *, selector: str = "") -> Any:
        if self._reader is not None:
            return self._reader.get(kind, name, namespace=self.namespace, selector=selector)
        which = (name,) if name else ()
        chosen = (f"--selector={selector}",) if selector else ()
        return json.loads(self.run("get", kind, *which, "-n", self.namespace, *chosen, "-o", "json"))
