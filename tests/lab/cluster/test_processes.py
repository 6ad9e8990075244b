"""No process of a cluster can be lost."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys

import pytest

from penstock_lab.cluster import processes
from penstock_lab.cluster.podlogs import find_logs, follow
from penstock_lab.cluster.settings import CLUSTER_ENV
from waiting import eventually

SLEEP = "import threading; threading.Event().wait()"
PARENT = f"""
import signal, subprocess, sys
from penstock_lab.cluster.processes import dies_with_parent
before_exec = dies_with_parent(signal.Signals(int(sys.argv[1])))
child = subprocess.Popen([sys.executable, "-c", "{SLEEP}"], preexec_fn=before_exec, stdout=subprocess.DEVNULL)
print(child.pid, flush=True)
sys.stdin.read()
"""
RUNAWAY = f"""
import os, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "{SLEEP}"], start_new_session=True)
os._exit(0)
"""


def test_a_runaway_of_a_dead_parent_is_swept(tmp_path):
    mark = secrets.token_hex(6)
    env = {**os.environ, CLUSTER_ENV: f"{mark}-1"}
    subprocess.run([sys.executable, "-c", RUNAWAY], env=env, start_new_session=True, check=True)
    (lost,) = eventually(lambda: processes.find(mark), what="the runaway found by its environment")
    assert processes.find(f"{mark}-2") == []
    assert processes.sweep(mark) == 1
    assert processes.start_time(lost.pid) is None
    assert processes.sweep(mark) == 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_child_dies_with_its_parent(number):
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(int(number))], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    child = int(parent.stdout.readline())
    assert processes.start_time(child) is not None
    parent.kill()
    parent.communicate()
    eventually(lambda: processes.start_time(child) is None, what="the end of the orphan")


def test_logs_are_found_by_pod_and_container(tmp_path):
    (tmp_path / "team-a_chat-1_main.log").write_text("one\ntwo\n")
    (tmp_path / "team-a_chat-1_side.log").write_text("three")
    (tmp_path / "team-b_chat-1_main.log").write_text("other\n")
    (tmp_path / "agent.log").write_text("not a container's\n")
    assert len(find_logs(tmp_path)) == 3
    both = find_logs(tmp_path, pod="chat-1", namespace="team-a")
    assert list(follow(both, following=False)) == ["[main] one", "[main] two", "[side] three"]
    one = find_logs(tmp_path, pod="chat-1", namespace="team-a", container="main")
    assert list(follow(one, following=False)) == ["one", "two"]
    assert find_logs(tmp_path, pod="chat") == []


def test_logs_are_followed_line_by_line(tmp_path):
    path = tmp_path / "a_b_c.log"
    path.write_text("one\nhal")
    lines = follow(find_logs(tmp_path), following=True)
    assert next(lines) == "one"
    with path.open("a") as file:
        file.write("f\n")
    assert next(lines) == "half"
