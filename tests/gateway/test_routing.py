"""Where requests go: services by path and by model, workers by work, and nobody who drains."""

from __future__ import annotations

import asyncio
import json

import pytest

from gateway_world import MODEL, NAMESPACE, SLOTS, eventually
from penstock_contract import names

LIMIT = SLOTS + 1  # what a worker runs, and one that waits in it


async def test_completions_and_chat_come_back_as_the_worker_gave_them(world):
    service, (worker,) = await world.serving()
    body = {"model": MODEL, "prompt": [5] * 8, "max_tokens": 12, "temperature": 0, "ignore_eos": True}
    async with world.http.post(f"{worker.url}/v1/completions", json=body) as response:
        direct = await response.json()
    status, answer = await world.ask(service, tokens=12)
    assert status == 200
    assert answer["choices"] == direct["choices"]
    assert answer["usage"]["completion_tokens"] == 12

    _status, stream = await world.ask(service, tokens=12, stream=True)
    events = [event.removeprefix("data: ") for event in stream.split("\n\n") if event]
    assert events.pop() == "[DONE]"
    assert "".join(json.loads(event)["choices"][0]["text"] for event in events) == direct["choices"][0]["text"]

    chat = {"model": MODEL, "messages": [{"role": "user", "content": "Open the gate"}], "max_tokens": 5}
    async with world.http.post(f"{world.base(service)}/chat/completions", json=chat) as response:
        assert (await response.json())["choices"][0]["message"]["role"] == "assistant"


async def test_equal_requests_spread_over_the_workers(world):
    service, workers = await world.serving(3, device={"step_seconds": 0.01})
    streams = [asyncio.create_task(world.ask(service, tokens=150)) for _ in range(6)]

    async def running() -> bool:
        return sum([await world.of_worker(worker, "requests_running") for worker in workers]) == 6

    await eventually(running, "all run")
    assert [await world.of_worker(worker, "requests_running") for worker in workers] == [2, 2, 2]
    assert {status for status, _answer in await asyncio.gather(*streams)} == {200}


async def test_work_counts_not_requests(world):
    service, workers = await world.serving(2, device={"step_seconds": 0.005})
    long = asyncio.create_task(world.ask(service, tokens=400))

    async def started() -> bool:
        return sum([await world.of_worker(worker, "requests_running") for worker in workers]) == 1

    await eventually(started, "the long request runs")
    assert {status for status, _ in await asyncio.gather(*(world.ask(service, tokens=5) for _ in range(3)))} == {200}
    assert sorted([await world.of_worker(worker, "requests_arrived_total") for worker in workers]) == [1, 3]
    assert (await long)[0] == 200


async def test_a_conversation_finds_its_prefix_in_the_cache(world):
    service, workers = await world.serving(3, device={"step_seconds": 0.001})
    prompt = list(range(5, 500))
    for turn in range(6):
        assert (await world.ask(service, prompt=prompt + [7] * 10 * turn, tokens=2))[0] == 200
    arrived = [await world.of_worker(worker, "requests_arrived_total") for worker in workers]
    assert sorted(arrived) == [0, 0, 6]
    warm = workers[arrived.index(6)]
    assert await world.of_worker(warm, "prompt_tokens_cached_total") >= 5 * 480


async def test_what_a_worker_cannot_run_waits_for_whoever_comes(world):
    service, (first,) = await world.serving(device={"step_seconds": 0.01})
    asked = [asyncio.create_task(world.ask(service, tokens=100)) for _ in range(3 * LIMIT)]
    await world.held(service, 2 * LIMIT)
    await world.reaches(first, "requests_arrived_total", LIMIT)
    second = await world.worker(step_seconds=0.01)
    await world.pod(service, second.address)
    await world.held(service, LIMIT)
    await world.reaches(second, "requests_arrived_total", LIMIT)
    assert {status for status, _answer in await asyncio.gather(*asked)} == {200}
    arrived = [await world.of_worker(worker, "requests_arrived_total") for worker in (first, second)]
    assert sum(arrived) == 3 * LIMIT


async def test_draining_can_be_taken_back_until_the_pod_goes(world):
    service, (one, other) = await world.serving(2)
    pods = [pod["metadata"]["name"] for pod in await world.pods(service)]
    asked = [asyncio.create_task(world.ask(service, tokens=150)) for _ in range(2)]
    await world.reaches(one, "requests_running", 1)
    await world.reaches(other, "requests_running", 1)
    await world.annotate(pods[0], draining="2026-11-21T10:00:00Z")
    await world.logged(f"worker={NAMESPACE}/{pods[0]} ready=True leaving=True")
    for _ in range(3):
        assert (await world.ask(service))[0] == 200
    assert await world.of_worker(one, "requests_arrived_total") == 1
    assert await world.of_worker(other, "requests_arrived_total") == 4
    await world.annotate(pods[0], draining=None)
    await world.logged(f"worker={NAMESPACE}/{pods[0]} ready=True leaving=False", times=2)
    await world.annotate(pods[1], draining="false")  # its presence says it
    await world.logged(f"worker={NAMESPACE}/{pods[1]} ready=True leaving=True")
    assert (await world.ask(service))[0] == 200
    assert await world.of_worker(one, "requests_arrived_total") == 2
    assert [status for status, _answer in await asyncio.gather(*asked)] == [200, 200], "what is in flight finishes"


