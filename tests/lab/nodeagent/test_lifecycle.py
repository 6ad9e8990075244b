"""How containers end and what follows: crashes, restarts, probes that give up, preStop, grace, deletion."""

import asyncio
import os
from pathlib import Path

import psutil
import pytest

from penstock_lab.kube import Resource

pytestmark = pytest.mark.cluster

DEPLOYMENTS = Resource("apps/v1", "deployments")
JOBS = Resource("batch/v1", "jobs")
READY_PROBE = {"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 1}


def main_status(pod):
    return pod["status"].get("containerStatuses", [{}])[0]


def terminated(pod):
    status = main_status(pod)
    return status.get("state", {}).get("terminated") or status.get("lastState", {}).get("terminated")


def ready(pod):
    return any(entry["type"] == "Ready" and entry["status"] == "True" for entry in pod["status"].get("conditions", ()))


async def test_crash_loop_is_explained_and_recovers(world):
    await world.apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "conf"},
            "data": {"FAIL": "checkpoint /m is broken"},
        }
    )
    await world.run_pod(
        "crash",
        env=[{"name": "FAIL", "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "FAIL", "optional": True}}}],
        terminationMessagePolicy="FallbackToLogsOnError",
        readinessProbe=READY_PROBE,
    )
    pod = await world.pod_where(
        "crash",
        lambda pod: main_status(pod).get("state", {}).get("waiting", {}).get("reason") == "CrashLoopBackOff",
        "CrashLoopBackOff",
    )
    status, end = main_status(pod), terminated(pod)
    assert (end["exitCode"], end["reason"], end["message"]) == (3, "Error", "checkpoint /m is broken")
    assert end["startedAt"] <= end["finishedAt"]
    assert "back-off" in status["state"]["waiting"]["message"]
    assert status["restartCount"] >= 1
    assert (pod["status"]["phase"], status["ready"]) == ("Running", False)
    await world.event("crash", "BackOff", "main")
    patch = {"data": {"FAIL": None}}
    await world.kube.patch(Resource("v1", "configmaps"), "conf", patch, namespace=world.namespace)
    recovered = await world.ready("crash")
    assert terminated(recovered)["exitCode"] == 3
    assert main_status(recovered)["restartCount"] == world.log("crash").count("checkpoint /m is broken")


async def test_killed_process_comes_back_in_the_same_pod_and_takes_its_children_along(world):
    await world.run_pod("killed", readinessProbe=READY_PROBE)
    pod = await world.ready("killed")
    about, child = await world.call(pod, "about"), await world.call(pod, "child")
    assert psutil.pid_exists(child)
    os.kill(about["pid"], 9)
    again = await world.pod_where(
        "killed", lambda pod: ready(pod) and main_status(pod)["restartCount"] == 1, "Ready after one restart"
    )
    assert (terminated(again)["exitCode"], terminated(again)["signal"]) == (137, 9)
    assert again["status"]["podIP"] == pod["status"]["podIP"]
    assert (await world.call(again, "about"))["pid"] != about["pid"]
    await world.end_of(child)


async def test_liveness_failure_restarts_with_grace(world):
    liveness = {"httpGet": {"path": "/alive", "port": 8000}, "periodSeconds": 1, "failureThreshold": 1}
    startup = {"tcpSocket": {"port": 8000}, "periodSeconds": 1, "failureThreshold": 30}
    await world.run_pod("live", livenessProbe=liveness, startupProbe=startup)
    pod = await world.ready("live")
    await world.call(pod, "set?alive=0")
    again = await world.pod_where(
        "live", lambda pod: ready(pod) and main_status(pod)["restartCount"] == 1, "Ready after one restart"
    )
    assert terminated(again)["exitCode"] == 0, "the app ends by itself on SIGTERM"
    assert world.log("live").split() == ["serving", "SIGTERM", "serving"]
    await world.event("live", "Killing", "failed liveness probe")


async def test_startup_probe_holds_back_readiness_and_gives_up(world):
    startup = {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 2}
    await world.run_pod("slow", startupProbe=startup, readinessProbe=READY_PROBE)
    async with world.history("slow") as seen:
        pod = await world.pod_where("slow", lambda pod: main_status(pod).get("restartCount", 0) >= 1, "a restart")
        await world.delete("slow")
    assert not any(main_status(version).get("started") or ready(version) for version in [pod, *seen])
    await world.event("slow", "Killing", "failed startup probe")


async def test_pre_stop_then_sigterm_and_the_pod_serves_meanwhile(world):
    """The pod stays Ready during preStop, ends by itself after SIGTERM, and the last status says so."""
    pre_stop = {"httpGet": {"path": "/hold", "port": "http"}}
    await world.run_pod("stop", lifecycle={"preStop": pre_stop}, readinessProbe=READY_PROBE)
    pod = await world.ready("stop")
    async with world.history("stop") as seen:
        await world.delete("stop")
        await world.log_has("stop", "holding")
        assert ready(await world.pod("stop"))
        assert "SIGTERM" not in world.log("stop")
        await world.call(pod, "release")
        await world.gone("stop")
    assert world.log("stop").split() == ["serving", "holding", "SIGTERM"]
    assert (terminated(seen[-1])["exitCode"], seen[-1]["status"]["phase"]) == (0, "Succeeded")
    assert not ready(seen[-1])


async def test_stubborn_process_is_killed_when_the_grace_is_over(world):
    await world.run_pod("stubborn", env=[{"name": "STUBBORN", "value": "1"}], readinessProbe=READY_PROBE)
    await world.ready("stubborn")
    async with world.history("stubborn") as seen:
        await world.delete("stubborn", grace_seconds=1)
        await world.gone("stubborn")
    assert "SIGTERM" in world.log("stubborn")
    assert (terminated(seen[-1])["exitCode"], terminated(seen[-1])["signal"]) == (137, 9)
    assert seen[-1]["status"]["phase"] == "Failed"


async def test_a_later_shorter_delete_is_honoured(world):
    await world.run_pod(
        "hurry",
        spec={"terminationGracePeriodSeconds": 3600},
        lifecycle={"preStop": {"sleep": {"seconds": 3000}}},
        readinessProbe=READY_PROBE,
    )
    await world.ready("hurry")
    await world.delete("hurry")
    await world.event("hurry", "Killing")
    await world.delete("hurry", grace_seconds=1)
    await world.gone("hurry")
    assert world.log("hurry").split() == ["serving", "SIGTERM"], "SIGTERM comes also when preStop used up the grace"


async def test_forced_delete_ends_the_processes(world):
    await world.run_pod("forced", env=[{"name": "STUBBORN", "value": "1"}], readinessProbe=READY_PROBE)
    pid = (await world.call(await world.ready("forced"), "about"))["pid"]
    await world.delete("forced", grace_seconds=0)
    await world.gone("forced")
    await world.end_of(pid)


async def test_scale_down_finishes_the_request_in_flight(world):
    container = {
        "name": "main",
        "image": "test/app:1",
        "ports": [{"name": "http", "containerPort": 8000}],
        "readinessProbe": READY_PROBE,
    }
    template = {"metadata": {"labels": {"app": "w"}}, "spec": {"containers": [container]}}
    spec = {"replicas": 1, "selector": {"matchLabels": {"app": "w"}}, "template": template}
    await world.apply({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "w"}, "spec": spec})
    (pod,) = await world.until(lambda: world.pods("app=w"), lambda pods: pods and ready(pods[0]), "a ready pod")
    name = pod["metadata"]["name"]
    request = asyncio.create_task(world.call(pod, "hold"))
    await world.log_has(name, "holding")
    scale = {"spec": {"replicas": 0}}
    await world.kube.patch(DEPLOYMENTS, "w", scale, namespace=world.namespace, sub="scale")
    await world.log_has(name, "SIGTERM")
    await world.call(pod, "release")
    assert await request == "held to the end"
    await world.gone(name)


@pytest.mark.parametrize(("command", "phase"), [("exit 0", "Succeeded"), ("echo why >&2; exit 7", "Failed")])
async def test_never_restarted_pod_ends_in_its_final_phase(world, command, phase):
    await world.run_pod("once", image="test/shell:1", args=[command], spec={"restartPolicy": "Never"})
    pod = await world.pod_where("once", lambda pod: pod["status"].get("phase") == phase, phase)
    assert main_status(pod)["restartCount"] == 0
    assert not ready(pod)
    await world.delete("once")
    await world.gone("once")


async def test_job_retries_on_failure_and_completes(world):
    command = "if [ -e /scratch/tried ]; then exit 0; fi; touch /scratch/tried; exit 1"
    pod = {
        "restartPolicy": "OnFailure",
        "volumes": [{"name": "scratch", "emptyDir": {}}],
        "containers": [
            {
                "name": "main",
                "image": "test/shell:1",
                "args": [command],
                "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}],
            }
        ],
    }
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}, "spec": {"template": {"spec": pod}}}
    await world.apply(job)
    await world.until(
        lambda: world.kube.get(JOBS, "j", namespace=world.namespace),
        lambda job: job["status"].get("succeeded") == 1,
        "the job to succeed",
    )


