"""The stage of the demo: checkpoint, cluster, CRD and examples, operator process; everything taken down at the end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from penstock_lab.cluster.local import LocalCluster
from penstock_lab.demo.scenario import NAMESPACE, PROFILE, VOCABULARY, Scenario

_STOP_SECONDS = 10.0


class StageError(Exception):
    """A step of the set-up failed; the message holds what the failing program said."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What is running.

    Attributes:
        cluster: the control plane.
        operator: its process.
        operator_metrics: URL of its `/metrics`.
        operator_log: file of its log.
    """

    cluster: LocalCluster
    operator: subprocess.Popen[bytes]
    operator_metrics: str
    operator_log: Path


@contextmanager
def stage(scenario: Scenario, *, say: Callable[[str], None]) -> Iterator[Stage]:
    """Set everything up; nothing is left when the block ends.

    Args:
        scenario: what to run.
        say: called with a line per step.

    Raises:
        StageError: a step failed.
    """
    models = scenario.out / "models"
    models.mkdir(parents=True, exist_ok=True)
    say("checkpoint: a seeded tiny Qwen3, made here")
    _penstock("model", "make-tiny", str(models / "tiny"), f"--vocab={VOCABULARY}")
    (models / "demo-profile.json").write_text(json.dumps(PROFILE.to_json(), indent=2), encoding="utf-8")
    with LocalCluster("demo", nodes=2, gpus_per_node=4, models=models, report=say) as cluster:
        kubectl(cluster, "apply", "--server-side", "-f", str(scenario.crds))
        kubectl(cluster, "wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        kubectl(cluster, "create", "namespace", NAMESPACE)
        log = scenario.out / "operator.log"
        with operator(cluster, log=log) as (process, metrics):
            say(f"kubectl apply -n {NAMESPACE} -f {scenario.examples.name}/")
            kubectl(cluster, "apply", "-n", NAMESPACE, "-f", str(scenario.examples))
            yield Stage(cluster, process, metrics, log)


@contextmanager
def operator(
    cluster: LocalCluster, *, log: Path, tick_seconds: float = 2.0
) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Run the operator as a process of its own against a cluster; yields it and the URL of its metrics."""
    port = _free_port()
    env = os.environ | {
        "KUBECONFIG": str(cluster.kubeconfig),
        "PENSTOCK_PROMETHEUS_URL": cluster.prometheus_url,
        "PENSTOCK_TICK_SECONDS": str(tick_seconds),
        "PENSTOCK_BIND_ADDRESS": "127.0.0.1",
        "PENSTOCK_LISTEN_PORT": str(port),
    }
    with log.open("ab") as sink:
        process = subprocess.Popen([sys.executable, "-m", "penstock_operator"], env=env, stdout=sink, stderr=sink)
    try:
        yield process, f"http://127.0.0.1:{port}/metrics"
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def kubectl(cluster: LocalCluster, *arguments: str) -> str:
    """Run the real kubectl and return what it printed.

    Raises:
        StageError: it failed.
    """
    command = [str(cluster.bin("kubectl")), f"--kubeconfig={cluster.kubeconfig}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StageError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def _penstock(*arguments: str) -> None:
    command = [sys.executable, "-m", "penstock_operator.cli", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StageError(f"penstock {' '.join(arguments)}: {done.stderr.strip()}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
