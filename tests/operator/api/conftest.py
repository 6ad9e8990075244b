"""The API server of the session's cluster with the CRD in use, and calls that return what it said."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from kubernetes import client
from kubernetes.config import new_client_from_config

if TYPE_CHECKING:
    from collections.abc import Callable

    from penstock_lab.cluster import LocalCluster

ROOT = Path(__file__).parents[3]
CRD = ROOT / "crds" / "inference.penstock.dev_inferenceservices.yaml"
GROUP, VERSION, PLURAL = "inference.penstock.dev", "v1alpha1", "inferenceservices"
NAMESPACE = "default"
DEADLINE_SECONDS = 120.0


def _wait(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {DEADLINE_SECONDS:.0f} s: {what}")
        time.sleep(0.05)


class Api:
    """The API server, seen by a client."""

    def __init__(self, *, kubeconfig: Path, kubectl: Path) -> None:
        self._kubeconfig = kubeconfig
        self._kubectl = kubectl
        self._client = new_client_from_config(str(kubeconfig))
        self._objects = client.CustomObjectsApi(self._client)
        self._crds = client.ApiextensionsV1Api(self._client)

    def create(
        self, manifest: dict[str, Any], *, dry_run: bool = True, unknown_fields: str = "Strict"
    ) -> dict[str, Any]:
        """Create a service, as kubectl would, and return it as stored.

        Raises:
            client.ApiException: the server refused it.
        """
        options = {"dry_run": "All"} if dry_run else {}
        return self._objects.create_namespaced_custom_object(
            GROUP, VERSION, NAMESPACE, PLURAL, manifest, field_validation=unknown_fields, **options
        )

    def patch_status(self, name: str, status: dict[str, Any]) -> dict[str, Any]:
        return self._objects.patch_namespaced_custom_object_status(
            GROUP, VERSION, NAMESPACE, PLURAL, name, {"status": status}
        )

    def delete(self, name: str) -> None:
        self._objects.delete_namespaced_custom_object(GROUP, VERSION, NAMESPACE, PLURAL, name)

    def scale(self, name: str) -> dict[str, Any]:
        return self._objects.get_namespaced_custom_object_scale(GROUP, VERSION, NAMESPACE, PLURAL, name)

    def crd_conditions(self) -> dict[str, str]:
        found = self._crds.read_custom_resource_definition(f"{PLURAL}.{GROUP}")
        return {condition.type: condition.status for condition in found.status.conditions or ()}

    def kubectl(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run kubectl and return what it said, also when it failed."""
        return subprocess.run(
            [self._kubectl, f"--kubeconfig={self._kubeconfig}", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            # Its cache of the API, which must not outlive the cluster.
            env={**os.environ, "KUBECACHEDIR": str(self._kubeconfig.parent / "kubectl")},
        )


@pytest.fixture(scope="session")
def api(cluster: LocalCluster) -> Api:
    """The API server with the committed CRD in use."""
    api = Api(kubeconfig=cluster.kubeconfig, kubectl=cluster.bin("kubectl"))
    applied = api.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(CRD))
    assert applied.returncode == 0, applied.stderr
    _wait(lambda: api.crd_conditions().get("Established") == "True", "the CRD is established")
    _wait(lambda: api.kubectl("get", PLURAL).returncode == 0, "the resource is served")
    return api
