from collections.abc import Callable
from typing import Any

import pytest

from penstock_contract import names
from penstock_operator.core.desired import Owner

Manifest = dict[str, Any]


@pytest.fixture
def resource() -> Callable[..., Manifest]:
    def build(name: str = "chat", *, uid: str = "u-1", version: int = 1, generation: int = 1, **spec: Any) -> Manifest:
        base: Manifest = {
            "model": {"source": {"containerPath": "/models/tiny"}},
            "runtime": {"engine": "Penstock", "image": "penstock/worker:dev"},
            "scaling": {"minReplicas": 1, "maxReplicas": 6, "targets": {"tokensPerSecond": 100}},
        }
        return {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "metadata": {
                "name": name,
                "namespace": "team-a",
                "uid": uid,
                "creationTimestamp": "2026-01-01T00:00:00Z",
                "resourceVersion": str(version),
                "generation": generation,
            },
            "spec": {key: value for key, value in (base | spec).items() if value is not None},
        }

    return build


@pytest.fixture
def deployment() -> Callable[..., Manifest]:
    def build(name: str = "chat", *, owner: str = "u-1", replicas: Any = 2, **metadata: Any) -> Manifest:
        reference = Owner("team-a", name, owner).reference()
        return {
            "kind": "Deployment",
            "metadata": {"name": name, "namespace": "team-a", "uid": f"d-{name}", "ownerReferences": [reference]}
            | metadata,
            "spec": {"replicas": replicas},
            "status": {"replicas": 2, "updatedReplicas": 2, "readyReplicas": 2},
        }

    return build