async def test_failing_init_container_keeps_the_pod_from_starting(world):
    init = {"name": "first", "image": "test/shell:1", "args": ["exit 4"]}
    await world.run_pod("init", spec={"initContainers": [init], "restartPolicy": "Never"})
    pod = await world.pod_where("init", lambda pod: pod["status"].get("phase") == "Failed", "Failed")
    assert pod["status"]["initContainerStatuses"][0]["state"]["terminated"]["exitCode"] == 4
    assert world.log("init") == ""


async def test_missing_program_is_a_start_error(world):
    await world.run_pod("broken", image="test/broken:1")
    pod = await world.pod_where("broken", terminated, "an end")
    assert (terminated(pod)["exitCode"], terminated(pod)["reason"]) == (128, "StartError")
    assert "/nowhere/to/be/found" in terminated(pod)["message"]


async def test_termination_message_file_is_reported(world):
    await world.run_pod(
        "said",
        image="test/shell:1",
        args=["echo noise; echo last words > /dev/termination-log; exit 5"],
        spec={"restartPolicy": "Never"},
        terminationMessagePolicy="FallbackToLogsOnError",
    )
    pod = await world.pod_where("said", terminated, "an end")
    assert terminated(pod)["message"] == "last words\n"


async def test_post_start_failure_restarts_the_container(world):
    hook = {"exec": {"command": ["sh", "-c", "echo not today; exit 1"]}}
    await world.run_pod("post", lifecycle={"postStart": hook})
    await world.pod_where("post", lambda pod: main_status(pod).get("restartCount", 0) >= 1, "a restart")
    await world.event("post", "FailedPostStartHook", "not today")


async def test_nothing_is_left_of_a_deleted_pod_but_its_log(world):
    await world.run_pod("tidy", readinessProbe=READY_PROBE)
    pod = await world.ready("tidy")
    folder = Path((await world.call(pod, "about"))["env"]["HOME"]).parent.parent
    assert folder.name == pod["metadata"]["uid"]
    await world.delete("tidy")
    await world.gone("tidy")

    async def exists():
        return folder.exists()

    await world.until(exists, lambda there: not there, "the pod's folder to be removed")
    assert world.log("tidy").split() == ["serving", "SIGTERM"]
