"""What stands between clients and upstream: nothing, the gateway, HAProxy; each pinned to a core of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from penstock_contract import names
from penstock_lab.cluster.local import LocalCluster
from penstock_lab.kube import Kube, Resource

ROOT: Final = Path(__file__).resolve().parents[2]
NAMESPACE: Final = "bench"
SERVICE: Final = "stub"
ADDRESS: Final = "127.9.0.1"
_PODS: Final = Resource("v1", "pods")
_HAPROXY: Final = """
global
    nbthread 1
    maxconn 8000
defaults
    mode http
    option http-no-delay
    timeout connect 2s
    timeout client 300s
    timeout server 300s
    http-reuse always
frontend front
    bind 127.0.0.1:{port}
    default_backend workers
backend workers
    balance leastconn
    server w1 {address}:{upstream}
"""


class BenchmarkError(Exception):
    """It cannot be measured; the message says why."""


@dataclass(frozen=True, slots=True)
class Target:
    """Something to measure.

    Attributes:
        name: for the report.
        host: to connect to.
        port: to connect to.
        path: of completions.
        process: the proxy; None if there is none.
        whole: only whole replies are measured.
    """

    name: str
    host: str
    port: int
    path: str
    process: psutil.Process | None
    whole: bool = False

    def processor(self) -> tuple[float, float]:
        """Seconds of processor that the proxy had, and those that it waited for one while it could run.

        The second is 0 where the kernel does not count it (`/proc/PID/schedstat`).
        """
        if self.process is None:
            return 0.0, 0.0
        times = self.process.cpu_times()
        waited = 0
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            with contextlib.suppress(OSError):
                waited += int((task / "schedstat").read_text().split()[1])
        return float(times.user + times.system), waited / 1e9


@contextmanager
def started(*command: str, core: int, log: Path, **env: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process on one core, ended with the block."""
    with log.open("wb") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=sink, env=os.environ | env, cwd=ROOT)
    os.sched_setaffinity(process.pid, {core})
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@asynccontextmanager
async def all_targets(*, out: Path, core: int, load_core: int, haproxy: Path | None) -> AsyncIterator[list[Target]]:
    """Stub, gateway and HAProxy, running.

    Raises:
        BenchmarkError: one of them does not start.
    """
    stub = (sys.executable, "-m", "benchmarks.gateway.stub", ADDRESS, str(names.HTTP_PORT))
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(started(*stub, core=load_core, log=out / "stub.log"))
        await _until(lambda: "listening" in (out / "stub.log").read_text(), "the stub listens", out / "stub.log")
        targets = [Target("direct", ADDRESS, names.HTTP_PORT, "/v1/completions", None)]
        cluster = stack.enter_context(LocalCluster("bench-gateway", node_agent=False, prometheus=False))
        await _objects(cluster)
        port, admin_port = _free_port(), _free_port()
        env = {
            "KUBECONFIG": str(cluster.kubeconfig),
            "PENSTOCK_BIND_ADDRESS": "127.0.0.1",
            "PENSTOCK_GATEWAY_PORT": str(port),
            "PENSTOCK_GATEWAY_ADMIN_PORT": str(admin_port),
            "PENSTOCK_DRAIN_SECONDS": "1",
        }
        log = out / "gateway.log"
        gateway = stack.enter_context(started(sys.executable, "-m", "penstock_gateway", core=core, log=log, **env))
        await _until(lambda: "event=worker_open" in log.read_text(), "the gateway knows the stub", log)
        path = f"/{NAMESPACE}/{SERVICE}/v1/completions"
        targets.append(Target("gateway", "127.0.0.1", port, path, psutil.Process(gateway.pid)))
        if haproxy is not None:
            targets.append(await _haproxy(stack, haproxy, out=out, core=core))
        yield targets


@asynccontextmanager
async def control(*, out: Path, core: int, microseconds: float) -> AsyncIterator[Target]:
    """A proxy that takes so much processor time for a request and does nothing with it."""
    port, log = _free_port(), out / "control.log"
    words = (str(port), ADDRESS, str(names.HTTP_PORT), f"{max(0.0, microseconds):.1f}")
    with started(sys.executable, "-m", "benchmarks.gateway.bare", *words, core=core, log=log) as process:
        await _until(lambda: "listening" in log.read_text(), "the control listens", log)
        yield Target("control", "127.0.0.1", port, "/v1/completions", psutil.Process(process.pid), whole=True)


async def _haproxy(stack: contextlib.AsyncExitStack, binary: Path, *, out: Path, core: int) -> Target:
    port = _free_port()
    file, log = out / "haproxy.cfg", out / "haproxy.log"
    file.write_text(_HAPROXY.format(port=port, address=ADDRESS, upstream=names.HTTP_PORT))
    process = stack.enter_context(started(str(binary), "-f", str(file), "-db", core=core, log=log))

    def answers() -> bool:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=1):
            return True
        return False

    await _until(answers, "HAProxy answers", log)
    return Target("haproxy", "127.0.0.1", port, "/v1/completions", psutil.Process(process.pid))


async def _objects(cluster: LocalCluster) -> None:
    """A service, and the pod of its one worker, which is the stub."""
    async with Kube.from_kubeconfig(cluster.kubeconfig) as kube:
        import yaml  # noqa: PLC0415 - only here

        crd: dict[str, Any] = yaml.safe_load(next((ROOT / "crds").glob("*.yaml")).read_text())
        await kube.apply(crd, manager="bench")
        core = {"apiVersion": "v1", "metadata": {"name": NAMESPACE}}
        await kube.create(Resource("v1", "namespaces"), core | {"kind": "Namespace"})
        service = {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "metadata": {"name": SERVICE, "namespace": NAMESPACE},
            "spec": {
                "model": {"name": "stub", "source": {"containerPath": "/models/none"}},
                "replicas": 0,
                "sla": {
                    "objectives": [
                        {"metric": "TTFT", "percentile": 99, "thresholdMilliseconds": 2000},
                        {"metric": "TPOT", "percentile": 99, "thresholdMilliseconds": 50},
                    ]
                },
            },
        }
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": SERVICE, "labels": {names.SERVICE: SERVICE}},
            "spec": {"schedulerName": "nobody", "containers": [{"name": "worker", "image": "stub"}]},
        }
        status = {
            "phase": "Running",
            "podIP": ADDRESS,
            "podIPs": [{"ip": ADDRESS}],
            "conditions": [{"type": "Ready", "status": "True"}],
        }
        for create in (
            lambda: kube.create(Resource(names.API_VERSION, names.PLURAL), service, namespace=NAMESPACE),
            lambda: kube.create(_PODS, pod, namespace=NAMESPACE),
        ):
            await _insist(create)
        await kube.patch(_PODS, SERVICE, {"status": status}, namespace=NAMESPACE, sub="status")


async def _insist(call: Any) -> None:
    """Try until the API server knows the kind, and the namespace its service account."""
    for left in range(100, -1, -1):
        try:
            await call()
        except Exception:
            if not left:
                raise
            await asyncio.sleep(0.1)
        else:
            return


async def _until(probe: Any, what: str, log: Path) -> None:
    for _ in range(600):
        if probe():
            return
        await asyncio.sleep(0.05)
    raise BenchmarkError(f"not within 30 s: {what}; see {log}")


def _free_port() -> int:
    import socket  # noqa: PLC0415 - only here

    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])
