"""Workers that die, refuse, hang or break off, and clients that vanish or do not read."""

from __future__ import annotations

import asyncio
import json
import signal

import aiohttp
import psutil
import pytest

from gateway_world import PODS, SLOTS, eventually
from penstock_contract import names

EVENT = b'data: {"choices":[{"index":0,"text":"x"}]}\n\n'
DONE = b"data: [DONE]\n\n"
USAGE = b'data: {"choices":[],"usage":{"completion_tokens":7}}\n\n'


async def read_on(response):
    """What still comes, and what it ends with."""
    text = b""
    try:
        async for chunk in response.content.iter_any():
            text += chunk
    except aiohttp.ClientError as error:
        return text, error
    return text, None


async def failed(world, service, reason):
    return await world.metric(service, "requests_failed_total", reason=reason)


async def test_requests_without_an_answer_yet_survive_the_death_of_their_worker(world):
    service, (victim, other) = await world.serving(2, device={"slots": 1, "step_seconds": 0.005})
    running = [asyncio.create_task(world.ask(service, tokens=50)) for _ in range(6)]
    await world.reaches(victim, "requests_running", 1)
    victim.kill()
    answers = await asyncio.gather(*running)
    assert [(status, body["usage"]["completion_tokens"]) for status, body in answers] == [(200, 50)] * 6
    assert await world.of_worker(other, "requests_arrived_total") >= 5
    assert await world.metric(service, "requests_arrived_total") == 6
    assert sum([await failed(world, service, reason) for reason in ("broken", "unreachable", "stream_broken")]) == 0


async def test_a_stream_that_breaks_is_told_and_cut_and_never_begun_again(world):
    service, (victim,) = await world.serving()
    other = await world.worker()
    async with world.post(service, tokens=400, stream=True) as response:
        assert response.status == 200
        await response.content.readuntil(b"\n\n")
        await world.pod(service, other.address)
        await world.open(service, 2)
        victim.kill()
        text, error = await read_on(response)
    assert isinstance(error, aiohttp.ClientPayloadError)
    last = [event for event in text.split(b"\n\n") if event][-1]
    assert json.loads(last.strip().removeprefix(b"data: "))["error"]["code"] == "stream_broken"
    assert DONE not in text
    assert await failed(world, service, "stream_broken") == 1
    assert await world.of_worker(other, "requests_arrived_total") == 0
    assert (await world.ask(service))[0] == 200


async def test_a_worker_that_refuses_while_it_drains_costs_nobody_a_request(world):
    service, (draining, other) = await world.serving(2)
    async with world.http.post(f"{draining.admin_url}/drain", json={}) as response:
        assert response.status == 200
    answers = await asyncio.gather(*(world.ask(service) for _ in range(2 * SLOTS)))
    assert {status for status, _answer in answers} == {200}
    assert await world.of_worker(draining, "requests_arrived_total") == 0
    assert await world.of_worker(other, "requests_arrived_total") == 2 * SLOTS
    async with world.http.delete(f"{draining.admin_url}/drain") as response:
        assert response.status == 200

    async def used_again() -> bool:
        await asyncio.gather(*(world.ask(service) for _ in range(SLOTS)))
        return await world.of_worker(draining, "requests_arrived_total") > 0

    await eventually(used_again, "it gets requests again")


@pytest.mark.slow
async def test_a_worker_that_hangs_loses_what_waits_and_keeps_what_it_began(world):
    service, (hung,) = await world.serving(device={"slots": 1})
    async with world.post(service, tokens=150, stream=True) as begun:
        await begun.content.readuntil(b"\n\n")
        waiting = asyncio.create_task(world.ask(service, tokens=3))
        await world.reaches(hung, "requests_waiting", 1)
        hung.kill(signal.SIGSTOP)
        other = await world.worker()
        await world.pod(service, other.address)
        assert (await waiting)[0] == 200
        assert await world.of_worker(other, "requests_arrived_total") == 1
        hung.kill(signal.SIGCONT)
        assert DONE in await begun.content.read(), "a pause in the middle of an answer may end"
    await world.logged(f"event=worker_unresponsive worker={service}-")
    assert await failed(world, service, "stream_broken") == 0


