"""The end of a gateway: who is served may finish, who cannot is told, and the operator is answered to the last."""

from __future__ import annotations

import asyncio
import json
import signal

import aiohttp
import pytest

from gateway_world import NAMESPACE, eventually, raw

EVENT = b'data: {"choices":[{"index":0,"text":"x"}]}\n\n'


async def test_the_end_waits_for_requests_and_takes_new_ones_until_then(world):
    service, _workers = await world.serving()
    gateway = await world.start_gateway(drain_seconds="30")
    await world.open(service, 1, gateway)
    async with world.post(service, tokens=100, stream=True, gateway=gateway) as stream:
        await stream.content.readuntil(b"\n\n")
        held = await world.service(known=False)
        await eventually(lambda: world.demand(held, gateway), "the second gateway knows it too")
        waiting = asyncio.create_task(world.ask(held, gateway=gateway))
        gateway.child.signal(signal.SIGTERM)

        async def not_ready() -> bool:
            async with world.http.get(f"{gateway.admin_url}/readyz") as response:
                return response.status == 503

        await eventually(not_ready, "it says that it goes")
        async with world.http.get(f"{gateway.admin_url}/livez") as response:
            assert response.status == 200
        async with world.post(service, tokens=2, gateway=gateway) as late:
            assert late.status == 200
            assert late.headers["Connection"] == "close"
        assert (await stream.content.read()).endswith(b"data: [DONE]\n\n")
        worker = await world.worker()
        await world.pod(held, worker.address)
        assert (await waiting)[0] == 200
    assert await asyncio.to_thread(gateway.child.wait) == 0
    assert "event=stopped status=0" in gateway.child.log


async def test_the_end_comes_when_the_time_is_over(world):
    service, (worker,) = await world.serving()
    gateway = await world.start_gateway(drain_seconds="0.5")
    await world.open(service, 1, gateway)
    async with world.post(service, tokens=2000, stream=True, gateway=gateway) as stream:
        await stream.content.readuntil(b"\n\n")
        gateway.child.signal(signal.SIGTERM)
        with pytest.raises(aiohttp.ClientPayloadError):
            await stream.content.read()
    assert await asyncio.to_thread(gateway.child.wait) == 1
    await world.reaches(worker, "requests_running", 0)


async def test_the_end_is_told_to_those_who_are_still_served(world, odd_worker):
    """A held request, one whose worker is silent, a stream; one that never comes in full makes the end take long."""

    async def answer(call):
        if b"silent" not in call.body:
            await call.stream(EVENT, end=False)
        await asyncio.Event().wait()

    gateway = await world.start_gateway(drain_seconds="0.5")
    service, _server = await odd_worker(answer)
    await world.open(service, 1, gateway)
    empty = await world.service(known=False)
    await eventually(lambda: world.demand(empty, gateway), "the second gateway knows it too")
    with raw("127.0.0.1", gateway.port) as stuck:
        head = f"POST /{NAMESPACE}/{service}/v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"
        stuck.sendall(head.encode() + b"{")
        async with world.post(service, stream=True, gateway=gateway) as stream:
            assert await stream.content.readuntil(b"\n\n") == EVENT
            held = asyncio.create_task(refused(world, empty, gateway))
            silent = asyncio.create_task(refused(world, service, gateway, prompt="silent"))

            async def waiting() -> bool:
                held = (await world.demand(empty, gateway))["held"]
                return (held, (await world.demand(service, gateway))["in_flight"]) == (1, 2)

            await eventually(waiting, "all wait")
            gateway.child.signal(signal.SIGTERM)
            assert (await world.demand(empty, gateway))["held"] == 1, "told while it drains"
            text = b""
            try:
                async for chunk in stream.content.iter_any():
                    text += chunk
            except aiohttp.ClientPayloadError:
                text += b"cut"
            assert text.endswith(b"\n\ncut")
            text = text.removesuffix(b"cut")
            assert json.loads(text.strip().removeprefix(b"data: "))["error"]["code"] == "stream_broken"
        for one in (held, silent):
            status, retry, code = await one
            assert (status, code) == (503, "shutdown")
            assert int(retry) > 0
        assert await closed(gateway.port)
        # Nobody can ask for anything any more, and the operator still gets an answer.
        demand = await world.demand(empty, gateway)
        assert (demand["arrived"], demand["held"]) == (1, 0)
        assert await world.metric(empty, "requests_failed_total", reason="shutdown", gateway=gateway) == 1
        assert await world.metric(service, "requests_failed_total", reason="shutdown", gateway=gateway) == 1
        assert await world.metric(service, "requests_failed_total", reason="stream_broken", gateway=gateway) == 1
    assert await asyncio.to_thread(gateway.child.wait) == 1
    assert "Traceback" not in gateway.child.log


async def refused(world, service, gateway, **body):
    async with world.post(service, gateway=gateway, **body) as response:
        return response.status, response.headers["Retry-After"], (await response.json())["error"]["code"]


async def closed(port: int) -> bool:
    """Wait until nobody listens there."""

    async def refuses() -> bool:
        try:
            _reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionError:
            return True
        writer.close()
        return False

    return await eventually(refuses, "the port is closed")
