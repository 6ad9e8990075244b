"""One operator process and one small checkpoint for the end-to-end tests; each test has its own namespace."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock_contract.profile import Profile
from penstock_contract.step import StepModel
from penstock_lab.cluster import LocalCluster
from penstock_lab.operator import OperatorProcess
from serving import Api

# Four sequences at 20 ms a step: about 200 generated tokens/s per replica.
PROFILE = Profile(
    name="e2e",
    model=StepModel(c0=0.02, cB=0.0, cKV=0.0, cP=0.0, cPP=0.0),
    kv_tokens=8192,
    max_num_seqs=4,
    max_num_batched_tokens=512,
    accelerators=1,
    startup_seconds=0.1,
    source="made up for the tests",
)


@pytest.fixture(scope="session")
def models(cluster: LocalCluster, tiny: Path) -> Path:
    """The folder that workers see as /models, with a tiny checkpoint and the profile of the emulated device."""
    folder = cluster.models
    shutil.copytree(tiny, folder / "tiny", dirs_exist_ok=True)
    (folder / "profile.json").write_text(json.dumps(PROFILE.to_json()))
    return folder


@pytest.fixture(scope="module")
def operator(
    cluster: LocalCluster, crd: None, models: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OperatorProcess]:
    """The operator, watching all namespaces, one tick a second; gone when other tests use the cluster."""
    log = tmp_path_factory.mktemp("operator") / "operator.log"
    with OperatorProcess(cluster, log=log, tick_seconds=1.0) as process:
        yield process


@pytest.fixture
def api(kubectl: Callable[..., str], kubeconfig: Path, namespace: str, operator: OperatorProcess) -> Api:
    """The namespace of the test, with the operator running."""
    if operator.returncode is not None or not operator.url:
        operator.start()
    return Api(kubectl, namespace, kubeconfig=kubeconfig)


@pytest.fixture
def chat() -> Callable[..., dict[str, Any]]:
    """A manifest; `scaling` replaces that part, other arguments replace parts of the spec."""

    def build(name: str = "chat", **spec: Any) -> dict[str, Any]:
        base: dict[str, Any] = {
            "model": {"source": {"containerPath": "/models/tiny"}},
            "runtime": {
                "image": "penstock/worker:dev",
                "args": ["--emulate-device=/models/profile.json"],
                "accelerator": {"count": 1},
            },
            "scaling": {
                "minReplicas": 1,
                "maxReplicas": 6,
                "targets": {"tokensPerSecond": 150},
                "behavior": {"scaleDown": {"stabilizationWindowSeconds": 10}},
            },
            "drain": {"timeoutSeconds": 20},
        }
        return {
            "apiVersion": "inference.penstock.dev/v1alpha1",
            "kind": "InferenceService",
            "metadata": {"name": name},
            "spec": {key: value for key, value in (base | spec).items() if value is not None},
        }

    return build
