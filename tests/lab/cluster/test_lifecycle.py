"""A cluster comes up whole, and goes without a trace, in whatever way its owner ends."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys

import psutil
import pytest

from penstock_lab.cluster import ClusterError, LocalCluster
from penstock_lab.cluster.binaries import Resolver
from penstock_lab.cluster.catalog import TOOLS
from penstock_lab.cluster.errors import MismatchError, NotRunningError, StartError
from penstock_lab.cluster.settings import CLUSTER_ENV, Settings
from penstock_lab.cluster.spec import id_prefix
from waiting import eventually

from .conftest import open_ports, processes_of

IMAGES = {"test/python:*": {"argv": ["{python}"]}}
SLEEP = "import threading; threading.Event().wait()"
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "sleeper"},
    "spec": {"containers": [{"name": "main", "image": "test/python:1", "args": ["-c", SLEEP]}]},
}


def test_the_session_cluster_is_whole(cluster):
    status = cluster.status()
    assert status["ready"]
    assert set(status["health"]) == {
        "etcd",
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
        "node-agent",
        "prometheus",
    }
    assert all(status["health"].values()), status
    assert list(status["nodes"].values()) == ["Ready", "Ready"]
    listening = {
        connection.laddr.ip
        for component in status["components"]
        for connection in psutil.Process(component["pid"]).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening
    assert all(ip.startswith("127.") for ip in listening)


def test_a_second_object_uses_the_running_cluster_and_leaves_it(cluster):
    twin = LocalCluster(cluster.name, state_dir=cluster.state_dir, **same_options(cluster))
    with twin:
        assert twin.api_url == cluster.api_url
        assert twin.address_prefix == cluster.address_prefix
    assert cluster.status()["ready"]


def test_other_settings_than_those_of_the_running_cluster_are_refused(cluster):
    other = LocalCluster(cluster.name, state_dir=cluster.state_dir, **{**same_options(cluster), "nodes": 7})
    with pytest.raises(MismatchError, match=r"nodes is 2, not 7.*take it down"):
        other.up()


def same_options(cluster):
    return json.loads(json.dumps(cluster.status()["shape"]))


def test_from_the_command_line_beside_another_cluster(cluster, penstock_cluster):
    stray = subprocess.Popen(
        [sys.executable, "-c", SLEEP],
        env={CLUSTER_ENV: f"{id_prefix(penstock_cluster.state)}dead"},
        start_new_session=True,
    )
    first = penstock_cluster("up", "--no-prometheus", "--nodes=1")
    assert first.returncode == 0, first.stderr
    assert "cluster own is up" in first.stdout
    assert "killed 1 process that an earlier cluster own had left" in first.stdout
    assert stray.wait(timeout=30) == -signal.SIGKILL
    mine = record(penstock_cluster.state)
    theirs = cluster.status()
    assert mine["address_prefix"] != theirs["address_prefix"]
    ports = [{part["port"] for part in status["components"] if part["port"]} for status in (mine, theirs)]
    assert not ports[0] & ports[1]

    second = penstock_cluster("up", "--no-prometheus", "--nodes=1")
    assert second.returncode == 0, second.stderr
    assert "runs already" in second.stdout
    assert record(penstock_cluster.state)["cluster_id"] == mine["cluster_id"]
    assert penstock_cluster("kubeconfig").stdout == f"{penstock_cluster.state / 'kubeconfig'}\n"
    shown = penstock_cluster("status")
    assert shown.returncode == 0, shown.stdout
    for part in mine["components"]:
        line = next(line for line in shown.stdout.splitlines() if line.startswith(part["name"]))
        assert {str(part["pid"]), "ok", "running"} <= set(line.split())
    assert "node-1  Ready" in shown.stdout

    os.kill(pid_of(mine, "kube-apiserver"), signal.SIGKILL)
    eventually(lambda: penstock_cluster("status").returncode == 1, what="status fails once the API server was killed")
    assert "SIGKILL" in penstock_cluster("status").stdout
    os.kill(mine["supervisor"]["pid"], signal.SIGKILL)
    assert penstock_cluster("status").returncode == 3
    down = penstock_cluster("down")
    assert "cluster own is down" in down.stdout, down.stderr
    assert_nothing_is_left(mine, penstock_cluster.state)
    assert "does not run" in penstock_cluster("down").stdout
    assert penstock_cluster("kubeconfig").returncode == 3
    assert cluster.status()["ready"]


@pytest.mark.parametrize("moment", ["etcd ready", "Ctrl-C takes it down"])
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_the_end_of_its_owner_is_its_end(tmp_path, moment, end):
    state, images = tmp_path / "state", tmp_path / "images.yaml"
    images.write_text(json.dumps(IMAGES))
    options = ["--foreground", "--no-prometheus", "--name=own", f"--state-dir={state}", f"--images={images}"]
    owner = subprocess.Popen(
        [sys.executable, "-u", "-m", "penstock_lab.cluster", "up", *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        # A background job of a shell ignores SIGINT and hands that on; a person at a terminal does not.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no threads here
    )
    seen = next((line for line in owner.stdout if moment in line), None)
    assert seen, f"it never said {moment!r}"
    running = record(state)
    if "Ctrl-C" in moment:
        run_pod(state / "kubeconfig")
        assert any(SLEEP in line for line in processes_of(running["cluster_id"]))
    owner.send_signal(end)
    owner.communicate(timeout=120)
    if end == signal.SIGKILL:  # nobody could wait for it
        eventually(lambda: not processes_of(running["cluster_id"]), what="the supervisor has cleaned up")
    assert_nothing_is_left(running, state)


def record(state):
    return json.loads((state / "cluster.json").read_text())


def pid_of(status, name):
    return next(part["pid"] for part in status["components"] if part["name"] == name)


def assert_nothing_is_left(status, state):
    assert processes_of(status["cluster_id"]) == []
    assert open_ports(status) == []
    assert [path.name for path in state.glob("*")] in ([], ["logs"])


def run_pod(kubeconfig):
    command = [Resolver(Settings.from_environment()).resolve(TOOLS["kubectl"]).path, f"--kubeconfig={kubeconfig}"]
    subprocess.run([*command, "create", "-f", "-"], input=json.dumps(POD), text=True, check=True)
    subprocess.run([*command, "wait", "--for=condition=Ready", "pod/sleeper", "--timeout=120s"], check=True)


def test_a_component_that_cannot_start_is_explained_and_nothing_is_left(tmp_path):
    settings = Settings.from_environment()
    (tmp_path / "bin").mkdir()
    for name, binary in Resolver(settings).resolve_all(TOOLS).items():
        (tmp_path / "bin" / name).symlink_to(binary.path)
    etcd = tmp_path / "bin" / "etcd"
    etcd.unlink()
    etcd.write_text("#!/bin/sh\necho no room on device >&2\nexit 7\n")
    etcd.chmod(0o755)
    settings = dataclasses.replace(settings, bin_dir=etcd.parent)
    broken = LocalCluster("broken", prometheus=False, state_dir=tmp_path / "state", settings=settings)
    with pytest.raises(StartError, match=r"(?s)etcd ended with exit code 7.*no room on device"):
        broken.up()
    assert [path.name for path in broken.state_dir.glob("*")] == ["logs"]
    assert "no room on device" in broken.log("etcd").read_text()
    assert processes_of(id_prefix(broken.state_dir)) == []
    with pytest.raises(NotRunningError, match="no cluster runs in"):
        broken.status()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "Not OK"}, "name 'Not OK'"),
        ({"nodes": -1}, "nodes is -1"),
        ({"gpus_per_node": -2}, "gpus_per_node is -2"),
        ({"scrape_interval_seconds": 0}, "scrape_interval_seconds is 0"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ClusterError, match=message):
        LocalCluster(**options)


def test_a_state_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StartError, match=r"cannot write the state folder .*file/state.*XDG_STATE_HOME"):
        LocalCluster("x", state_dir=tmp_path / "file" / "state").up()
