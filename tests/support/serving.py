"""The API server as the end-to-end tests use it."""

import json
from collections.abc import Callable
from typing import Any

import yaml

from waiting import eventually

Chat = Callable[..., dict[str, Any]]


class Api:
    """The API server through kubectl, in one namespace."""

    def __init__(self, run: Callable[..., str], namespace: str) -> None:
        self.run = run
        self.namespace = namespace

    def apply(self, manifest: dict[str, Any]) -> None:
        self.run("apply", "-n", self.namespace, "-f", "-", stdin=yaml.safe_dump(manifest))

    def get(self, kind: str, name: str = "") -> Any:
        names = (name,) if name else ()
        return json.loads(self.run("get", kind, *names, "-n", self.namespace, "-o", "json"))

    def items(self, kind: str) -> list[Any]:
        return list(self.get(kind)["items"])

    def patch(self, kind: str, name: str, body: dict[str, Any]) -> None:
        self.run("patch", kind, name, "-n", self.namespace, "--type=merge", f"--patch={json.dumps(body)}")

    def condition(self, name: str, kind: str) -> dict[str, Any]:
        conditions = self.get("infsvc", name).get("status", {}).get("conditions", [])
        return next((item for item in conditions if item["type"] == kind), {})

    def wait(self, name: str, kind: str, status: str, reason: str | None = None, *, seconds: float = 60.0) -> Any:
        def met() -> Any:
            found = self.condition(name, kind)
            return found if found.get("status") == status and reason in (None, found.get("reason")) else None

        return eventually(met, what=f"{name}: {kind}={status} {reason or ''}", seconds=seconds)

    def pods(self, service: str) -> list[Any]:
        label = f"-l=inference.penstock.dev/service={service}"
        found = json.loads(self.run("get", "pods", "-n", self.namespace, label, "-o", "json"))["items"]
        return [pod for pod in found if not pod["metadata"].get("deletionTimestamp")]

    def ready_pods(self, service: str) -> list[Any]:
        def ready(pod: Any) -> bool:
            return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", []))

        return [pod for pod in self.pods(service) if ready(pod)]
