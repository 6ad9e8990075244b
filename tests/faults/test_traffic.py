"""The instrument itself: the client counts every way in which a request can end."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from benchmarks.faults import traffic
from benchmarks.faults.traffic import Answer, End

from oddserver import Call, OddServer
from penstock_lab.load.schedule import Planned

ADDRESS, PORT = "127.0.0.1", 28_611
TOKEN = b'data: {"choices":[{"token_ids":[7]}]}\n\n'
DONE = b"data: [DONE]\n\n"
ERROR = b'{"error":{"message":"no","type":"x","param":null,"code":null}}'


async def whole(call: Call) -> None:
    await call.stream(TOKEN, TOKEN, DONE)


async def without_done(call: Call) -> None:
    await call.stream(TOKEN, TOKEN)


async def short(call: Call) -> None:
    await call.stream(TOKEN, DONE)


async def cut(call: Call) -> None:
    await call.stream(TOKEN, end=False)
    call.cut()


async def told(call: Call) -> None:
    await call.stream(TOKEN, b"data: " + ERROR + b"\n\n")


async def refused(call: Call) -> None:
    await call.reply(ERROR, status="429 Too Many Requests\r\nRetry-After: 5")


async def refused_without_a_time(call: Call) -> None:
    await call.reply(ERROR, status="503 Service Unavailable")


async def broken_page(call: Call) -> None:
    await call.reply(b"<html>", status="502 Bad Gateway", kind="text/html")


async def ask() -> Answer:
    item = Planned(0.0, "test", (5, 6), 2)
    async with traffic.session() as client:
        due = asyncio.get_running_loop().time()
        return await traffic.ask(client, f"http://{ADDRESS}:{PORT}", item, request_id="r-1", due=due)


@pytest.mark.parametrize(
    ("script", "end"),
    [
        (whole, End.ANSWERED),
        (without_done, End.SILENT),
        (short, End.SILENT),
        (cut, End.SILENT),
        (told, End.TOLD),
        (refused, End.REFUSED),
        (refused_without_a_time, End.TOLD),
        (broken_page, End.SILENT),
    ],
)
async def test_every_end_is_counted_as_what_it_is(script: Callable[[Call], Awaitable[None]], end: End) -> None:
    async with OddServer(ADDRESS, script, port=PORT) as server:
        answer = await ask()
        assert [call.headers["x-request-id"] for call in server.calls] == ["r-1"], "asked once, under its id"
    assert answer.end is end, answer.detail
    assert bool(answer.detail) is (end is not End.ANSWERED)


async def test_nobody_there_is_a_failure() -> None:
    answer = await ask()
    assert answer.end is End.SILENT
    assert "ClientConnectorError" in answer.detail
