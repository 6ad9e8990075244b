"""Containers forked from a process with their imports: no difference but the time that it takes."""

import os
import signal

import psutil
import pytest

from penstock_lab.nodeagent import strays

pytestmark = pytest.mark.cluster

IP = {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
PROBE = {"tcpSocket": {"port": 8000}, "periodSeconds": 1}


def main_status(pod):
    return pod["status"].get("containerStatuses", [{}])[0]


def terminated(pod):
    return main_status(pod).get("state", {}).get("terminated")


def processes(pod):
    return [psutil.Process(pid) for pid in strays.find([f"PENSTOCK_POD_UID={pod['metadata']['uid']}"])]


async def run_server(world, name):
    await world.run_pod(name, image="test/warm:1", args=["--bind", "$(IP)", "8000"], env=[IP], readinessProbe=PROBE)
    return await world.ready(name)


async def test_fork_bears_its_own_marks_and_ends_as_any_process(world):
    pod = await run_server(world, "warm")
    (process,) = processes(pod)
    assert "zygote" in " ".join(process.parent().cmdline())
    assert os.getsid(process.pid) == process.pid
    assert f"process://{process.environ()['PENSTOCK_CONTAINER_ID']}" == main_status(pod)["containerID"]
    async with world.history("warm") as seen:
        await world.delete("warm")
        await world.gone("warm")
    end = terminated(seen[-1])
    assert (end["exitCode"], end["signal"]) == (143, 15)
    assert processes(pod) == []


async def run_code(world, name, code, *, image="test/timeit:1", **container):
    await world.run_pod(
        name,
        image=image,
        args=[code],
        spec={"restartPolicy": "Never"},
        terminationMessagePolicy="FallbackToLogsOnError",
        **container,
    )
    return await world.pod_where(name, terminated, "an end")


async def test_fork_has_its_own_environment_folder_and_imports(world):
    code = "import os, sys; print(os.environ['X'], os.getenv('IP'), 'decimal' in sys.modules, os.getcwd())"
    pod = await run_code(world, "env", code, env=[{"name": "X", "value": "1"}, IP])
    assert terminated(pod)["exitCode"] == 0
    x, ip, imported, folder = world.log("env").splitlines()[0].split()
    assert (x, ip, imported) == ("1", pod["status"]["podIP"], "True")
    assert pod["metadata"]["uid"] in folder


async def test_failure_of_a_fork_is_reported_with_its_last_words(world):
    pod = await run_code(world, "fail", "import sys; sys.exit('no such checkpoint')")
    assert terminated(pod)["exitCode"] == 1
    assert "no such checkpoint" in terminated(pod)["message"]


async def test_variables_that_are_read_at_start_lead_to_a_process_of_its_own(world):
    code = "import sys; print('decimal' in sys.modules, sys.flags.optimize)"
    await run_code(world, "own", code, env=[{"name": "PYTHONOPTIMIZE", "value": "1"}])
    assert world.log("own").startswith("False 1")


async def test_modules_that_cannot_be_imported_cost_nothing_but_the_attempt(world):
    pod = await run_code(world, "bare", "print('ran')", image="test/unloadable:1")
    assert terminated(pod)["exitCode"] == 0
    assert world.log("bare").startswith("ran")


async def test_death_of_the_zygote_is_a_crash_of_its_containers(world):
    pod = await run_server(world, "orphan")
    (process,) = processes(pod)
    os.kill(process.ppid(), signal.SIGKILL)
    again = await world.pod_where("orphan", lambda pod: main_status(pod).get("restartCount") == 1, "a restart")
    assert main_status(again)["lastState"]["terminated"]["exitCode"] == 137
    await world.ready("orphan")
    assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
