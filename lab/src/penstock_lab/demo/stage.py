"""The stage of the demo: checkpoint, cluster, chart and examples; everything taken down at the end."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from penstock_contract import names
from penstock_lab.cluster.local import LocalCluster
from penstock_lab.demo.scenario import NAMESPACE, PROFILE, SERVICE, VOCABULARY, Scenario
from penstock_lab.install import install
from penstock_lab.kubectl import kubectl


class StageError(Exception):
    """A step of the set-up failed; the message holds what the failing program said."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What is running.

    Attributes:
        cluster: the control plane.
        gateways: base URLs of the demo's service, one per gateway.
    """

    cluster: LocalCluster
    gateways: tuple[str, ...]


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
        say("helm install penstock: operator and two gateways, as pods, with the rights of the chart")
        release = install(cluster, values={"operator": {"tickSeconds": 2}})
        kubectl(cluster, "create", "namespace", NAMESPACE)
        say(f"kubectl apply -n {NAMESPACE} -f {scenario.examples.name}/")
        kubectl(cluster, "apply", "-n", NAMESPACE, "-f", str(scenario.examples))
        addresses = [str(pod["status"]["podIP"]) for pod in release.pods("gateway")]
        yield Stage(cluster, tuple(f"http://{ip}:{names.GATEWAY_PORT}/{NAMESPACE}/{SERVICE}" for ip in addresses))


def _penstock(*arguments: str) -> None:
    command = [sys.executable, "-m", "penstock_operator.cli", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StageError(f"penstock {' '.join(arguments)}: {done.stderr.strip()}")
