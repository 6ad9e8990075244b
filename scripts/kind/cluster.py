"""A kind cluster of two nodes, made by kind's own command line, with an audit log that the host can read.

Both nodes take pods. Each tells of a number of GPUs that are not there, so that the scheduler has to count them.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from .engine import Engine
from .errors import KindError

GPU: Final = "nvidia.com/gpu"
GPUS_PER_NODE: Final = 2
_AUDIT_POLICY: Final = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata"}],
}
_POLICY_AT: Final = "/etc/kubernetes/audit/policy.yaml"
_LOG_AT: Final = "/var/log/kubernetes"
_WAIT: Final = "180s"


@dataclass(frozen=True, slots=True)
class Cluster:
    """A kind cluster and the programs to talk to it.

    Attributes:
        name: of the cluster.
        engine: that it runs on.
        folder: of its kubeconfig and its audit log.
        binaries: kind, kubectl and helm, by name.
    """

    name: str
    engine: Engine
    folder: Path
    binaries: Mapping[str, Path]

    @property
    def kubeconfig(self) -> Path:
        """The administrator's."""
        return self.folder / "kubeconfig"

    @property
    def audit_log(self) -> Path:
        """Every request to the API server, at level Metadata."""
        return self.folder / "audit" / "audit.log"

    def create(self, image: str = "") -> None:
        """Create it, and wait until the nodes are ready.

        Args:
            image: of the nodes; empty is kind's own.

        Raises:
            KindError: kind failed.
        """
        (self.folder / "audit").mkdir(parents=True, exist_ok=True)
        (self.folder / "policy.yaml").write_text(yaml.safe_dump(_AUDIT_POLICY))
        config = self.folder / "kind.yaml"
        config.write_text(yaml.safe_dump(self._config(), sort_keys=False))
        chosen = [f"--image={image}"] if image else []
        self._kind(
            *("create", "cluster", f"--config={config}", f"--kubeconfig={self.kubeconfig}", f"--wait={_WAIT}", *chosen)
        )
        self.kubectl("wait", "-n=kube-system", "--for=condition=Ready", "pods", "--all", f"--timeout={_WAIT}")
        for node in self.nodes():
            path = f"/status/capacity/{GPU.replace('/', '~1')}"
            patch = json.dumps([{"op": "add", "path": path, "value": str(GPUS_PER_NODE)}])
            self.kubectl("patch", "node", node, "--subresource=status", "--type=json", f"--patch={patch}")

    def exists(self) -> bool:
        """Whether kind knows it."""
        return self.name in self._clusters()

    def neighbours(self) -> list[str]:
        """Names of the other clusters on the engine."""
        return [name for name in self._clusters() if name != self.name]

    def load(self, images: Sequence[str]) -> None:
        """Copy images from the engine to every node, unless the same were copied before.

        Raises:
            KindError: kind failed.
        """
        kept = self.folder / "loaded.json"
        loaded = json.loads(kept.read_text()) if kept.exists() else {}
        ids = {name: self.engine.run("docker", "image", "inspect", "--format={{.Id}}", name).strip() for name in images}
        if due := [name for name in images if loaded.get(name) != ids[name]]:
            self._kind("load", "docker-image", *due)
        kept.write_text(json.dumps(loaded | ids))

    def delete(self) -> None:
        """Delete it and its folder.

        Raises:
            KindError: kind failed.
        """
        self._kind("delete", "cluster", f"--kubeconfig={self.kubeconfig}")
        shutil.rmtree(self.folder, ignore_errors=True)

    def nodes(self) -> list[str]:
        """Names of the nodes, the one of the control plane first."""
        items = json.loads(self.kubectl("get", "nodes", "-o=json"))["items"]
        label = "node-role.kubernetes.io/control-plane"
        items.sort(key=lambda item: (label not in item["metadata"]["labels"], item["metadata"]["name"]))
        return [str(item["metadata"]["name"]) for item in items]

    def kubectl(self, *arguments: str, stdin: str | None = None, seconds: float = 300.0) -> str:
        """Run kubectl as the administrator and return what it printed.

        Raises:
            KindError: it failed.
        """
        return self._run("kubectl", *arguments, stdin=stdin, seconds=seconds)

    def helm(self, *arguments: str, stdin: str | None = None, seconds: float = 300.0) -> str:
        """Run helm as the administrator and return what it printed.

        Raises:
            KindError: it failed.
        """
        return self._run("helm", *arguments, stdin=stdin, seconds=seconds)

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        """Start kubectl and leave it running, with its three streams as pipes of lines."""
        return subprocess.Popen(
            self.engine.command(str(self.binaries["kubectl"]), f"--kubeconfig={self.kubeconfig}", *arguments),
            env=self.engine.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def _run(self, program: str, *arguments: str, stdin: str | None, seconds: float) -> str:
        command = (str(self.binaries[program]), f"--kubeconfig={self.kubeconfig}", *arguments)
        return self.engine.run(*command, stdin=stdin, seconds=seconds)

    def _clusters(self) -> list[str]:
        return self._kind("get", "clusters", "--quiet").split()

    def _kind(self, *arguments: str) -> str:
        scope = () if arguments[0] == "get" else (f"--name={self.name}",)
        try:
            return self.engine.run(str(self.binaries["kind"]), *arguments, *scope, seconds=600.0)
        except KindError as error:
            raise KindError(f"{error}\nThe engine's log may say more.") from error

    def _config(self) -> dict[str, Any]:
        arguments = {
            "audit-policy-file": _POLICY_AT,
            "audit-log-path": f"{_LOG_AT}/audit.log",
            "audit-log-maxsize": "4000",
        }
        folders = {"audit-policy": (_POLICY_AT.rpartition("/")[0], True), "audit-log": (_LOG_AT, False)}
        api_server = {
            "extraArgs": [{"name": name, "value": value} for name, value in arguments.items()],
            "extraVolumes": [
                {"name": name, "hostPath": path, "mountPath": path, "readOnly": fixed, "pathType": "DirectoryOrCreate"}
                for name, (path, fixed) in folders.items()
            ],
        }
        patches = [
            {"kind": "InitConfiguration", "nodeRegistration": {"taints": []}},
            {"kind": "ClusterConfiguration", "apiServer": api_server},
        ]
        mounts = [
            {"hostPath": str(self.folder / "policy.yaml"), "containerPath": _POLICY_AT, "readOnly": True},
            {"hostPath": str(self.folder / "audit"), "containerPath": _LOG_AT},
        ]
        first = {
            "role": "control-plane",
            "kubeadmConfigPatches": [yaml.safe_dump(one, sort_keys=False) for one in patches],
            "extraMounts": mounts,
        }
        return {"kind": "Cluster", "apiVersion": "kind.x-k8s.io/v1alpha4", "nodes": [first, {"role": "worker"}]}