async def test_a_pod_that_is_gone_takes_its_streams_with_it(world, odd_worker):
    async def begin_and_stop(call):
        await call.stream(EVENT, end=False)
        await asyncio.Event().wait()

    service, _server = await odd_worker(begin_and_stop)
    async with world.post(service, stream=True) as response:
        assert await response.content.readuntil(b"\n\n") == EVENT
        (pod,) = await world.pods(service)
        await world.delete(PODS, pod["metadata"]["name"])
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.content.read()
    assert await failed(world, service, "stream_broken") == 1


async def test_a_request_that_breaks_every_worker_is_given_up(world, odd_worker):
    async def die(call):
        call.cut()

    service, server = await odd_worker(die)
    status, answer = await world.ask(service)
    assert (status, answer["error"]["code"]) == (502, "upstream_broken")
    assert len(server.calls) == 3
    assert await failed(world, service, "broken") == 1


async def test_an_answer_that_breaks_before_its_first_byte_is_asked_for_again(world, odd_worker):
    async def break_once(call):
        if len(server.calls) == 1:
            await call.say(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
            call.cut()
        elif len(server.calls) == 2:
            await call.say(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{")
            call.cut()
        else:
            await call.stream(EVENT, DONE)

    service, server = await odd_worker(break_once)
    assert await world.ask(service, stream=True) == (200, (EVENT + DONE).decode())
    assert len(server.calls) == 3
    assert len({call.body for call in server.calls}) == 1


async def test_an_error_of_the_engine_is_passed_on_and_counted(world, odd_worker):
    async def fail(call):
        await call.reply(b'{"error":{"message":"boom"}}', status="500 Oh No")

    service, server = await odd_worker(fail)
    assert await world.ask(service) == (500, {"error": {"message": "boom"}})
    assert len(server.calls) == 1
    assert await failed(world, service, "upstream_error") == 1


async def test_an_error_inside_a_stream_is_counted(world, odd_worker):
    async def fail(call):
        await call.stream(EVENT, b'data: {"error":{"message":"boom"}}\n\n', DONE)

    service, _server = await odd_worker(fail)
    assert (await world.ask(service, stream=True))[0] == 200
    assert await failed(world, service, "stream_broken") == 1


async def test_bytes_are_passed_on_as_they_are_and_when_they_come(world, odd_worker):
    """Chunks that cut through events, comments, odd line ends: nothing is held back, nothing is changed."""
    go = asyncio.Event()
    pieces = [b": hello\r\n\r\n", b"da", b'ta: {"a":"\xc3', b'\xa4"}\n', b"\ndata:x\n\n\n", b"tail without end"]

    async def speak(call):
        await call.stream(end=False)
        for piece in pieces:
            await call.chunk(piece)
            await go.wait()
            go.clear()
        await call.chunk(b"")

    service, server = await odd_worker(speak)
    body = b'{ "stream" :true,\n "prompt": [1, 2.0, "\xf0\x9f\x98\x80"], "unknown": {"a": null} }'
    headers = {"Content-Type": "application/json", "X-Mine": "yes", "Accept-Encoding": "gzip", "Te": "trailers"}
    async with world.http.post(f"{world.base(service)}/completions", data=body, headers=headers) as response:
        for piece in pieces:
            assert await response.content.readexactly(len(piece)) == piece
            go.set()
        assert await response.content.read() == b""
    (call,) = server.calls
    assert call.body == body
    assert call.head.startswith(b"POST /v1/completions HTTP/1.1\r\n")
    assert call.headers["x-mine"] == "yes"
    assert call.headers[names.HEADER_REQUEST_ID] == response.headers[names.HEADER_REQUEST_ID]
    assert {"accept-encoding", "te", "transfer-encoding"} & set(call.headers) == set()


async def test_a_client_that_leaves_frees_its_slot(world):
    service, (worker,) = await world.serving(device={"slots": 2})
    whole = asyncio.create_task(world.ask(service, tokens=4000))
    await world.reaches(worker, "requests_running", 1)
    async with world.post(service, tokens=4000, stream=True) as streamed:
        await streamed.content.readuntil(b"\n\n")
        await world.reaches(worker, "requests_running", 2)
        whole.cancel()
        await world.reaches(worker, "requests_running", 1, seconds=30)
        streamed.close()
    await world.reaches(worker, "requests_running", 0, seconds=30)
    assert await world.of_worker(worker, "requests_finished_total", reason="abort") == 2
    assert await failed(world, service, "client_closed") == 2
    assert await world.metric(service, "requests_in_flight") == 0


async def test_a_slow_reader_stops_the_worker_not_the_memory(world, odd_worker):
    megabyte = b"data: " + b"x" * ((1 << 20) - 8) + b"\n\n"
    count = 64

    async def flood(call):
        await call.stream(*[megabyte] * count)

    service, server = await odd_worker(flood)
    process = psutil.Process(world.gateway.child.pid)
    before = process.memory_info().rss
    async with world.post(service, stream=True) as response:
        await response.content.readexactly(1)
        call = server.calls[0]

        async def stalled() -> bool:
            sent = call.sent
            await asyncio.sleep(0.5)
            return call.sent == sent > 0

        await eventually(stalled, "the worker is held back")
        assert call.sent < count * len(megabyte) // 2
        assert process.memory_info().rss - before < 8 << 20
        rest = 0
        async for chunk in response.content.iter_any():
            rest += len(chunk)
    assert rest + 1 == count * len(megabyte)


async def test_a_body_over_the_limit_is_refused_while_it_comes(world):
    service = await world.service()

    async def endless():
        while True:
            yield b" " * (1 << 20)

    try:
        async with world.http.post(f"{world.base(service)}/completions", data=endless()) as response:
            assert response.status == 413
            message = (await response.json())["error"]["message"]
            assert "8388608 bytes (8 MiB)" in message
            assert "PENSTOCK_MAX_BODY_BYTES" in message
    except aiohttp.ClientOSError:
        pytest.fail("refused without an answer")


async def test_what_a_client_declares_for_its_connection_stays_there(world, odd_worker):
    async def answer(call):
        await call.reply(b"{}")

    service, server = await odd_worker(answer)
    headers = {"Connection": "X-Hop, keep-alive , x-OTHER", "X-Hop": "1", "X-Other": "2", "X-Kept": "3"}
    async with world.http.post(f"{world.base(service)}/completions", json={}, headers=headers) as response:
        assert response.status == 200
    (call,) = server.calls
    assert {name for name in call.headers if name.startswith("x-")} == {"x-kept", names.HEADER_REQUEST_ID}
    assert "connection" not in call.headers


async def test_numbers_beyond_reason_are_a_400(world, odd_worker):
    async def answer(call):
        await call.reply(b"{}")

    service, server = await odd_worker(answer)
    status, answer = await world.ask(service, n=10**400)
    assert (status, answer["error"]["param"]) == (400, "n")
    assert (await world.ask(service, tokens=10**400))[0] == 200, "a limit is the worker's to refuse"
    assert len(server.calls) == 1


async def test_other_services_go_on_while_one_is_in_trouble(world, odd_worker):
    async def hang(_call):
        await asyncio.Event().wait()

    troubled, _server = await odd_worker(hang)
    stuck = [asyncio.create_task(world.ask(troubled)) for _ in range(50)]

    async def in_flight() -> bool:
        return (await world.demand(troubled))["in_flight"] == 50

    await eventually(in_flight, "they hang")
    service, _workers = await world.serving()
    assert (await world.ask(service))[0] == 200
    for task in stuck:
        task.cancel()

    async def gone() -> bool:
        return (await world.demand(troubled))["in_flight"] == 0

    await eventually(gone, "they left")
