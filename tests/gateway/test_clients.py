"""Clients that nobody here wrote: the openai package and curl."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess

import openai
import pytest

from gateway_world import MODEL, eventually
from penstock_contract import names

MESSAGES = [{"role": "user", "content": "Open the gate"}]


@pytest.fixture
async def served(world):
    service, workers = await world.serving(2)
    return service, workers


async def test_openai_sync(world, served):
    service, _workers = served

    def talk() -> None:
        with openai.OpenAI(base_url=world.base(service), api_key="none", max_retries=0) as client:
            assert [card.id for card in client.models.list().data] == [MODEL]
            ask = {"model": MODEL, "messages": MESSAGES, "max_completion_tokens": 20, "temperature": 0}
            whole = client.chat.completions.create(**ask)
            chunks = list(client.chat.completions.create(**ask, stream=True, stream_options={"include_usage": True}))
            text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
            assert text == whole.choices[0].message.content
            assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
            answer = client.completions.create(model=MODEL, prompt="The keeper", max_tokens=5)
            assert answer.usage.completion_tokens <= 5
            assert whole._request_id

    await asyncio.to_thread(talk)


async def test_openai_async_many_streams(world, served):
    service, _workers = served
    async with openai.AsyncOpenAI(base_url=world.base(service), api_key="none", max_retries=0) as client:

        async def stream(number: int) -> int:
            chunks = await client.completions.create(
                model=MODEL, prompt=[5 + number] * 9, max_tokens=30, stream=True, extra_body={"ignore_eos": True}
            )
            return len([chunk async for chunk in chunks])

        assert await asyncio.gather(*(stream(number) for number in range(20))) == [30] * 20


async def test_openai_errors(world):
    service = await world.service(routing={"maxHeldRequests": 0})
    async with openai.AsyncOpenAI(base_url=world.base(service), api_key="none", max_retries=0) as client:
        with pytest.raises(openai.RateLimitError) as refused:
            await client.completions.create(model=MODEL, prompt="x")
        assert (refused.value.code, refused.value.response.headers["Retry-After"]) == ("queue_full", "5")
    async with openai.AsyncOpenAI(base_url=f"{world.gateway.url}/v1", api_key="none", max_retries=0) as client:
        with pytest.raises(openai.NotFoundError, match="model"):
            await client.completions.create(model="nobody-serves-this", prompt="x")


async def test_openai_sees_a_stream_that_breaks(world):
    service, (worker,) = await world.serving()
    async with openai.AsyncOpenAI(base_url=world.base(service), api_key="none", max_retries=0) as client:
        stream = await client.completions.create(
            model=MODEL, prompt=[5], max_tokens=400, stream=True, extra_body={"ignore_eos": True}
        )
        for _ in range(3):
            await anext(stream)
        worker.kill()
        with pytest.raises(openai.APIError, match="broke in the middle"):
            [chunk async for chunk in stream]


async def test_openai_timeout_leaves_nothing_behind(world):
    service = await world.service()
    async with openai.AsyncOpenAI(base_url=world.base(service), api_key="none", max_retries=0, timeout=0.5) as client:
        with pytest.raises(openai.APITimeoutError):
            await client.completions.create(model=MODEL, prompt="x")
    await world.held(service, 0)
    assert await world.metric(service, "requests_failed_total", reason="client_closed") == 1


async def test_openai_retries_after_a_429(world):
    service = await world.service(routing={"maxHeldRequests": 1})
    first = asyncio.create_task(world.ask(service))
    await world.held(service, 1)
    async with openai.AsyncOpenAI(base_url=world.base(service), api_key="none", max_retries=2) as client:
        asked = asyncio.create_task(client.completions.create(model=MODEL, prompt=[5], max_tokens=2))

        async def refused() -> bool:
            return await world.metric(service, "requests_failed_total", reason="queue_full") >= 1

        await eventually(refused, "it was refused once")
        worker = await world.worker()
        await world.pod(service, worker.address)
        assert (await asked).usage.completion_tokens <= 2
    assert (await first)[0] == 200


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_curl(world, served):
    service, _workers = served
    body = json.dumps({"model": MODEL, "prompt": [5] * 4, "max_tokens": 4, "ignore_eos": True, "stream": True})
    command = ["curl", "-sS", "-N", "-i", "--max-time", "30", "-H", f"{names.HEADER_REQUEST_ID}: from-curl"]
    command += ["-H", "Content-Type: application/json", "-d", body, f"{world.base(service)}/completions"]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=True)
    head, _, text = done.stdout.partition("\n\n")
    assert head.startswith("HTTP/1.1 200 OK")
    assert f"{names.HEADER_REQUEST_ID}: from-curl" in head.lower()
    assert text.count("data: {") == 4
    assert text.endswith("data: [DONE]\n\n")
    # Expect: 100-continue, which curl sends with large bodies, and HTTP/1.0, which has no chunks
    big = json.dumps({"model": MODEL, "prompt": "x " * 100_000, "max_tokens": 1})
    command = ["curl", "-sS", "-w", "%{http_code}", "-o", "/dev/null", "-H", "Expect: 100-continue", "-d", "@-"]
    url = f"{world.base(service)}/completions"
    done = await asyncio.to_thread(
        subprocess.run, [*command, "-v", url], input=big, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "400", "the worker says that it is too long"
    assert "< HTTP/1.1 100 Continue" in done.stderr
    old = ["curl", "-sS", "-0", "-d", body, url]
    done = await asyncio.to_thread(subprocess.run, old, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.count("data: {") == 4
