"""The real kubectl against a local cluster."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from penstock_lab.cluster.local import LocalCluster


class KubectlError(Exception):
    """kubectl failed; the message holds what it printed to stderr."""


def kubectl(cluster: LocalCluster, *arguments: str, stdin: str | None = None) -> str:
    """Run kubectl and return what it printed.

    Args:
        cluster: which cluster.
        arguments: the command line.
        stdin: what it reads, for `-f -`.

    Raises:
        KubectlError: it failed.
    """
    command = [str(cluster.bin("kubectl")), f"--kubeconfig={cluster.kubeconfig}", *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        raise KubectlError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def kubectl_json(cluster: LocalCluster, *arguments: str) -> Any:
    """Run kubectl with `-o json` and decode what it printed; see `kubectl`."""
    return json.loads(kubectl(cluster, *arguments, "-o", "json"))
