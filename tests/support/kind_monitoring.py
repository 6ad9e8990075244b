"""The real Prometheus Operator on a kind cluster: its CRDs, itself, and a Prometheus that it runs.

Its images are made of binaries that Go builds from the pinned module; their names are those of its project's own.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import yaml

import monitoring_crds
from pages import ROOT
from penstock_lab.cluster.binaries import Resolver
from penstock_lab.cluster.catalog import Tool
from penstock_lab.cluster.errors import BinaryNotFoundError
from penstock_lab.cluster.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from scripts.kind.cluster import Cluster

MODULES = ROOT / "tests" / "kind" / "tools"
MANIFEST = ROOT / "tests" / "kind" / "prometheus-operator.yaml"
URL = "http://prometheus-operated.monitoring:9090"
KINDS = ("prometheuses", "podmonitors", "servicemonitors", "probes", "prometheusrules")
_REGISTRY = "quay.io/prometheus-operator"


def _tool(name: str, folder: str) -> Tool:
    return Tool(
        name=name,
        version=monitoring_crds.VERSION,
        module="prometheus-operator",
        module_version=f"v{monitoring_crds.VERSION}",
        package=f"{monitoring_crds.MODULE}/cmd/{folder}",
        build_seconds=150,
    )


TOOLS = (_tool("prometheus-operator", "operator"), _tool("prometheus-config-reloader", "prometheus-config-reloader"))


def programs(report: Callable[[str], None]) -> dict[str, Path]:
    """Binaries by the name of the image that they go into; none where they cannot be built."""
    resolver = Resolver(Settings.from_environment(), report=report, modules=MODULES)
    try:
        return {f"{_REGISTRY}/{tool.name}:v{tool.version}": resolver.resolve(tool).path for tool in TOOLS}
    except BinaryNotFoundError as error:
        report(str(error))
        return {}


def install(kind: Cluster) -> None:
    """Its CRDs, itself and a Prometheus, in the namespace of the other one, whose rights it has."""
    for path in monitoring_crds.manifests(*KINDS):
        kind.kubectl("apply", "--server-side", "-f", str(path))
    names = [f"{one}.monitoring.coreos.com" for one in KINDS]
    kind.kubectl("wait", "--for=condition=Established", "--timeout=60s", *(f"crd/{name}" for name in names))
    kind.kubectl("apply", "-f", str(MANIFEST))


def manifest(name: str) -> dict[str, Any]:
    """The object of a kind in the manifest."""
    (found,) = [one for one in yaml.safe_load_all(MANIFEST.read_text()) if one["kind"] == name]
    return dict(found)


class Asked:
    """The API of that Prometheus, asked from a pod.

    Args:
        python: runs a program in the pod and returns what it printed.
    """

    _PROGRAM = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=10).read().decode())"

    def __init__(self, python: Callable[..., str]) -> None:
        self._python = python

    def __call__(self, path: str) -> dict[str, Any]:
        answer = json.loads(self._python(self._PROGRAM, f"{URL}/api/v1/{path}"))
        assert answer["status"] == "success", answer
        return dict(answer["data"])
