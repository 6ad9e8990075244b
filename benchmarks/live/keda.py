"""The real KEDA as two processes beside the cluster's: its operator, and its adapter of the external metrics API.

Both are built from a pinned module, as the control plane's binaries are, and kept in the same cache. The HPA controller
is the cluster's own kube-controller-manager; it asks the API server, which passes the question on to the adapter.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from penstock_lab.cluster import certificates, components
from penstock_lab.cluster.addresses import LOOPBACK, Reservations
from penstock_lab.cluster.binaries import Resolver
from penstock_lab.cluster.catalog import Tool
from penstock_lab.cluster.errors import ClusterError
from penstock_lab.cluster.local import LocalCluster
from penstock_lab.cluster.processes import dies_with_parent
from penstock_lab.cluster.settings import Settings
from penstock_lab.kube import UNREACHABLE, Kube, KubeError, Object, Resource
from penstock_lab.kubectl import kubectl

VERSION = "2.21.0"
MODULE = "github.com/kedacore/keda/v2"
NAMESPACE = "keda"
_TOOLS = Path(__file__).parent / "tools"
_ADAPTER_SERVICE = "keda-metrics-apiserver"
_APISERVICES = Resource("apiregistration.k8s.io/v1", "apiservices")
_METRICS = "v1beta1.external.metrics.k8s.io"
_READY_SECONDS = 90.0
_STOP_SECONDS = 10.0


def tools() -> tuple[Tool, Tool]:
    """Operator and adapter, in the order in which they are best built."""
    made = [
        Tool(
            name=f"keda-{part}",
            version=VERSION,
            module="keda",
            module_version=f"v{VERSION}",
            package=f"{MODULE}/cmd/{part}",
            build_seconds=seconds,
            variables=(f"{MODULE}/version.Version={VERSION}",),
        )
        for part, seconds in (("operator", 300), ("adapter", 50))
    ]
    return made[0], made[1]


@asynccontextmanager
async def keda(cluster: LocalCluster, kube: Kube, *, folder: Path, say: Callable[[str], None]) -> AsyncIterator[None]:
    """Run KEDA until the block ends.

    Args:
        cluster: where.
        kube: its API server.
        folder: of certificates and logs.
        say: called with a line per step.

    Raises:
        ClusterError: it cannot be built, or does not become ready.
    """
    resolver = Resolver(Settings.from_environment(), report=say, modules=_TOOLS)
    binaries = await asyncio.to_thread(lambda: [resolver.resolve(tool).path for tool in tools()])
    bases = await asyncio.to_thread(_definitions)
    await asyncio.to_thread(kubectl, cluster, "apply", "--server-side", "-f", str(bases))
    await kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}, manager="bench")
    certificate = await asyncio.to_thread(_certificate, folder / "certs")
    ports = Reservations()
    secure, insecure, grpc, metrics, probes = (ports.port() for _ in range(5))
    config = str(cluster.kubeconfig)
    commands = [
        [
            str(binaries[0]),
            f"--kubeconfig={config}",
            f"--cert-dir={certificate}",
            f"--metrics-bind-address={LOOPBACK}:{metrics}",
            f"--health-probe-bind-address={LOOPBACK}:{probes}",
            f"--metrics-service-bind-address={LOOPBACK}:{grpc}",
        ],
        [
            str(binaries[1]),
            *(f"--{kind}kubeconfig={config}" for kind in ("", "authentication-", "authorization-", "lister-")),
            f"--bind-address={LOOPBACK}",
            f"--secure-port={secure}",
            f"--port={insecure}",
            f"--metrics-service-address=localhost:{grpc}",
            f"--cert-dir={certificate}",
        ],
    ]
    running = [_start(command, folder / f"{Path(command[0]).name}.log") for command in commands]
    try:
        await _register(kube, secure)
        await _until_served(kube, running, folder)
        say(f"KEDA {VERSION} serves {_METRICS}")
        yield
    finally:
        for process in running:
            await asyncio.to_thread(_end, process)
        ports.close()


def scaled_object(
    name: str,
    *,
    namespace: str,
    prometheus: str,
    query: str,
    threshold: float,
    most: int,
    missing_is_zero: bool,
    stabilization_seconds: int,
) -> Object:
    """A ScaledObject for the Deployment of that name.

    Args:
        name: of it and of the Deployment.
        namespace: of both.
        prometheus: URL.
        query: a single number.
        threshold: of it, per replica.
        most: replicas.
        missing_is_zero: KEDA's `ignoreNullValues`, true upstream.
        stabilization_seconds: of the HPA's scale-down, 300 upstream.
    """
    behavior = {"scaleDown": {"stabilizationWindowSeconds": stabilization_seconds}}
    trigger = {
        "serverAddress": prometheus,
        "query": query,
        "threshold": f"{threshold:g}",
        "ignoreNullValues": "true" if missing_is_zero else "false",
    }
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "pollingInterval": 15,
            "cooldownPeriod": 360,
            "minReplicaCount": 1,
            "maxReplicaCount": most,
            "advanced": {"horizontalPodAutoscalerConfig": {"behavior": behavior}},
            "triggers": [{"type": "prometheus", "metadata": trigger}],
        },
    }


def _definitions() -> Path:
    """The folder of KEDA's CRDs, in the module that was built."""
    go = shutil.which("go")
    if go is None:
        raise ClusterError("KEDA's CRDs are taken from its Go module, and there is no `go` on PATH")
    env = {**os.environ, "GOFLAGS": "-mod=mod", "GOWORK": "off"}
    command = [go, "list", "-m", "-f", "{{.Dir}}", MODULE]
    for attempt in (command, [go, "mod", "download", MODULE], command):
        done = subprocess.run(attempt, cwd=_TOOLS / "keda", env=env, capture_output=True, text=True, check=False)
        found = Path(done.stdout.strip() or "missing") / "config" / "crd" / "bases"
        if found.is_dir():
            return found
    raise ClusterError(f"the source of KEDA cannot be had: {done.stderr.strip()}")


