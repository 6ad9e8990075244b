"""The stage of the demo: checkpoint, cluster, CRD and examples, operator process; everything taken down at the end."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from penstock_lab.cluster.local import LocalCluster
from penstock_lab.demo.scenario import NAMESPACE, PROFILE, VOCABULARY, Scenario
from penstock_lab.kubectl import kubectl
from penstock_lab.operator import OperatorProcess


class StageError(Exception):
    """A step of the set-up failed; the message holds what the failing program said."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What is running.

    Attributes:
        cluster: the control plane.
        operator: the operator's process.
    """

    cluster: LocalCluster
    operator: OperatorProcess


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
        log.unlink(missing_ok=True)
        with OperatorProcess(cluster, log=log) as operator:
            say(f"kubectl apply -n {NAMESPACE} -f {scenario.examples.name}/")
            kubectl(cluster, "apply", "-n", NAMESPACE, "-f", str(scenario.examples))
            yield Stage(cluster, operator)


def _penstock(*arguments: str) -> None:
    command = [sys.executable, "-m", "penstock_operator.cli", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StageError(f"penstock {' '.join(arguments)}: {done.stderr.strip()}")
