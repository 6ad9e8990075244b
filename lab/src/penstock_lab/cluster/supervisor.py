"""The process that owns a cluster: `python -m penstock_lab.cluster.supervisor`.

It reads a `ClusterSpec` as one line on standard input, starts everything, reports progress as JSON lines on standard
output, then serves requests on a socket in the state folder. Standard input is its leash: while the line `detach` has
not come, the end of the input means that whoever started it is gone, however it went, and the cluster goes too.

Invariants: whoever holds `lock` owns the state folder; nothing runs in a cluster without a supervisor (children die
with it); when the supervisor ends in order, neither process, port nor data is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any, Final

import yaml

from penstock_lab.cluster import certificates, components, credentials, processes, prometheus
from penstock_lab.cluster.addresses import LOOPBACK, Reservations
from penstock_lab.cluster.control import DETACH, serve
from penstock_lab.cluster.errors import ClusterError
from penstock_lab.cluster.files import write_private
from penstock_lab.cluster.folder import FolderLock, empty
from penstock_lab.cluster.plant import Plant
from penstock_lab.cluster.probes import Answer, Prober
from penstock_lab.cluster.spec import ClusterSpec, Layout, id_prefix

EXIT_FAILED: Final = 1
EXIT_BUSY: Final = 3
PROMETHEUS_ROLE: Final = "penstock-prometheus"

logger = logging.getLogger(__name__)


class Supervisor:
    """One cluster from nothing to nothing."""

    def __init__(self, spec: ClusterSpec, layout: Layout) -> None:
        self._spec = spec
        self._layout = layout
        self._reservations = Reservations()
        self._stop = asyncio.Event()
        self._ready = False
        self._prefix = ""
        self._ports: dict[str, int] = {}

    async def run(self) -> str:
        """Start, serve until asked to stop, end everything.

        Returns:
            Why it failed; empty when it did not.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self._stop.set)
        self._follow_leash(loop)
        await asyncio.to_thread(self._clear)
        plant = self._prepare()
        server = await serve(self._layout, lambda request: self._answer(plant, request))
        failure = ""
        starting = asyncio.create_task(self._start(plant))
        stopping = asyncio.create_task(self._stop.wait())
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done() and (error := starting.exception()):
            failure = _explain(error)
        elif starting.done():
            self._ready = True
            _report("ready", **self._describe(plant))
            await stopping
        for task in (starting, stopping):
            task.cancel()
        await asyncio.gather(starting, stopping, return_exceptions=True)
        server.close()
        await plant.stop_all()
        self._reservations.close()
        return failure

    def _follow_leash(self, loop: asyncio.AbstractEventLoop) -> None:
        """Stop when standard input ends before it said `detach`, or when the starter's process is gone."""
        starter = os.pidfd_open(os.getppid())  # a forked child of the starter may keep the pipe open

        def let_go() -> None:
            loop.remove_reader(0)
            loop.remove_reader(starter)

        def input_came() -> None:
            if os.read(0, 64).decode().strip() != DETACH:
                self._stop.set()
            let_go()

        def starter_ended() -> None:
            self._stop.set()
            let_go()

        loop.add_reader(0, input_came)
        loop.add_reader(starter, starter_ended)

    def _clear(self) -> None:
        """Remove what an earlier cluster in this folder left when its supervisor was killed."""
        swept = processes.sweep(id_prefix(self._layout.root))
        if swept:
            _report("cleaned", processes=swept)
        empty(self._layout, keep={"supervisor.log"})

    def _prepare(self) -> Plant:
        """Claim addresses and write every file that the components read."""
        spec, layout = self._spec, self._layout
        for folder in (layout.logs, layout.node_agent, layout.models):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._prefix = self._reservations.prefix(preferred_by=spec.cluster_id)
        self._ports = {name: self._reservations.port() for name in spec.components() if name != "node-agent"}
        pki = certificates.create(layout.root / "pki", service_ip=components.SERVICE_IP)
        tokens = credentials.create_tokens(layout.root / "tokens.csv")
        for user, token in tokens.items():
            path = layout.kubeconfig if user == credentials.ADMIN else layout.credentials(user)
            credentials.write_kubeconfig(
                path,
                server=self._api_url,
                authority=pki.authority,
                user=user,
                token=token,
                context=f"penstock-{spec.name}",
            )
        write_private(layout.root / "audit-policy.json", components.AUDIT_POLICY)
        write_private(layout.root / "images.yaml", yaml.safe_dump(spec.images, sort_keys=False))
        scraping = prometheus.configuration(
            kubeconfig=layout.credentials("penstock-prometheus"),
            scrape_interval_seconds=spec.scrape_interval_seconds,
        )
        write_private(layout.root / "prometheus.yml", scraping)
        made = components.build(spec, layout, certificates=pki, ports=self._ports, prefix=self._prefix)
        self._prober = Prober(pki, token=tokens[credentials.ADMIN])
        plant = Plant(spec, layout, components=made, prober=self._prober)
        plant.changed = lambda: write_private(layout.state, json.dumps(self._describe(plant), indent=2))
        plant.changed()
        return plant

    async def _start(self, plant: Plant) -> None:
        first = ("etcd", "kube-apiserver")
        for name in first:
            await self._start_reported(plant, name)
        async with asyncio.TaskGroup() as rest:
            for name in self._spec.components():
                if name not in first:
                    rest.create_task(self._start_reported(plant, name))

    async def _start_reported(self, plant: Plant, name: str) -> None:
        seconds = await self._start_one(plant, name)
        _report("started", component=name, seconds=round(seconds, 2))

    async def _start_one(self, plant: Plant, name: str) -> float:
        if name == "prometheus":
            await asyncio.to_thread(self._allow_prometheus)
        conditions = {"kube-controller-manager": self._accounts_exist, "node-agent": self._nodes_are_ready}
        return await plant.start(name, ready=conditions.get(name))

    async def _accounts_exist(self) -> bool:
        """Pods are refused in a namespace until its default ServiceAccount exists."""
        path = "/api/v1/namespaces/default/serviceaccounts/default"
        return (await asyncio.to_thread(self._api, "GET", path)).ok

    async def _nodes_are_ready(self) -> bool:
        return list((await asyncio.to_thread(self._nodes)).values()).count("Ready") == self._spec.nodes

    def _nodes(self) -> dict[str, str]:
        """Every Node with `Ready`, `NotReady` or `Unknown`."""
        answer = self._api("GET", "/api/v1/nodes?resourceVersion=0")
        found = {}
        for node in answer.json()["items"] if answer.ok else []:
            conditions = {c["type"]: c["status"] for c in node.get("status", {}).get("conditions", [])}
            words = {"True": "Ready", "False": "NotReady"}
            found[node["metadata"]["name"]] = words.get(conditions.get("Ready", ""), "Unknown")
        return found

    def _allow_prometheus(self) -> None:
        api = "/apis/rbac.authorization.k8s.io/v1"
        role = {
            "metadata": {"name": PROMETHEUS_ROLE},
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}],
        }
        binding = {
            "metadata": {"name": PROMETHEUS_ROLE},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": PROMETHEUS_ROLE},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "penstock-prometheus"}],
        }
        self._api("POST", f"{api}/clusterroles", role)
        self._api("POST", f"{api}/clusterrolebindings", binding)

    def _api(self, method: str, path: str, body: dict[str, Any] | None = None) -> Answer:
        return self._prober.api(self._ports["kube-apiserver"], method, path, body)

    @property
    def _api_url(self) -> str:
        return f"https://{LOOPBACK}:{self._ports['kube-apiserver']}"

    def _describe(self, plant: Plant) -> dict[str, Any]:
        port = self._ports.get("prometheus")
        return {
            "name": self._spec.name,
            "cluster_id": self._spec.cluster_id,
            "ready": self._ready,
            "supervisor": {"pid": os.getpid(), "started_at": processes.start_time(os.getpid())},
            "shape": self._spec.shape(),
            "api_url": self._api_url,
            "prometheus_url": f"http://{LOOPBACK}:{port}" if port else None,
            "address_prefix": self._prefix,
            "binaries": self._spec.binaries,
            "components": plant.describe(),
        }

    async def _answer(self, plant: Plant, request: dict[str, Any]) -> dict[str, Any]:
        """Do what a client asks for, see `control`."""
        match request:
            case {"op": "describe"}:
                return self._describe(plant)
            case {"op": "status"}:
                nodes = await asyncio.to_thread(self._nodes) if self._spec.node_agent else {}
                return {**self._describe(plant), "health": await plant.health(), "nodes": nodes}
            case {"op": "start", "component": str(name)}:
                return {"seconds": await self._start_one(plant, name)}
            case {"op": "stop", "component": str(name)}:
                await plant.stop(name)
                return {}
            case {"op": "kill", "component": str(name)}:
                await plant.kill(name)
                return {}
            case {"op": "shutdown"}:
                self._stop.set()
                return {}
            case _:
                raise ClusterError(f"unknown request {request!r}")


def _explain(error: BaseException) -> str:
    """An error for a person; of several that came at once, the first."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error) if isinstance(error, ClusterError) else repr(error)


def _report(event: str, **fields: Any) -> None:
    with contextlib.suppress(OSError):  # nobody may be listening any more
        os.write(1, json.dumps({"event": event, **fields}).encode() + b"\n")


def main() -> int:
    """Run one cluster; the exit status says how it went."""
    with open(0, "rb", buffering=0, closefd=False) as leash:  # unbuffered: what follows the line is the leash
        spec = ClusterSpec.from_json(leash.readline().decode())
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    layout = Layout(Path(spec.state_dir))
    try:
        lock = FolderLock.acquire(layout)
        if lock is None:
            _report("busy")
            return EXIT_BUSY
        failure = asyncio.run(Supervisor(spec, layout).run())
    except ClusterError as error:
        failure = str(error)
    if failure:
        _report("failed", error=failure)
    if lock is not None:
        empty(layout, keep={layout.logs.name} if failure or spec.keep_logs else set())
        lock.release(remove=True)
    return EXIT_FAILED if failure else 0


if __name__ == "__main__":
    sys.exit(main())
