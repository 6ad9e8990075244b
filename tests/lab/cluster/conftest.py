from __future__ import annotations

import socket
import subprocess
import sys

import psutil
import pytest

from penstock_lab.cluster import processes
from penstock_lab.cluster.settings import SUPERVISOR_ENV


def processes_of(cluster_id):
    """Command lines of every process of a cluster, its supervisor included."""
    found = processes.find(cluster_id) + processes.find(cluster_id, variable=SUPERVISOR_ENV)
    lines = []
    for process in found:
        try:
            lines.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return lines


def open_ports(status):
    """Those ports of a cluster, as `status` described it, that still accept connections."""
    found = []
    for component in status["components"]:
        with socket.socket() as probe:
            if component["port"] and probe.connect_ex(("127.0.0.1", component["port"])) == 0:
                found.append(component["name"])
    return found


@pytest.fixture
def penstock_cluster(tmp_path):
    """Run `penstock cluster …` on a cluster of this test's own, which is gone afterwards."""
    state = tmp_path / "state"

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "penstock_lab.cluster", *arguments, "--name=own", f"--state-dir={state}"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )

    run.state = state
    yield run
    run("down")
