from collections.abc import Callable
from typing import Any

import pytest

from penstock_operator.api import InferenceService


@pytest.fixture
def resource() -> Callable[..., dict[str, Any]]:
    def build(**spec: Any) -> dict[str, Any]:
        base: dict[str, Any] = {
            "model": {"name": "tiny", "maxModelLen": 2048, "source": {"containerPath": "/models/tiny"}},
            "runtime": {"engine": "Penstock", "image": "penstock/worker:dev"},
            "scaling": {"minReplicas": 1, "maxReplicas": 6},
        }
        return {
            "apiVersion": "inference.penstock.dev/v1alpha1",
            "kind": "InferenceService",
            "metadata": {"name": "chat", "namespace": "team-a", "uid": "u-1", "generation": 1},
            "spec": {key: value for key, value in (base | spec).items() if value is not None},
        }

    return build


@pytest.fixture
def service(resource: Callable[..., dict[str, Any]]) -> Callable[..., InferenceService]:
    return lambda **spec: InferenceService.parse(resource(**spec))
