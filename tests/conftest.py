"""What all tests may ask for: one real cluster for the whole session, started when the first test wants it."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from hypothesis import HealthCheck, settings

from penstock_lab.cluster import LocalCluster, processes
from waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

# Machines differ: an example that takes long to make or to run is no failure.
settings.register_profile("penstock", deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("penstock")

NODES = 2
GPUS_PER_NODE = 4
TESTS = Path(__file__).parent
CORE = TESTS / "operator" / "core"
# The files that take longest, the longest first: files run side by side, and a long one that is begun last runs alone.
LONGEST = (
    "e2e/test_lifecycle.py",  # one chain
    "e2e/test_scaling.py",
    "e2e/test_sources.py",
    "e2e/test_views.py",
    "examples/test_examples.py",  # the other
    "lab/cluster/test_lifecycle.py",
    "docs/test_commands.py",  # with clusters of their own
    "chart/test_install.py",
    "faults/test_faults.py",
    "lab/nodeagent/test_lifecycle.py",
    "lab/simulate/test_faults.py",  # without
    "lab/simulate/test_study.py",
    "worker/test_server.py",
    "worker/test_process.py",
    "worker/test_scheduler.py",
    "lab/load/test_worker.py",
    "lab/load/test_cli.py",
)


class Kubectl(Protocol):
    """Runs kubectl against the session's cluster and returns what it printed."""

    def __call__(self, *arguments: str, stdin: str | None = None) -> str: ...


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs the cluster, so that `-m "not cluster"` leaves it out; bring the longest files to the front.

    The core has to be covered by its own tests. Watching every line of the others would double what they take.
    """
    rank = {TESTS / name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path, len(rank)))
    for item in items:
        if "cluster" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.cluster)
        if CORE not in item.path.parents and item.config.pluginmanager.hasplugin("_cov"):
            item.add_marker(pytest.mark.no_cover)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Where files go to processes, those that use the session's cluster share few of them."""
    if config.getvalue("dist") != "loadfile":
        return None
    from chains import Chains  # pytest may run without xdist

    return Chains(config, log)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """The control plane with 2 Nodes of 4 GPUs and Prometheus; its logs stay in pytest's temporary folder.

    Beside Penstock's images it knows `test/python:*`, whose arguments are those of the Python interpreter.
    """
    folder = tmp_path_factory.mktemp("cluster")
    models = folder / "models"
    models.mkdir()
    with LocalCluster(
        f"tests-{os.getpid()}",
        nodes=NODES,
        gpus_per_node=GPUS_PER_NODE,
        models=models,
        more_images={"test/python:*": {"argv": ["{python}"]}},
        state_dir=folder / "state",
    ) as running:
        cluster_id = running.status()["cluster_id"]
        yield running
    assert processes.find(cluster_id) == [], "the session's cluster left processes behind"


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small checkpoint with 512 tokens, to be copied: made once a run, whichever of its processes is first."""
    run = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        run = run.parent
    folder = run / "tiny"
    with (run / "tiny.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "config.json").exists():
            made = run / "tiny-being-made"
            command = [sys.executable, "-m", "penstock_operator.cli", "model", "make-tiny", str(made), "--vocab=512"]
            subprocess.run(command, check=True, capture_output=True)
            made.rename(folder)
    return folder


@pytest.fixture(scope="session")
def kubeconfig(cluster: LocalCluster) -> Path:
    """The administrator's kubeconfig of the session's cluster."""
    return cluster.kubeconfig


@pytest.fixture(scope="session")
def kubectl(cluster: LocalCluster) -> Kubectl:
    """kubectl as the administrator of the session's cluster; a failure shows what it said."""
    binary = cluster.bin("kubectl")

    def run(*arguments: str, stdin: str | None = None) -> str:
        done = subprocess.run(
            [binary, f"--kubeconfig={cluster.kubeconfig}", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    return run


@pytest.fixture(scope="session")
def crd(kubectl: Kubectl) -> None:
    """The session's cluster serves InferenceServices.

    `kubectl wait` would fail on a CRD that the API server has not looked at: it has no conditions to wait for.
    """
    kubectl("apply", "--server-side", "--force-conflicts", "-f", str(TESTS.parent / "crds"))

    def served() -> bool:
        found = json.loads(kubectl("get", "crd", "-o", "json"))["items"]
        conditions = [
            {one["type"]: one["status"] for one in item.get("status", {}).get("conditions") or ()} for item in found
        ]
        return bool(conditions) and all(one.get("Established") == "True" for one in conditions)

    eventually(served, what="the CRD is established")


@pytest.fixture
def namespace(kubectl: Kubectl) -> Iterator[str]:
    """A new namespace that pods may be created in; afterwards it goes, and its pods are gone with their GPUs."""
    name = f"test-{secrets.token_hex(4)}"
    kubectl("create", "namespace", name)
    kubectl("wait", f"--namespace={name}", "--for=create", "serviceaccount/default", "--timeout=120s")
    yield name
    # Nothing new comes into a namespace that is going. It goes some seconds later (its controller waits five), and pods
    # would drain meanwhile: no test waits for that, and the next one needs their GPUs.
    kubectl("delete", "namespace", name, "--wait=false")
    kubectl("delete", "pods", "--all", f"--namespace={name}", "--grace-period=0", "--force", "--timeout=180s")
