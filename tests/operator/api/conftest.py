"""A real kube-apiserver with the CRD installed, and calls that return what it said."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from kubernetes import client
from kubernetes.config import new_client_from_config

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[3]
CRD = ROOT / "crds" / "inference.penstock.dev_inferenceservices.yaml"
GROUP, VERSION, PLURAL = "inference.penstock.dev", "v1alpha1", "inferenceservices"
NAMESPACE = "default"
DEADLINE_SECONDS = 60.0


def _binary(name: str) -> str:
    found = shutil.which(name, path=os.environ.get("PENSTOCK_BIN_DIR")) or shutil.which(name)
    if found is None:
        pytest.fail(f"{name} is neither in PENSTOCK_BIN_DIR nor on PATH")
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"{what}: not within {DEADLINE_SECONDS:.0f} s")
        time.sleep(0.05)


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, context=ssl._create_unverified_context(), timeout=5).close()  # noqa: S310, S323 - loopback
    except (urllib.error.URLError, OSError):
        return False
    return True


@pytest.fixture(scope="session")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """etcd and kube-apiserver on free ports."""
    home = tmp_path_factory.mktemp("apiserver")
    etcd_url, port = f"http://127.0.0.1:{_free_port()}", _free_port()
    key = home / "sa.key"
    subprocess.run(["openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True)
    (home / "tokens").write_text("secret,admin,admin,system:masters\n")
    etcd = [
        _binary("etcd"), f"--data-dir={home / 'etcd'}", "--unsafe-no-fsync", "--log-level=error",
        f"--listen-client-urls={etcd_url}", f"--advertise-client-urls={etcd_url}",
        "--listen-peer-urls=http://127.0.0.1:0",
    ]  # fmt: skip
    server = [
        _binary("kube-apiserver"), f"--etcd-servers={etcd_url}", f"--secure-port={port}", "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none", f"--cert-dir={home / 'certs'}",
        "--service-cluster-ip-range=10.96.0.0/16", "--authorization-mode=RBAC", f"--token-auth-file={home / 'tokens'}",
        "--service-account-issuer=https://localhost", f"--service-account-key-file={key}",
        f"--service-account-signing-key-file={key}",
    ]  # fmt: skip
    config = home / "kubeconfig"
    config.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "test",
                "clusters": [
                    {
                        "name": "test",
                        "cluster": {
                            "server": f"https://127.0.0.1:{port}",
                            "certificate-authority": str(home / "certs" / "apiserver.crt"),
                        },
                    }
                ],
                "users": [{"name": "admin", "user": {"token": "secret"}}],
                "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
            }
        )
    )
    running: list[subprocess.Popen[bytes]] = []
    with (home / "log").open("wb") as log:
        try:
            running.append(subprocess.Popen(etcd, stdout=log, stderr=log))
            running.append(subprocess.Popen(server, stdout=log, stderr=log))
            _wait(lambda: _answers(f"https://127.0.0.1:{port}/readyz"), "the API server is ready")
            yield config
        finally:
            # An API server whose etcd went first waits for it for ever.
            for process in reversed(running):
                process.terminate()
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


class Api:
    """The API server, seen by a client."""

    def __init__(self, kubeconfig: Path) -> None:
        self.kubeconfig = kubeconfig
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
        return subprocess.run(
            [_binary("kubectl"), f"--kubeconfig={self.kubeconfig}", *arguments],
            input=stdin, capture_output=True, text=True, check=False,
            env={**os.environ, "HOME": str(self.kubeconfig.parent)},
        )  # fmt: skip


@pytest.fixture(scope="session")
def api(kubeconfig: Path) -> Api:
    """The API server with the committed CRD in use."""
    api = Api(kubeconfig)
    applied = api.kubectl("apply", "--server-side", "-f", str(CRD))
    assert applied.returncode == 0, applied.stderr
    _wait(lambda: api.crd_conditions().get("Established") == "True", "the CRD is established")
    _wait(lambda: api.kubectl("get", "namespace", NAMESPACE).returncode == 0, "the namespace exists")
    _wait(lambda: api.kubectl("get", PLURAL).returncode == 0, "the resource is served")
    return api