def _certificate(folder: Path) -> Path:
    made = certificates.create(folder, service_ip=components.SERVICE_IP)
    for name in ("crt", "key"):
        shutil.copyfile(made.file(f"server.{name}"), folder / f"tls.{name}")
    return folder


def _start(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    names = {"KEDA_CLUSTER_OBJECT_NAMESPACE": NAMESPACE, "POD_NAMESPACE": NAMESPACE, "WATCH_NAMESPACE": ""}
    with log.open("wb") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **names},
            start_new_session=True,
            preexec_fn=dies_with_parent(signal.SIGKILL),  # noqa: PLW1509 - prctl only, no lock is taken
        )


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_SECONDS)
        return
    process.kill()
    process.wait()


async def _register(kube: Kube, port: int) -> None:
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": _ADAPTER_SERVICE, "namespace": NAMESPACE},
        "spec": {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]},
    }
    group, version = "external.metrics.k8s.io", "v1beta1"
    registration = {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": _METRICS},
        "spec": {
            "group": group,
            "version": version,
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "insecureSkipTLSVerify": True,
            "service": {"name": _ADAPTER_SERVICE, "namespace": NAMESPACE, "port": port},
        },
    }
    for manifest in (service, registration):
        await kube.apply(manifest, manager="bench")


async def _until_served(kube: Kube, running: list[subprocess.Popen[bytes]], folder: Path) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(_READY_SECONDS):
            while not await _served(kube):
                if any(process.poll() is not None for process in running):
                    raise ClusterError(f"KEDA ended: see its logs in {folder}")
                await asyncio.sleep(0.5)
            return
    raise ClusterError(f"KEDA's metrics are not served after {_READY_SECONDS:.0f} s: see its logs in {folder}")


async def _served(kube: Kube) -> bool:
    try:
        found: dict[str, Any] = await kube.get(_APISERVICES, _METRICS)
    except (*UNREACHABLE, KubeError):
        return False
    conditions = found.get("status", {}).get("conditions", ())
    return any(item["type"] == "Available" and item["status"] == "True" for item in conditions)
