"""Connections of clients that bring no request, or wait to be asked for it."""

from __future__ import annotations

import asyncio
import json

from gateway_world import NAMESPACE, raw


async def test_connections_that_bring_no_request_are_closed(world, odd_worker):
    go = asyncio.Event()

    async def answer(call):
        await go.wait()
        await call.reply(b"{}")

    gateway = await world.start_gateway(head_seconds="0.4", idle_seconds="2", max_body_bytes="100")
    service, _server = await odd_worker(answer)
    await world.open(service, 1, gateway)
    request = (
        f"POST /{NAMESPACE}/{service}/v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{{}}".encode()
    )
    lines = [raw("127.0.0.1", gateway.port) for _ in range(4)]
    silent, partial, served, slow = lines
    partial.sendall(request[:20])
    for line in (served, slow):
        line.sendall(request)
    for line in (silent, partial):
        assert await asyncio.to_thread(line.recv, 1000) == b"", "no head in time"
    assert (await world.demand(service, gateway))["in_flight"] == 2, "who is served may wait for longer"
    go.set()
    for line in (served, slow):
        assert (await asyncio.to_thread(line.recv, 1000)).startswith(b"HTTP/1.1 200 ")
    slow.sendall(request[:20])
    assert await asyncio.to_thread(slow.recv, 1000) == b"", "nor a later one"
    served.sendall(request)
    assert (await asyncio.to_thread(served.recv, 1000)).startswith(b"HTTP/1.1 200 "), "idle for a moment is no reason"
    assert await asyncio.to_thread(served.recv, 1000) == b"", "idle for long is"
    async with world.post(service, prompt="x" * 100, gateway=gateway) as response:
        assert response.status == 413
        assert "larger than 100 bytes" in (await response.json())["error"]["message"]
    for line in lines:
        line.close()


async def test_a_client_that_waits_to_be_asked_for_its_body_is(world, odd_worker):
    async def answer(call):
        await call.reply(b"%d" % len(call.body))

    service, server = await odd_worker(answer)
    body = json.dumps({"prompt": "x" * 200_000}).encode()

    def talk(length: int) -> tuple[bytes, bytes]:
        with raw("127.0.0.1", world.gateway.port) as client:
            head = f"POST /{NAMESPACE}/{service}/v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n"
            client.sendall(head.encode() + b"Expect: 100-continue\r\n\r\n")
            first = client.recv(1000)
            if b"100" not in first:
                return first, b""
            client.sendall(body)
            return first, client.recv(1000)

    first, second = await asyncio.to_thread(talk, len(body))
    assert first == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert second.startswith(b"HTTP/1.1 200 OK\r\n")
    assert second.endswith(b"%d" % len(body))
    assert "expect" not in server.calls[0].headers
    first, _ = await asyncio.to_thread(talk, 9 << 20)
    assert first.startswith(b"HTTP/1.1 413 "), "what is too large is not asked for"
