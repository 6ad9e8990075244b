"""Penstock as the chart installs it on the session's cluster, for all examples; each test has its own namespace."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from penstock_lab import install as lab
from penstock_lab.cluster import LocalCluster
from serving import Api

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"


@pytest.fixture(scope="module")
def gateway(cluster: LocalCluster, kubectl: Callable[..., str], crd: None, tiny: Path) -> Iterator[str]:
    """Base URL of the gateway of an installed chart; gone when other tests use the cluster."""
    shutil.copytree(tiny, cluster.models / "tiny", dirs_exist_ok=True)
    shutil.copy(EXAMPLES / "models" / "demo-profile.json", cluster.models)
    gateways = {"replicas": 1, "preStopSleepSeconds": 1, "drainSeconds": 5}
    values = {"operator": {"tickSeconds": 1}, "gateway": gateways, "crds": {"install": False}}
    release = lab.install(cluster, values=values)
    try:
        yield f"http://{release.address('gateway')}:8080"
    finally:
        release.uninstall()
        kubectl("delete", "namespace", release.namespace, "--timeout=120s")


@pytest.fixture
def api(kubectl: Callable[..., str], kubeconfig: Path, namespace: str, gateway: str) -> Iterator[Api]:
    """The namespace of the test, with operator and gateway running."""
    yield Api(kubectl, namespace, kubeconfig=kubeconfig)
    kubectl("delete", "infsvc", "--all", f"--namespace={namespace}", "--timeout=120s")


@pytest.fixture
def apply(kubectl: Callable[..., str], namespace: str) -> Iterator[Callable[[str], None]]:
    """Apply an example by its name; what of it belongs to no namespace goes at the end."""
    applied: list[Path] = []

    def run(name: str) -> None:
        applied.append(EXAMPLES / f"{name}.yaml")
        kubectl("apply", f"--namespace={namespace}", "-f", str(applied[-1]))

    yield run
    for path in applied:
        kubectl("delete", f"--namespace={namespace}", "--ignore-not-found", "-f", str(path))
