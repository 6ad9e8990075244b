"""What a client sees of a stream: tokens counted by the best source, gaps in order, failures told apart."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from events import DONE, event, text
from penstock_lab.load.exchange import Answer, Counted, FailedError, exchange
from worker_process import free_ports


def delta(**fields):
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": None}]}


USAGE = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 9, "total_tokens": 16}}


async def ask(url, seen=None):
    answer = Answer()
    async with aiohttp.ClientSession() as session:
        await exchange(
            session,
            url=f"{url}/v1/completions",
            headers={},
            body=b"{}",
            answer=answer,
            on_tokens=lambda count, gap, _now: seen.append((count, gap)) if seen is not None else None,
        )
    return answer


@pytest.mark.parametrize(
    ("events", "tokens", "chunks", "counted"),
    [
        ([text(token_ids=[5]), text("", token_ids=[6, 7]), USAGE], 3, 2, Counted.IDS),
        ([text(), text(), USAGE], 9, 2, Counted.USAGE),
        ([text(), text(), text("")], 2, 2, Counted.CHUNKS),
        ([delta(role="assistant", content=""), delta(content="a"), delta(content="b")], 2, 2, Counted.CHUNKS),
        ([delta(role="assistant"), delta(reasoning_content="hm"), delta(content="b"), USAGE], 9, 2, Counted.USAGE),
        ([delta(tool_calls=[{"index": 0}])], 1, 1, Counted.CHUNKS),
        ([{"choices": None}, text()], 1, 1, Counted.CHUNKS),
    ],
    ids=["ids", "usage", "chunks", "chat", "reasoning", "tools", "odd chunk"],
)
async def test_tokens_are_counted_by_the_best_source(serve, events, tokens, chunks, counted):
    async def script(call):
        await call.stream(*(event(each) for each in events), DONE)

    _server, url = await serve(script)
    seen = []
    answer = await ask(url, seen)
    assert (answer.tokens, answer.chunks, answer.counted, answer.done) == (tokens, chunks, counted, True)
    assert [gap is None for _count, gap in seen] == [True, *[False] * (chunks - 1)]


async def test_gaps_are_those_of_the_server(serve):
    """The server waits for the client to have seen a chunk, so that chunks cannot melt together."""
    waits = (0.0, 0.05, 0.2, 0.05)
    seen = []
    noticed = asyncio.Event()

    class Noticing(list):
        def append(self, item):
            super().append(item)
            noticed.set()

    seen = Noticing()

    async def script(call):
        await call.stream(end=False)
        for wait in waits:
            noticed.clear()
            await asyncio.sleep(wait)
            await call.chunk(event(text(token_ids=[1])))
            await noticed.wait()
        await call.chunk(DONE)
        await call.chunk(b"")

    _server, url = await serve(script)
    answer = await ask(url, seen)
    gaps = [gap for _count, gap in seen[1:]]
    assert len(gaps) == 3
    assert all(gap >= wait * 0.9 for gap, wait in zip(gaps, waits[1:], strict=True))
    assert answer.longest_gap == max(gaps)
    assert answer.last - answer.first == pytest.approx(sum(gaps))


@pytest.mark.parametrize("cut", range(1, 60, 7))
async def test_events_may_be_cut_anywhere(serve, cut):
    stream = event(text("wörd", token_ids=[5])) + b": a comment\r\n\r\n" + event(text(token_ids=[6])) + b"data:[DONE]"

    async def script(call):
        await call.stream(stream[:cut], stream[cut:])

    _server, url = await serve(script)
    answer = await ask(url)
    assert (answer.tokens, answer.done) == (2, True)


async def test_lines_may_end_in_two_characters(serve):
    async def script(call):
        await call.stream(event(text()).replace(b"\n", b"\r\n"), DONE.replace(b"\n", b"\r\n"))

    _server, url = await serve(script)
    assert (await ask(url)).tokens == 1


async def reply(call, status, body):
    await call.reply(body, status=status)


async def cut(call):
    await call.stream(event(text()), end=False)
    call.cut()


def streams(*chunks):
    async def script(call):
        await call.stream(*chunks)

    return script


@pytest.mark.parametrize(
    ("script", "reason", "detail"),
    [
        (lambda call: reply(call, "429 Too Many", b'{"error": {"message": "later"}}'), "refused: http 429", "later"),
        (lambda call: reply(call, "503 Gone", b'{"detail": "away"}'), "refused: http 503", "away"),
        (lambda call: reply(call, "500 Oh", b"<html>"), "failed: http 500", "<html>"),
        (lambda call: reply(call, "404 No", b""), "failed: http 404", "no body"),
        (
            streams(event(text()), event({"error": {"message": "out of memory"}})),
            "failed: error in the",
            "out of memory",
        ),
        (streams(event(text())), "failed: cut off", "ended after 1 chunks without an end"),
        (cut, "failed: cut off", "after 1 chunks"),
        (streams(event(b"{half")), "failed: not an answer", "JSONDecodeError"),
        (streams(event(b"[1]")), "failed: not an answer", "list"),
        (streams(event({"choices": 5})), "failed: not an answer", "TypeError"),
    ],
    ids=["429", "503", "500", "404", "error event", "no end", "reset", "half JSON", "list", "odd choices"],
)
async def test_failures_are_told_apart(serve, script, reason, detail):
    async def run(call):
        await script(call)

    _server, url = await serve(run)
    with pytest.raises(FailedError) as raised:
        await ask(url)
    assert raised.value.reason.startswith(reason)
    assert detail in raised.value.detail


async def test_a_stream_that_says_why_it_ended_needs_no_done(serve):
    _server, url = await serve(streams(event(text(finish_reason="length"))))
    answer = await ask(url)
    assert (answer.done, answer.finish) == (False, "length")


async def test_nobody_listens():
    (port,) = free_ports(1)
    with pytest.raises(FailedError, match="no connection"):
        await ask(f"http://127.0.0.1:{port}")
