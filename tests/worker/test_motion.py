"""The worker in motion: loading, clients that leave, drain, pace, counts, a dead engine."""

from __future__ import annotations

import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from worker_process import until


def test_before_the_model_is_there_requests_are_sent_elsewhere(serve, qwen):
    worker = serve(qwen, attach=False)
    refused = worker.complete(prompt="x")
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
    assert requests.get(f"{worker.url}/health", timeout=30).json()["status"] == "loading"
    assert requests.get(f"{worker.url}/ready", timeout=30).status_code == 503
    assert worker.metric("ready_timestamp_seconds") == 0
    worker.attach()
    assert worker.complete(prompt="x", max_tokens=1).status_code == 200
    assert requests.get(f"{worker.url}/ready", timeout=30).status_code == 200
    assert abs(worker.metric("ready_timestamp_seconds") - time.time()) < 3600  # noqa: TID251 - it is a wall-clock time


def idle(worker) -> bool:
    return (
        worker.metric("requests_running") == worker.metric("requests_waiting") == worker.metric("kv_tokens_used") == 0
    )


@pytest.mark.parametrize("stream", [True, False])
def test_client_that_leaves_frees_its_slot(slow, stream):
    """The request would last ten seconds more; its slot is free as soon as the step that was running ends."""
    aborted = slow.metric("requests_finished_total", reason="abort")
    body = json.dumps({"prompt": [7] * 40, "max_tokens": 500, "ignore_eos": True, "stream": stream}).encode()
    host, port = slow.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as client:
        head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        client.sendall(head.encode() + body)
        until(lambda: slow.metric("requests_running") == 1, "it runs")
        if stream:
            assert client.recv(100).startswith(b"HTTP/1.1 200")
        assert slow.metric("kv_tokens_used") >= 40
        steps = slow.metric("engine_steps_total")
    until(lambda: idle(slow), "the slot is free", seconds=20)
    assert slow.metric("requests_finished_total", reason="abort") == aborted + 1
    # 0.5 s are 25 steps of this device.
    assert slow.metric("engine_steps_total") - steps < 25


def test_waiting_requests_can_be_abandoned_too(slow):
    body = {"prompt": [[token] * 30 for token in range(3, 15)], "max_tokens": 300, "ignore_eos": True}
    aborted = slow.metric("requests_finished_total", reason="abort")
    with requests.Session() as session, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(session.post, f"{slow.url}/v1/completions", json=body | {"stream": True}, stream=True)
        until(lambda: slow.metric("requests_running") == 8 and slow.metric("requests_waiting") == 4, "8 slots")
        asked.result().close()
    until(lambda: idle(slow), "all twelve are gone")
    assert slow.metric("requests_finished_total", reason="abort") == aborted + 12


def test_drain_refuses_new_requests_finishes_the_old_ones_and_can_be_cancelled(slow):
    body = {"prompt": [5] * 9, "max_tokens": 40, "ignore_eos": True}
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(slow.complete, **body) for _ in range(4)]
        until(lambda: slow.metric("requests_running") == 4, "all run")
        state = requests.post(f"{slow.admin_url}/drain", json={"timeout_seconds": 60}, timeout=30).json()
        assert state == {"draining": True, "running": 4, "waiting": 0}
        refused = slow.complete(**body)
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
        assert refused.json()["error"]["type"] == "service_unavailable"
        assert requests.get(f"{slow.url}/ready", timeout=30).status_code == 503
        assert requests.get(f"{slow.url}/health", timeout=30).json()["status"] == "draining"
        assert slow.metric("draining") == 1
        answers = [each.result() for each in asked]
    assert [answer.status_code for answer in answers] == [200] * 4
    assert all(answer.json()["usage"]["completion_tokens"] == 40 for answer in answers)
    assert requests.get(f"{slow.admin_url}/drain", timeout=30).json() == {"draining": True, "running": 0, "waiting": 0}
    assert requests.delete(f"{slow.admin_url}/drain", timeout=30).json()["draining"] is False
    assert slow.complete(prompt=[5], max_tokens=1).status_code == 200
    assert slow.metric("draining") == 0


def test_drain_is_a_lease(slow):
    assert requests.post(f"{slow.admin_url}/drain", json={"timeout_seconds": 0.2}, timeout=30).json()["draining"]
    until(lambda: requests.get(f"{slow.url}/ready", timeout=30).status_code == 200, "the drain ends by itself")
    for bad in ({"timeout_seconds": 0}, {"timeout_seconds": "x"}, []):
        response = requests.post(f"{slow.admin_url}/drain", json=bad, timeout=30)
        assert (response.status_code, set(response.json())) == (400, {"error"})


def test_steps_last_as_long_as_the_profile_says(slow, slow_profile):
    """Counters against the step model: exact where a step was in time, longer where it overran."""

    until(lambda: idle(slow), "nothing else runs")

    def work() -> dict[str, float]:
        names = ("engine_steps", "decode_sequence_steps", "kv_token_steps", "prefill_tokens_computed")
        wanted = (*names, "prefill_token_length", "engine_step_seconds", "emulated_step_overruns")
        return {name: slow.metric(f"{name}_total") for name in wanted}

    before = work()
    with ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(slow.complete, prompt=[n] * 60, max_tokens=30, ignore_eos=True) for n in range(3, 9)]
        assert [each.result().status_code for each in asked] == [200] * 6
    spent = {name: value - before[name] for name, value in work().items()}
    model = slow_profile.model
    due = model.c0 * spent["engine_steps"] + model.cB * spent["decode_sequence_steps"]
    due += model.cKV * spent["kv_token_steps"] + model.cP * spent["prefill_tokens_computed"]
    due += model.cPP * spent["prefill_token_length"]
    assert spent["decode_sequence_steps"] == 6 * 29
    assert spent["engine_step_seconds"] / due >= 1 - 1e-9
    if not spent["emulated_step_overruns"]:
        assert spent["engine_step_seconds"] == pytest.approx(due)


def test_counters_are_conserved_over_http_with_preemptions_and_departures(serve, qwen, slow_profile):
    worker = serve(qwen, profile=slow_profile, kv_cache_tokens=256, max_model_len=128)
    with ThreadPoolExecutor(8) as pool:
        asked = [
            pool.submit(worker.complete, prompt=[token] * 40, max_tokens=30, ignore_eos=True) for token in range(3, 11)
        ]
        assert [each.result().status_code for each in asked] == [200] * 8
    assert worker.metric("preemptions_total") > 0
    computed, prompt = worker.metric("prefill_tokens_computed_total"), worker.metric("prompt_tokens_total")
    cached, recomputed = worker.metric("prompt_tokens_cached_total"), worker.metric("recomputed_tokens_total")
    assert recomputed > 0
    assert prompt == 320
    assert computed == prompt - cached + recomputed
    assert worker.metric("generated_tokens_total") == 240
    assert worker.metric("decode_sequence_steps_total") == 240 - 8


def test_dead_engine_answers_and_says_so(serve, qwen):
    worker = serve(qwen)
    broken = threading.Event()

    def fail(_plan):
        broken.set()
        raise RuntimeError("device lost")

    worker.engine._runner.run = fail
    answer = worker.complete(prompt="x")
    assert broken.is_set()
    assert (answer.status_code, answer.json()["error"]["type"]) == (500, "internal_error")
    until(lambda: requests.get(f"{worker.url}/health", timeout=30).status_code == 503, "health says it")
    assert worker.complete(prompt="x").status_code == 500
    assert worker.metric("requests_finished_total", reason="error") == 1
