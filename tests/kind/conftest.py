"""One kind cluster for the session, with Penstock, a Prometheus and a visitor on it.

These tests are not part of a plain run: `-m kind` asks for them. Where no container engine can run they are skipped,
and say why. `PENSTOCK_KIND_KEEP=1` leaves the cluster up, and takes the one that is there.
"""

import io
import json
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # `scripts` is a folder of the checkout, not installed

from scripts.kind import catalog, engine, images, lifecycle
from scripts.kind.cluster import Cluster
from scripts.kind.errors import CannotRunError
from scripts.kind.settings import Settings

import kind_monitoring
import monitoring_crds
from kind_record import Record
from kind_world import MONITORING, SYSTEM, TEAM, World, apply, objects, visit
from pages import ROOT
from penstock_lab.cluster.catalog import HELM
from serving import Api

VALUES: dict[str, Any] = {
    "prometheus": {"url": f"http://prometheus.{MONITORING}:9090"},
    "operator": {"tickSeconds": 2},
    "scrape": {"intervalSeconds": 2},
    # Both gateways and all else must fit on one of two small nodes while the other is drained.
    "gateway": {"resources": {"requests": {"cpu": "50m", "memory": "128Mi"}}},
}
# The version that is upgraded from: the first that served on a kubelet.
PREVIOUS = "56920e26dca80700b01ee5d82ddfe3d410a6d2fc"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave them out unless the marker was asked for by name."""
    if "kind" in config.option.markexpr:
        return
    out = [item for item in items if item.get_closest_marker("kind")]
    items[:] = [item for item in items if item not in out]
    config.hook.pytest_deselected(items=out)


@pytest.fixture(scope="session")
def record(request: pytest.FixtureRequest) -> Iterator[Record]:
    made = Record(versions={"Kubernetes": "", "kind": catalog.KIND, "Helm": HELM})
    yield made
    if made.phases:
        keep = bool(os.environ.get("PENSTOCK_KIND_KEEP"))
        made.write(page=made.whole and request.session.testsfailed == 0 and not keep)


@pytest.fixture(scope="session")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Path | None:
    """A checkout of the version before; None where the repository does not reach back so far."""
    command = ["git", "-C", str(ROOT), "archive", PREVIOUS]
    packed = subprocess.run(command, capture_output=True, check=False)
    if packed.returncode:
        return None
    folder = tmp_path_factory.mktemp("previous")
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as files:
        files.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="session")
def programs(record: Record) -> dict[str, Path]:
    """Binaries of the Prometheus Operator by the name of their image; none where they cannot be built or run."""
    if not engine.docker_answers(engine.Engine()) and engine.obstacle():
        return {}
    found = kind_monitoring.programs(lambda line: print(f"kind: {line}", flush=True))
    if found:
        record.versions["Prometheus Operator"] = monitoring_crds.VERSION
    return found


@pytest.fixture(scope="session")
def kind(record: Record, previous: Path | None, programs: dict[str, Path]) -> Iterator[Cluster]:
    settings = Settings.from_environment({"PENSTOCK_KIND_CLUSTER": "penstock-tests", **os.environ})
    keep = bool(os.environ.get("PENSTOCK_KIND_KEEP"))
    build = lifecycle.Build(lambda line: print(f"kind: {line}", flush=True))
    try:
        if not keep:
            lifecycle.down(settings)
        cluster = lifecycle.up(settings, build, images.More(previous, programs))
    except CannotRunError as error:
        pytest.skip(f"no kind cluster on this machine: {error}")
    except BaseException:  # Ctrl-C too must not leave an engine behind
        if not keep:
            lifecycle.down(settings)
        raise
    record.steps, record.origin = build.seconds, build.origin
    server = json.loads(cluster.kubectl("version", "--output=json"))["serverVersion"]["gitVersion"]
    record.versions["Kubernetes"] = server.removeprefix("v")  # that of an official node image is kind's choice
    yield cluster
    if not keep:
        began = time.monotonic()
        lifecycle.down(settings)
        record.down_seconds = time.monotonic() - began


@pytest.fixture(scope="session")
def world(kind: Cluster, record: Record, previous: Path | None, programs: dict[str, Path]) -> World:
    """The version before, installed as docs/install.md says, and nothing served yet; this one if there is none."""
    tag = {"image": {"tag": images.PREVIOUS if previous else images.version()}}
    values = VALUES | {part: VALUES[part] | tag for part in ("operator", "gateway")}
    for namespace in (SYSTEM, TEAM, MONITORING):
        metadata = {"name": namespace, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}
        apply(kind, {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    kind.kubectl("apply", "-f", str(ROOT / "scripts" / "kind" / "prometheus.yaml"))
    if programs:
        kind_monitoring.install(kind)
    before = objects(kind)
    with record.phase("`helm upgrade --install`, to the last pod ready") as phase:
        chart = (previous or ROOT) / "charts" / "penstock"
        install = ("upgrade", "--install", "penstock", str(chart), f"--namespace={SYSTEM}")
        kind.helm(*install, "--values=-", stdin=yaml.safe_dump(values))
        for name in ("penstock-operator", "penstock-gateway"):
            kind.kubectl("rollout", "status", f"--namespace={SYSTEM}", f"deployment/{name}", "--timeout=180s")
        phase.seen = f"operator and two gateways{', of the version before' if previous else ''}"
    with record.phase("Prometheus, with the chart's scrape configuration") as phase:
        found = json.loads(kind.kubectl("get", "configmap", "penstock-scrape-configs", f"-n={SYSTEM}", "-o=json"))
        metadata = {"name": "penstock-scrape-configs", "namespace": MONITORING}
        apply(kind, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": found["data"]})
        kind.kubectl("rollout", "status", f"--namespace={MONITORING}", "deployment/prometheus", "--timeout=180s")
        phase.seen = "one pod"
    visit(kind, f"penstock/gateway:{images.version()}")
    return World(kind, Api(kind.kubectl, TEAM), record, before, old=previous is not None, operated=bool(programs))
