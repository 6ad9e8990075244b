"""The stage of the demo: checkpoint, cluster, chart and example; everything taken down at the end, or kept."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from penstock_contract import names
from penstock_lab.cluster.errors import NotRunningError
from penstock_lab.cluster.local import LocalCluster
from penstock_lab.demo.errors import StageError
from penstock_lab.demo.scenario import EXAMPLE, NAMESPACE, PROFILE, SERVICE, VOCABULARY, Scenario
from penstock_lab.install import install
from penstock_lab.kubectl import kubectl

TICK_SECONDS = 2
OPERATOR_PORT = 8080


@dataclass(frozen=True, slots=True)
class Stage:
    """What is running.

    Attributes:
        cluster: the control plane.
        gateways: base URLs of the demo's service, one per gateway.
        operator: base URL of the operator.
    """

    cluster: LocalCluster
    gateways: tuple[str, ...]
    operator: str

    def keep(self) -> None:
        """Leave everything running when the stage's block ends."""
        self.cluster.detach()


@contextmanager
def stage(scenario: Scenario, *, say: Callable[[str], None]) -> Iterator[Stage]:
    """Set everything up; nothing is left when the block ends, unless it was told to `keep`.

    Args:
        scenario: what to run.
        say: called with a line per step.

    Raises:
        StageError: a step failed, or a demo of this name is up already.
    """
    refuse_if_up(scenario.name)
    models = scenario.out / "models"
    models.mkdir(parents=True, exist_ok=True)
    say("checkpoint: a seeded tiny Qwen3, made here")
    _penstock("model", "make-tiny", str(models / "tiny"), f"--vocab={VOCABULARY}")
    (models / "demo-profile.json").write_text(json.dumps(PROFILE.to_json(), indent=2), encoding="utf-8")
    with LocalCluster(scenario.name, nodes=2, gpus_per_node=4, models=models, report=say) as cluster:
        say("helm install penstock: operator and two gateways, as pods, with the rights of the chart")
        release = install(cluster, values={"operator": {"tickSeconds": TICK_SECONDS}})
        kubectl(cluster, "create", "namespace", NAMESPACE)
        say(f"kubectl apply -n {NAMESPACE} -f {scenario.examples.name}/{EXAMPLE}")
        kubectl(cluster, "apply", "-n", NAMESPACE, "-f", str(scenario.examples / EXAMPLE))
        addresses = [str(pod["status"]["podIP"]) for pod in release.pods("gateway")]
        yield Stage(
            cluster,
            tuple(f"http://{ip}:{names.GATEWAY_PORT}/{NAMESPACE}/{SERVICE}" for ip in addresses),
            f"http://{release.address('operator')}:{OPERATOR_PORT}",
        )


def refuse_if_up(name: str) -> None:
    """Refuse when a cluster of this name runs already, as after `--keep`.

    Raises:
        StageError: it does; the message says how to end it.
    """
    if is_up(name):
        raise StageError(
            f"a cluster {name} is up already, perhaps from an earlier `make demo` with KEEP=1. End it with\n"
            f"  {how_to_end(name)}\nor run this one beside it:\n  make demo DEMO_ARGS='--name={name}-2'"
        )


def is_up(name: str) -> bool:
    """Whether a cluster of this name runs."""
    try:
        LocalCluster(name).status()
    except NotRunningError:
        return False
    return True


def how_to_end(name: str) -> str:
    """The command that takes a cluster down."""
    return f"{own_folder()}/penstock cluster down --name {name}"


def own_folder() -> Path:
    """Folder of the `penstock` that runs, as short as it can be typed here."""
    folder = Path(sys.executable).parent
    return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder


def _penstock(*arguments: str) -> None:
    command = [sys.executable, "-m", "penstock_operator.cli", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StageError(f"penstock {' '.join(arguments)}: {done.stderr.strip()}")
