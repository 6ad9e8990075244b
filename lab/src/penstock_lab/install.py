"""Penstock installed from its Helm chart on a local cluster, by the real helm, as anybody would install it.

Operator and gateway then run as pods of the node agent, each with the token of its own ServiceAccount and the rights
that the chart grants it, in a namespace that enforces `restricted` pod security. Nothing here knows what the chart
holds: rollouts are found by label.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from penstock_lab.cluster.local import LocalCluster
from penstock_lab.kubectl import KubectlError, kubectl, kubectl_json

CHART = Path(__file__).resolve().parents[3] / "charts" / "penstock"
NAMESPACE = "penstock-system"
RELEASE = "penstock"
RESTRICTED = {
    "pod-security.kubernetes.io/enforce": "restricted",
    "pod-security.kubernetes.io/enforce-version": "latest",
}
_LOG_LINES = 5


class InstallError(Exception):
    """The chart could not be installed or what it installs did not start; the message says what was seen."""


@dataclass(frozen=True, slots=True)
class Release:
    """An installed release.

    Attributes:
        cluster: where.
        namespace: of the release.
        name: of the release.
    """

    cluster: LocalCluster
    namespace: str = NAMESPACE
    name: str = RELEASE

    @property
    def selector(self) -> str:
        """Label selector of its pods; its other objects carry the same labels."""
        return f"app.kubernetes.io/part-of=penstock,app.kubernetes.io/instance={self.name}"

    def pods(self, component: str = "") -> list[dict[str, Any]]:
        """Its pods that are not on their way out, or those of one component (`operator`, `gateway`)."""
        selector = self.selector + (f",app.kubernetes.io/name=penstock-{component}" if component else "")
        found = kubectl_json(self.cluster, "get", "pods", "-n", self.namespace, "-l", selector)["items"]
        return [pod for pod in found if not pod["metadata"].get("deletionTimestamp")]

    def address(self, component: str) -> str:
        """IP address of the first pod of a component.

        Raises:
            InstallError: there is none.
        """
        for pod in self.pods(component):
            if address := pod["status"].get("podIP"):
                return str(address)
        raise InstallError(f"release {self.name} in {self.namespace} has no pod of the {component}")

    def wait(self, *, seconds: float = 90.0) -> None:
        """Wait until every Deployment of the release is rolled out.

        Raises:
            InstallError: one is not in time; the message tells of its pods and their last words.
        """
        names = kubectl_json(self.cluster, "get", "deployments", "-n", self.namespace, "-l", self.selector)["items"]
        for name in [f"deployment/{item['metadata']['name']}" for item in names]:
            try:
                kubectl(self.cluster, "rollout", "status", "-n", self.namespace, name, f"--timeout={seconds:.0f}s")
            except KubectlError as error:
                raise InstallError("\n".join([str(error), *self._troubles()])) from error

    def uninstall(self) -> None:
        """Uninstall it and wait until its objects are gone; the CRD stays if the chart was told to keep it.

        Raises:
            InstallError: helm refused.
        """
        helm(self.cluster, "uninstall", self.name, "--namespace", self.namespace, "--wait", "--cascade=foreground")

    def _troubles(self) -> list[str]:
        lines = []
        for pod in self.pods():
            name = pod["metadata"]["name"]
            lines += [
                f"{name}: {item['reason']}: {item.get('message', '')}"
                for status in pod["status"].get("containerStatuses", ())
                for state in ("state", "lastState")
                for item in status.get(state, {}).values()
                if item.get("reason")
            ]
            for log in sorted(self.cluster.pod_logs.glob(f"{self.namespace}_{name}_*.log")):
                lines += [f"  {line}" for line in log.read_text(errors="replace").splitlines()[-_LOG_LINES:]]
        return lines


def install(
    cluster: LocalCluster,
    *,
    values: Mapping[str, Any] | None = None,
    namespace: str = NAMESPACE,
    release: str = RELEASE,
    chart: Path = CHART,
    wait_seconds: float = 90.0,
) -> Release:
    """`helm upgrade --install` the chart and wait until what it runs is ready.

    Args:
        cluster: where to; its Prometheus is the chart's `prometheus.url` unless `values` name another.
        values: of the chart, over its defaults.
        namespace: is created, with restricted pod security.
        release: name of the release.
        chart: folder of the chart.
        wait_seconds: deadline of each rollout.

    Raises:
        InstallError: helm refused, or a rollout did not end.
    """
    if not (chart / "Chart.yaml").is_file():
        raise InstallError(f"no chart in {chart}: it is part of the source tree, from which the lab has to run")
    make_namespace(cluster, namespace)
    mine = dict(values or {})
    if "url" not in mine.get("prometheus", {}):
        mine["prometheus"] = {**mine.get("prometheus", {}), "url": cluster.prometheus_url}
    arguments = ["upgrade", "--install", release, str(chart), "--namespace", namespace, "--values", "-"]
    helm(cluster, *arguments, stdin=yaml.safe_dump(mine))
    made = Release(cluster, namespace, release)
    made.wait(seconds=wait_seconds)
    return made


def make_namespace(cluster: LocalCluster, name: str) -> None:
    """Create a namespace that enforces restricted pod security, or make an existing one so."""
    manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": RESTRICTED}}
    kubectl(cluster, "apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(manifest))


def helm(cluster: LocalCluster, *arguments: str, stdin: str | None = None) -> str:
    """Run helm against a cluster, without the user's own helm settings and plugins, and return what it printed.

    Raises:
        InstallError: it failed; the message is helm's.
    """
    with tempfile.TemporaryDirectory(prefix="penstock-helm-") as home:
        own = {f"HELM_{kind}_HOME": f"{home}/{kind.lower()}" for kind in ("CACHE", "CONFIG", "DATA")}
        env = {name: value for name, value in os.environ.items() if not name.startswith("HELM_")}
        done = subprocess.run(
            [str(cluster.bin("helm")), f"--kubeconfig={cluster.kubeconfig}", *arguments],
            input=stdin,
            env=env | own,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise InstallError(f"helm {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout
