"""What the node agent is told: the command line, and the little that processes inherit from its environment."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from penstock_lab.nodeagent.addresses import MAX_NODES
from penstock_lab.nodeagent.errors import SettingsError
from penstock_lab.nodeagent.quantity import parse_quantity

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# A container sees nothing else of the machine's environment: what works here must not depend on a developer's shell.
_INHERITED: Final = ("LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH")


@dataclass(frozen=True, slots=True)
class Settings:
    """How one agent runs.

    Attributes:
        kubeconfig: How to reach the API server.
        nodes: How many Nodes to register.
        node_capacity: Capacity of each, quantities by resource name.
        address_prefix: First two numbers of the pods' loopback addresses.
        state_dir: Logs, volumes and `pods.json`.
        images: The image table.
        cluster_id: Marks every process.
        crash_backoff_seconds: First waiting time before a restart.
        stop_seconds: Bound of the grace that pods get when the agent is stopped.
        environment: What every process inherits from the machine.
    """

    kubeconfig: Path
    nodes: int
    node_capacity: dict[str, str]
    address_prefix: str
    state_dir: Path
    images: Path
    cluster_id: str
    crash_backoff_seconds: float
    stop_seconds: float
    environment: dict[str, str]


def parse_settings(arguments: Sequence[str], environ: Mapping[str, str]) -> Settings:
    """Read the command line.

    Raises:
        SettingsError: a value is unusable; the message names the option.
    """
    options = _parser().parse_args(arguments)
    if not 1 <= options.nodes <= MAX_NODES:
        raise SettingsError(f"--nodes {options.nodes}: must be between 1 and {MAX_NODES}")
    if options.gpus_per_node < 0:
        raise SettingsError(f"--gpus-per-node {options.gpus_per_node}: must not be negative")
    if options.crash_backoff_seconds <= 0:
        raise SettingsError(f"--crash-backoff-seconds {options.crash_backoff_seconds}: must be positive")
    for option in ("cpu_per_node", "memory_per_node"):
        try:
            parse_quantity(getattr(options, option))
        except ValueError as error:
            raise SettingsError(f"--{option.replace('_', '-')}: {error}") from error
    capacity = {"cpu": options.cpu_per_node, "memory": options.memory_per_node, "pods": "110"}
    capacity |= {"nvidia.com/gpu": str(options.gpus_per_node)} if options.gpus_per_node else {}
    return Settings(
        kubeconfig=options.kubeconfig,
        nodes=options.nodes,
        node_capacity=capacity,
        address_prefix=options.address_prefix,
        state_dir=options.state_dir.resolve(),
        images=options.images,
        cluster_id=options.cluster_id,
        crash_backoff_seconds=options.crash_backoff_seconds,
        stop_seconds=options.stop_seconds,
        environment=_machine_environment(environ),
    )


def _machine_environment(environ: Mapping[str, str]) -> dict[str, str]:
    inherited = {name: environ[name] for name in _INHERITED if name in environ}
    own = str(Path(sys.executable).parent)  # so that a command `python` is the interpreter of this installation
    return {**inherited, "PATH": os.pathsep.join([own, environ.get("PATH", os.defpath)])}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m penstock_lab.nodeagent", description=__doc__)
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--gpus-per-node", type=int, default=0)
    parser.add_argument("--cpu-per-node", default="32")
    parser.add_argument("--memory-per-node", default="64Gi")
    parser.add_argument("--address-prefix", required=True, help="127.X: pods get addresses 127.X.y.z")
    parser.add_argument("--state-dir", type=Path, required=True, help="logs, volumes and pods.json go here")
    parser.add_argument("--images", type=Path, required=True, help="the image table (YAML)")
    parser.add_argument("--cluster-id", required=True, help="marks every process as PENSTOCK_CLUSTER")
    parser.add_argument("--crash-backoff-seconds", type=float, default=1.0)
    parser.add_argument("--stop-seconds", type=float, default=10.0, help="longest grace of pods at SIGTERM")
    return parser
