"""The worker as Kubernetes runs it: one process from start to SIGTERM."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
import requests

from penstock_contract import names
from worker_process import WorkerProcess, free_ports, until


@pytest.fixture
def profile(tmp_path, slow_profile):
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(slow_profile.to_json() | {"startup_seconds": 1.5}))
    return path


@pytest.mark.slow
def test_from_loading_to_drained(qwen, tmp_path, profile):
    arguments = [f"--model={qwen}", "--served-model-name=tiny", f"--emulate-device={profile}"]
    with WorkerProcess(*arguments, folder=tmp_path) as worker, ThreadPoolExecutor(8) as pool:
        worker.wait_listening()
        assert worker.status("/ready") == 503
        assert worker.complete(prompt="x").status_code == 503
        worker.wait_ready()
        health = requests.get(f"{worker.url}/health", timeout=30).json()
        assert health == {"status": "ready", "model": "tiny", "emulated": "slow"}
        assert worker.scrape()["penstock_worker_model_load_seconds", ()] >= 1.5

        client = openai.OpenAI(base_url=f"{worker.url}/v1", api_key="none", max_retries=0)
        ask = {"model": "tiny", "prompt": [5] * 20, "max_tokens": 60, "extra_body": {"ignore_eos": True}}
        stream = iter(client.completions.create(**ask, stream=True))
        next(stream)
        asked = [pool.submit(client.completions.create, **ask) for _ in range(7)]
        until(lambda: worker.scrape()["penstock_worker_requests_running", ()] == 8, "all run")
        worker.terminate()
        until(lambda: worker.status("/ready") == 503, "it says that it goes")
        with pytest.raises(openai.InternalServerError) as refused:
            client.completions.create(**ask)
        assert (refused.value.status_code, refused.value.response.headers["Retry-After"]) == (503, "1")
        assert len(list(stream)) == 59
        assert [each.result().usage.completion_tokens for each in asked] == [60] * 7
        assert worker.exit_status() == 0, worker.log
        client.close()
    assert [line.split("event=")[1].split()[0] for line in worker.log.splitlines()] == [
        "listening",
        "ready",
        "terminating",
        "stopped",
    ]


def test_signal_while_loading_ends_it_at_once(qwen, tmp_path, profile):
    with WorkerProcess(f"--model={qwen}", f"--emulate-device={profile}", folder=tmp_path) as worker:
        worker.wait_listening()
        worker.terminate()
        assert worker.exit_status() == 0, worker.log


@pytest.mark.slow
def test_second_signal_cuts_off_what_is_in_flight(qwen, tmp_path, profile):
    with (
        WorkerProcess(f"--model={qwen}", f"--emulate-device={profile}", folder=tmp_path) as worker,
        ThreadPoolExecutor(1) as pool,
    ):
        worker.wait_ready()
        asked = pool.submit(worker.complete, prompt=[5], max_tokens=2000, ignore_eos=True)
        until(lambda: worker.scrape()["penstock_worker_requests_running", ()] == 1, "it runs")
        worker.terminate()
        until(lambda: worker.status("/ready") == 503, "it waits for the request")
        worker.terminate()
        assert worker.exit_status() == 1, worker.log
        assert (asked.result().status_code, asked.result().json()["error"]["type"]) == (500, "internal_error")


def test_port_in_use_is_one_line(qwen, tmp_path, served):
    port = served.url.rsplit(":", 1)[1]
    (admin_port,) = free_ports(1)
    command = [sys.executable, "-m", "penstock_worker", "serve", "--host=127.0.0.1", f"--model={qwen}"]
    done = subprocess.run(
        [*command, f"--port={port}", f"--admin-port={admin_port}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr == (f"penstock-worker: error: cannot listen on 127.0.0.1 port {port}: Address already in use\n")


def test_drain_command_waits_for_what_is_in_flight(slow):
    admin_port = slow.admin_url.rsplit(":", 1)[1]
    command = [sys.executable, "-m", "penstock_worker", "drain", "--wait", f"--admin-port={admin_port}"]
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(slow.complete, prompt=[5] * 9, max_tokens=60, ignore_eos=True)
        until(lambda: slow.metric("requests_running") == 1, "it runs")
        done = subprocess.run([*command, "--settle-seconds=0"], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert slow.metric("requests_running") + slow.metric("requests_waiting") == 0
        assert asked.result().status_code == 200
        assert slow.metric("draining") == 1
        assert requests.delete(f"{slow.admin_url}/drain", timeout=30).status_code == 200


def test_drain_command_gives_up_in_time_and_accepts_that_nobody_is_there(slow):
    admin_port = slow.admin_url.rsplit(":", 1)[1]
    command = [sys.executable, "-m", "penstock_worker", "drain", "--settle-seconds=0", "--timeout-seconds=0.1"]
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(slow.complete, prompt=[5] * 9, max_tokens=400, ignore_eos=True, stream=True)
        until(lambda: slow.metric("requests_running") == 1, "it runs")
        done = subprocess.run([*command, f"--admin-port={admin_port}"], capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert done.stderr == "penstock-worker: error: 1 requests in flight after 0.1 s\n"
        slow.call(_abort_all(slow))
        asked.result()
    requests.delete(f"{slow.admin_url}/drain", timeout=30)
    (nobody,) = free_ports(1)
    assert subprocess.run([*command, f"--admin-port={nobody}"], check=False).returncode == 0


async def _abort_all(worker) -> None:
    for request in worker.engine.scheduler.requests:
        worker.thread.finish(request.id, "abort")


def test_names_of_the_contract_are_the_defaults():
    help_text = subprocess.run(
        [sys.executable, "-m", "penstock_worker", "serve", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert f"default: {names.HTTP_PORT}" in help_text
    assert f"default: {names.ADMIN_PORT}" in help_text
    assert names.BIND_ADDRESS_ENV in help_text
