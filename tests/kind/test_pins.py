"""What can be told of the kind cluster without one: these run in every run."""

import json
import os
import re
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from scripts.kind import catalog, engine, images, lifecycle, node
from scripts.kind.cluster import Cluster
from scripts.kind.engine import Engine
from scripts.kind.errors import CannotRunError
from scripts.kind.settings import Settings

import kind_monitoring
import monitoring_crds
from pages import ROOT
from penstock_lab.cluster.catalog import KUBERNETES, PROMETHEUS, Tool

TOOLS = [(catalog.MODULES, tool) for tool in (catalog.CLIENT, *catalog.NODE)]
TOOLS += [(kind_monitoring.MODULES, tool) for tool in kind_monitoring.TOOLS]


@pytest.mark.parametrize(("modules", "tool"), TOOLS, ids=lambda one: getattr(one, "name", ""))
def test_the_module_pins_the_version_that_is_said(modules: Path, tool: Tool) -> None:
    text = (modules / tool.module / "go.mod").read_text()
    assert tool.package in text, "not a tool of its module: its sums are not pinned"
    pinned = {found[1]: found[2] for found in re.finditer(r"^(?:require )?\s*(\S+) (v\S+)", text, re.MULTILINE)}
    path = max((path for path in pinned if tool.package.startswith(path)), key=len)
    assert pinned[path] == tool.module_version


def test_a_change_of_the_recipe_makes_another_node_image(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = node.name()
    assert before.startswith(f"penstock/node:v{KUBERNETES}-")
    (tmp_path / "kind").mkdir()
    (tmp_path / "kind" / "go.sum").write_text("other")
    monkeypatch.setattr(node, "MODULES", tmp_path)
    assert node.name() != before


def test_the_prometheus_of_the_manifest_is_the_one_that_is_made() -> None:
    manifests = list(yaml.safe_load_all((ROOT / "scripts/kind/prometheus.yaml").read_text()))
    (container,) = manifests[-1]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == images.PROMETHEUS_IMAGE
    assert images.PROMETHEUS_IMAGE.endswith(PROMETHEUS)


def test_the_prometheus_operator_is_the_one_that_is_made() -> None:
    made = {f"quay.io/prometheus-operator/{tool.name}:v{tool.version}" for tool in kind_monitoring.TOOLS}
    (container,) = kind_monitoring.manifest("Deployment")["spec"]["template"]["spec"]["containers"]
    assert {container["image"], *(one.partition("=")[2] for one in container["args"])} == made
    wanted = kind_monitoring.manifest("Prometheus")["spec"]
    assert (wanted["image"], wanted["version"]) == (images.PROMETHEUS_IMAGE, f"v{PROMETHEUS}")
    sums = (kind_monitoring.MODULES / "prometheus-operator" / "go.sum").read_text()
    assert f"{monitoring_crds.MODULE} v{monitoring_crds.VERSION} {monitoring_crds.SUM}\n" in sums


def test_both_nodes_take_pods_and_every_request_is_kept(tmp_path: Path) -> None:
    first, second = Cluster("any", Engine(), tmp_path, {})._config()["nodes"]
    init, server = (yaml.safe_load(patch) for patch in first["kubeadmConfigPatches"])
    assert (init["nodeRegistration"], second) == ({"taints": []}, {"role": "worker"})
    arguments = {one["name"]: one["value"] for one in server["apiServer"]["extraArgs"]}
    inside = {mount["containerPath"]: Path(mount["hostPath"]) for mount in first["extraMounts"]}
    log = Path(arguments["audit-log-path"])
    assert inside[str(log.parent)] / log.name == Cluster("any", Engine(), tmp_path, {}).audit_log
    assert arguments["audit-policy-file"] in inside


def test_an_engine_of_another_name_is_refused() -> None:
    settings = Settings.from_environment({"PENSTOCK_KIND_ENGINE": "podman"})
    with pytest.raises(CannotRunError, match="PENSTOCK_KIND_ENGINE is docker or private, not 'podman'"):
        engine.ordinary(settings)


def test_official_images_have_no_torch_and_ask_for_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    docker = tmp_path / "docker"  # one that answers everything, and keeps what it was asked
    docker.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n')
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    settings = Settings.from_environment({"PENSTOCK_KIND_ENGINE": "docker", "XDG_CACHE_HOME": str(tmp_path)})
    with pytest.raises(CannotRunError, match="set PENSTOCK_KIND_TORCH_INDEX to"):
        lifecycle.up(settings, lifecycle.Build())
    assert "pull --quiet python:" in (tmp_path / "asked").read_text()
    assert lifecycle._registry_answers(Engine(), replace(settings, base="registry.example/base"))
    assert (tmp_path / "asked").read_text().endswith("pull --quiet registry.example/base\n")


def test_what_is_no_command_says_how_it_is_used() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "scripts.kind", "sideways"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "up|down|run COMMAND" in done.stderr


RUNTIME = """#!/bin/sh
cat "$5/config.json" > "$TOLD"
"""


def test_a_container_asks_for_no_more_than_this_machine_can_give(tmp_path: Path) -> None:
    runc, told, bundle = tmp_path / "runc", tmp_path / "told", tmp_path / "bundle"
    runc.write_text(RUNTIME)
    runc.chmod(0o755)
    bundle.mkdir()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    process = {
        "capabilities": {"bounding": ["CAP_SYS_ADMIN", "CAP_SYS_RESOURCE"]},
        "oomScoreAdj": -999,
        "rlimits": [{"type": "RLIMIT_NOFILE", "hard": hard + 1, "soft": 1}, {"type": "RLIMIT_CORE", "hard": 0}],
    }
    (bundle / "config.json").write_text(json.dumps({"ociVersion": "1.0.2", "process": process}))
    subprocess.run(
        [str(ROOT / "scripts/kind/bounded-runc"), "--log", "x", "create", "--bundle", str(bundle), "name"],
        env={**os.environ, "PENSTOCK_RUNC": str(runc), "TOLD": str(told)},
        check=True,
    )
    asked = json.loads(told.read_text())
    assert asked["ociVersion"] == "1.0.2"
    assert asked["process"] == {
        "capabilities": {"bounding": ["CAP_SYS_ADMIN"]},
        "rlimits": [{"type": "RLIMIT_CORE", "hard": 0}],
    }