async def test_a_pod_that_is_being_deleted_gets_nothing_new(world):
    service, (one, other) = await world.serving(2)
    pods = [pod["metadata"]["name"] for pod in await world.pods(service)]
    await world.delete_slowly(pods[0])
    await world.logged(f"worker={NAMESPACE}/{pods[0]} ready=True leaving=True")
    for _ in range(3):
        assert (await world.ask(service))[0] == 200
    assert await world.of_worker(one, "requests_arrived_total") == 0
    assert await world.of_worker(other, "requests_arrived_total") == 3


async def test_a_pod_that_is_not_ready_gets_nothing(world):
    service, (one,) = await world.serving()
    other = await world.worker()
    await world.pod(service, other.address, ready=False)
    assert {status for status, _ in await asyncio.gather(*(world.ask(service) for _ in range(LIMIT)))} == {200}
    assert await world.of_worker(other, "requests_arrived_total") == 0
    assert await world.of_worker(one, "requests_arrived_total") == LIMIT


async def test_a_model_of_one_service_needs_no_path(world):
    service, (worker,) = await world.serving(model="only-here", device={"name": "only-here"})
    body = {"model": "only-here", "prompt": [5], "max_tokens": 3}
    async with world.http.post(f"{world.gateway.url}/v1/completions", json=body) as response:
        assert (response.status, (await response.json())["model"]) == (200, "only-here")
    assert await world.of_worker(worker, "requests_arrived_total") == 1
    assert await world.metric(service, "requests_arrived_total") == 1


async def test_a_model_of_several_services_is_refused_with_their_paths(world):
    one, other = await world.service(model="twice"), await world.service(model="twice")
    for model, named in (("twice", [f"/{NAMESPACE}/{one}/v1", f"/{NAMESPACE}/{other}/v1"]), ("nowhere", ["twice"])):
        body = {"model": model, "prompt": "x"}
        async with world.http.post(f"{world.gateway.url}/v1/completions", json=body) as response:
            assert response.status == 404
            error = (await response.json())["error"]
        assert (error["code"], error["param"]) == ("model_not_found", "model")
        assert [name for name in named if name not in error["message"]] == []


async def test_models_are_listed_without_asking_a_worker(world):
    service = await world.service(model="sleeping")
    async with world.http.get(f"{world.base(service)}/models") as response:
        (card,) = (await response.json())["data"]
    assert (card["id"], card["object"], card["owned_by"]) == ("sleeping", "model", NAMESPACE)
    assert card["created"] > 0
    async with world.http.get(f"{world.gateway.url}/v1/models") as response:
        assert card in (await response.json())["data"]


@pytest.mark.parametrize(
    ("request_line", "body", "status", "code"),
    [
        ("POST /{ns}/nobody/v1/completions", "{}", 404, "service_not_found"),
        ("POST /v1/embeddings", "{}", 404, None),
        ("POST /drain", "{}", 404, None),
        ("POST /{ns}/{service}/drain", "{}", 404, None),
        ("GET /{ns}/{service}/metrics", "", 404, None),
        ("POST /{ns}/{service}/v1/../drain", "{}", 404, None),
        ("POST /{ns}/{service}/v1/%2e%2e/drain", "{}", 404, None),
        ("GET /", "", 404, None),
        ("GET /{ns}/{service}/v1/completions", "", 405, None),
        ("POST /v1/models", "", 405, None),
        ("POST /{ns}/{service}/v1/completions", "{", 400, None),
        ("POST /{ns}/{service}/v1/completions", "[1]", 400, None),
        ("POST /{ns}/{service}/v1/completions", "DEEP", 400, None),
        ("POST /v1/completions", '{"prompt": "x"}', 400, None),
    ],
)
async def test_refusals_are_openai_errors(world, request_line, body, status, code):
    service = await world.service()
    method, path = request_line.split()
    url = world.gateway.url + path.format(ns=NAMESPACE, service=service)
    headers = {names.HEADER_REQUEST_ID: "mine"}
    async with world.http.request(
        method, yarl_raw(url), data=body.replace("DEEP", "[" * 9000) or None, headers=headers
    ) as response:
        assert response.status == status
        error = (await response.json())["error"]
        assert response.headers[names.HEADER_REQUEST_ID] == "mine"
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == code
    assert await world.metric(service, "requests_arrived_total") == 0


def yarl_raw(url: str):
    """The URL as it is spelled."""
    from yarl import URL

    return URL(url, encoded=True)


async def test_what_the_worker_refuses_is_passed_on(world):
    service, _workers = await world.serving()
    status, answer = await world.ask(service, temperature=-1)
    assert (status, answer["error"]["param"]) == (400, "temperature")
    status, answer = await world.ask(service, model="another")
    assert (status, answer["error"]["code"]) == (404, "model_not_found")


async def test_request_ids_are_passed_through_or_made(world):
    service, _workers = await world.serving()
    async with world.post(service) as response:
        made = response.headers[names.HEADER_REQUEST_ID]
    body = {"prompt": [5], "max_tokens": 2, "stream": True}
    for path in ("completions", "models"):
        method = "GET" if path == "models" else "POST"
        url = f"{world.base(service)}/{path}"
        headers = {names.HEADER_REQUEST_ID: "abc-1"}
        async with world.http.request(method, url, json=body, headers=headers) as response:
            assert response.status == 200
            assert response.headers.getall(names.HEADER_REQUEST_ID) == ["abc-1"]
    assert len(made) == 32
