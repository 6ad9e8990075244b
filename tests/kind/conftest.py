"""One kind cluster for the session, with Penstock, a Prometheus and a visitor on it.

These tests are not part of a plain run: `-m kind` asks for them. Where no container engine can run they are skipped,
and say why. `PENSTOCK_KIND_KEEP=1` leaves the cluster up, and takes the one that is there.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # `scripts` is a folder of the checkout, not installed

from scripts.kind import catalog, images, lifecycle
from scripts.kind.cluster import Cluster
from scripts.kind.errors import CannotRunError
from scripts.kind.settings import Settings

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
def kind(record: Record) -> Iterator[Cluster]:
    settings = Settings.from_environment({"PENSTOCK_KIND_CLUSTER": "penstock-tests", **os.environ})
    keep = bool(os.environ.get("PENSTOCK_KIND_KEEP"))
    build = lifecycle.Build(lambda line: print(f"kind: {line}", flush=True))
    try:
        if not keep:
            lifecycle.down(settings)
        cluster = lifecycle.up(settings, build)
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
def world(kind: Cluster, record: Record) -> World:
    """Penstock installed as docs/install.md says, and nothing served yet."""
    for namespace in (SYSTEM, TEAM, MONITORING):
        metadata = {"name": namespace, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}
        apply(kind, {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    kind.kubectl("apply", "-f", str(ROOT / "scripts" / "kind" / "prometheus.yaml"))
    before = objects(kind)
    with record.phase("`helm upgrade --install`, to the last pod ready") as phase:
        install = ("upgrade", "--install", "penstock", str(ROOT / "charts" / "penstock"), f"--namespace={SYSTEM}")
        kind.helm(*install, "--values=-", stdin=yaml.safe_dump(VALUES))
        for name in ("penstock-operator", "penstock-gateway"):
            kind.kubectl("rollout", "status", f"--namespace={SYSTEM}", f"deployment/{name}", "--timeout=180s")
        phase.seen = "operator and two gateways"
    with record.phase("Prometheus, with the chart's scrape configuration") as phase:
        found = json.loads(kind.kubectl("get", "configmap", "penstock-scrape-configs", f"-n={SYSTEM}", "-o=json"))
        metadata = {"name": "penstock-scrape-configs", "namespace": MONITORING}
        apply(kind, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": found["data"]})
        kind.kubectl("rollout", "status", f"--namespace={MONITORING}", "deployment/prometheus", "--timeout=180s")
        phase.seen = "one pod"
    visit(kind, f"penstock/gateway:{images.version()}")
    return World(kind, Api(kind.kubectl, TEAM), record, before)
