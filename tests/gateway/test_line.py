"""Connections of clients, in bytes: what is a request, what follows what, and how each ends."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway_world import eventually
from penstock_gateway.call import Call
from penstock_gateway.errors import ClientGoneError, Refusal
from penstock_gateway.front import refuse
from penstock_gateway.listener import Listener

Talk = tuple[asyncio.StreamReader, asyncio.StreamWriter]
OK = b"200 OK"


async def echo(call: Call) -> None:
    """What was asked and the body that came with it."""
    if call.error is not None:
        refuse(call, call.error, "id")
        return
    body = b""
    try:
        while piece := await call.piece():
            body += piece
    except Refusal as refusal:
        refuse(call, refusal, "id")
        return
    call.respond(OK, b"", b"%b %b %b" % (call.method.encode(), call.target, body))


@contextlib.asynccontextmanager
async def listening(
    handle: Callable[[Call], Awaitable[None]] = echo, *, head_seconds: float = 30.0, idle_seconds: float = 30.0
) -> AsyncIterator[tuple[Listener, Callable[[], Awaitable[Talk]]]]:
    """A listener and how to connect to it."""
    listener = Listener(handle, head_seconds=head_seconds, idle_seconds=idle_seconds)
    port = await listener.start("127.0.0.1", 0)
    writers = []

    async def connect() -> Talk:
        talk = await asyncio.open_connection("127.0.0.1", port)
        writers.append(talk[1])
        return talk

    looking = asyncio.create_task(listener.run())
    try:
        yield listener, connect
    finally:
        looking.cancel()
        for writer in writers:
            writer.close()
        await listener.close(seconds=1.0)


async def answer(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Head and body of a whole answer."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length:"))
    return head, await reader.readexactly(length)


async def until(probe: Callable[[], object]) -> None:
    """Wait until it is true."""

    async def there() -> bool:
        return bool(probe())

    await eventually(there, "it is so", seconds=20)


async def exchange(sent: bytes, **places: float) -> bytes:
    """Everything that comes back until the connection is closed from there."""
    async with listening(**places) as (_listener, connect):
        reader, writer = await connect()
        writer.write(sent)
        return await asyncio.wait_for(reader.read(), 20)


async def test_requests_of_one_connection_are_answered_in_their_order():
    second = asyncio.Event()

    async def slow_first(call: Call) -> None:
        if call.target == b"/1":
            await second.wait()
        await echo(call)

    async with listening(slow_first) as (_listener, connect):
        reader, writer = await connect()
        writer.write(b"POST /1 HTTP/1.1\r\nContent-Length: 2\r\n\r\nabGET /2 HTTP/1.1\r\n\r\nGET /3 HTTP/1.1\r\n\r\n")
        await writer.drain()
        second.set()
        assert [(await answer(reader))[1] for _ in range(3)] == [b"POST /1 ab", b"GET /2 ", b"GET /3 "]


async def test_many_requests_at_once_are_all_answered():
    """More than may wait: the rest is read later."""
    async with listening() as (_listener, connect):
        reader, writer = await connect()
        writer.write(b"".join(b"GET /%d HTTP/1.1\r\n\r\n" % number for number in range(5_000)))
        for number in range(5_000):
            assert (await answer(reader))[1] == b"GET /%d " % number


bodies = st.lists(st.binary(min_size=1, max_size=30), max_size=4)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(bodies, st.booleans()), min_size=1, max_size=3), st.lists(st.integers(0, 10_000), max_size=8))
def test_however_the_bytes_are_cut(requests, places):
    """Bodies with a length or in chunks, with trailers, cut anywhere."""
    sent = b""
    for pieces, chunked in requests:
        if chunked:
            chunks = b"".join(b"%x;x=y\r\n%b\r\n" % (len(one), one) for one in pieces)
            sent += b"POST /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\nX-After: 1\r\n\r\n"
        else:
            whole = b"".join(pieces)
            sent += b"POST /l HTTP/1.1\r\ncontent-length: %d\r\n\r\n%b" % (len(whole), whole)
    marks = sorted({place % (len(sent) + 1) for place in places} | {0, len(sent)})

    async def talk() -> list[bytes]:
        async with listening() as (_listener, connect):
            reader, writer = await connect()
            for start, end in pairwise(marks):
                writer.write(sent[start:end])
                await asyncio.sleep(0)
            return [(await answer(reader))[1] for _ in requests]

    expected = [b"POST /%b %b" % (b"c" if chunked else b"l", b"".join(pieces)) for pieces, chunked in requests]
    assert asyncio.run(talk()) == expected


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"hello\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"400"),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nX: one\nY: two\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", b"400"),
        (b"POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 1_000_000, b"431"),
    ],
)
async def test_what_is_no_request_is_refused_and_closed(sent, status):
    got = await exchange(sent)
    assert got.startswith(b"HTTP/1.1 " + status)
    assert b"\r\nConnection: close\r\n" in got
    assert b'"type": "invalid_request_error"' in got


async def test_what_comes_before_bad_bytes_is_answered_first():
    got = await exchange(b"GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\nrubbish\r\n\r\n")
    assert got.index(b"GET /1 ") < got.index(b"GET /2 ") < got.index(b"HTTP/1.1 400")


@pytest.mark.parametrize(
    ("first", "connection"),
    [
        (b"GET / HTTP/1.1\r\nConnection: close", b"close"),
        (b"GET / HTTP/1.0", b"close"),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive", b"keep-alive"),
        (b"GET / HTTP/1.1", None),
        # What Java's client sends with its first request; the other protocol is not spoken here.
        (b"GET / HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA", None),
        (b"HEAD / HTTP/1.1\r\nConnection: close", b"close"),
    ],
)
async def test_connections_are_kept_as_the_client_says(first, connection):
    async with listening() as (_listener, connect):
        reader, writer = await connect()
        writer.write(first + b"\r\n\r\nGET /last HTTP/1.1\r\nConnection: close\r\n\r\n")
        got = await asyncio.wait_for(reader.read(), 20)
    head, _, rest = got.partition(b"\r\n\r\n")
    told = [line[12:] for line in head.split(b"\r\n") if line.startswith(b"Connection: ")]
    assert told == ([connection] if connection else [])
    assert (b"GET /last" in rest) == (connection != b"close")
    if first.startswith(b"HEAD"):
        assert (b"Content-Length: 7" in head, rest) == (True, b""), "the length of a body that is not sent"


@pytest.mark.parametrize("framing", [b"Content-Length: 20", b"Transfer-Encoding: chunked"])
@pytest.mark.parametrize("pieces", [1, 7, 1000])
async def test_the_body_of_a_request_that_would_speak_another_protocol_is_no_request(framing, pieces):
    body = b"GET /ok HTTP/1.1\r\n\r\n"
    sent = b"POST / HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n"
    sent += framing + b"\r\n\r\n" + (b"14\r\n%b\r\n0\r\n\r\n" % body if b"chunked" in framing else body)
    sent += b"POST /empty HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 0\r\n\r\n"
    sent += b"GET /last HTTP/1.1\r\nConnection: close\r\n\r\n"
    step = -(-len(sent) // pieces)
    async with listening() as (_listener, connect):
        reader, writer = await connect()
        for start in range(0, len(sent), step):
            writer.write(sent[start : start + step])
            await asyncio.sleep(0)
        assert [(await answer(reader))[1] for _ in range(3)] == [b"POST / " + body, b"POST /empty ", b"GET /last "]
        assert await reader.read() == b""


async def test_a_body_that_nobody_read_stops_nothing():
    async def ignore(call: Call) -> None:
        await until(lambda: call.ended)
        call.respond(OK, b"", b"ok")

    async with listening(ignore) as (listener, connect):
        reader, writer = await connect()
        for _ in range(5):
            writer.write(b"POST / HTTP/1.1\r\nContent-Length: 131500\r\n\r\n" + b"x" * 131_500)
            await answer(reader)
        writer.close()
        await until(lambda: not listener.lines)


async def test_a_head_or_trailers_without_an_end_are_refused():
    async with listening() as (_listener, connect):
        reader, writer = await connect()
        writer.write(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX: ")
        for _ in range(40):
            writer.write(b"x" * 8192)
            await asyncio.sleep(0.001)
        assert (await asyncio.wait_for(reader.read(), 20)).startswith(b"HTTP/1.1 431 ")


async def test_a_client_that_only_ends_its_own_side_is_let_go_in_time():
    """Some bytes wait for it that it never takes; nobody is told that the connection is over."""
    go = asyncio.Event()

    async def stream(call: Call) -> None:
        call.begin(OK, b"", b"x" * (6 << 20), length=None)
        await go.wait()
        call.finish()

    async with listening(stream, head_seconds=0.3) as (listener, connect):
        _reader, writer = await connect()
        writer.transport.pause_reading()
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        await until(lambda: any(line.choked for line in listener.lines))
        writer.write_eof()
        await until(lambda: not any(line.open for line in listener.lines))
        go.set()
        await until(lambda: not listener.lines)


async def test_a_client_that_reads_slowly_gets_all_of_its_answer():
    size = 24 << 20

    async def large(call: Call) -> None:
        call.keep = False
        call.respond(OK, b"", b"x" * size)

    async with listening(large, head_seconds=0.2) as (_listener, connect):
        reader, writer = await connect()
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        got = 0
        while got < size:  # for longer than there is for a head, and some of it in each
            got += len(await reader.readexactly(min(size - got, 1 << 20)))
            await asyncio.sleep(0.03)
        assert await reader.read() == b""


async def test_streams_are_framed_for_those_who_understand_it():
    async def stream(call: Call) -> None:
        call.begin(OK, b"X: y\r\n", b"one", length=None)
        call.write(b"two")
        call.finish()

    async with listening(stream) as (_listener, connect):
        for version, body in ((b"1.1", b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"), (b"1.0", b"onetwo")):
            reader, writer = await connect()
            writer.write(b"GET / HTTP/%b\r\nConnection: close\r\n\r\n" % version)
            head, _, rest = (await asyncio.wait_for(reader.read(), 20)).partition(b"\r\n\r\n")
            assert rest == body
            assert (b"Transfer-Encoding: chunked" in head) == (version == b"1.1")


async def test_an_answer_before_the_end_of_the_body_is_the_last_and_arrives():
    async def refuse_at_once(call: Call) -> None:
        call.respond(b"413 Content Too Large", b"", b"no")

    async with listening(refuse_at_once) as (_listener, connect):
        reader, writer = await connect()
        size = 8 << 20
        writer.write(b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(8):
            writer.write(b"x" * (size // 8))
            await writer.drain()  # it is read, and let go
        assert await asyncio.wait_for(reader.read(), 20) == (
            b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno"
        )


async def test_a_client_that_leaves_ends_what_is_done_for_it():
    begun, ended = asyncio.Event(), asyncio.Event()

    async def wait(_call: Call) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with listening(wait) as (listener, connect):
        _reader, writer = await connect()
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        await begun.wait()
        writer.close()
        await asyncio.wait_for(ended.wait(), 20)
        assert not listener.lines


async def test_a_handler_that_ends_without_an_answer_closes_the_connection():
    async def nothing(_call: Call) -> None:
        return

    assert await exchange_with(nothing) == b""


async def test_a_stream_that_is_cut_has_no_last_chunk():
    async def cut(call: Call) -> None:
        call.begin(OK, b"", b"one", length=None)
        call.cut()

    assert (await exchange_with(cut)).endswith(b"\r\n\r\n3\r\none\r\n")


async def exchange_with(handle: Callable[[Call], Awaitable[None]]) -> bytes:
    """All that comes back for one request."""
    async with listening(handle) as (_listener, connect):
        reader, writer = await connect()
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        return await asyncio.wait_for(reader.read(), 20)


async def test_who_takes_no_answer_is_given_no_more_and_let_go():
    """Whole answers wait in memory for a client that does not read: one of them, and not for ever."""
    served = 0

    async def large(call: Call) -> None:
        nonlocal served
        served += 1
        call.respond(OK, b"", b"x" * (8 << 20))

    async with listening(large, head_seconds=0.4) as (listener, connect):
        reader, writer = await connect()
        writer.transport.pause_reading()
        writer.write(b"GET / HTTP/1.1\r\n\r\n" * 10)
        await writer.drain()
        await until(lambda: served and not listener.lines)
        assert served == 1
        del reader


async def test_a_stream_waits_for_its_client_and_ends_when_that_leaves():
    choked, left = asyncio.Event(), asyncio.Event()

    async def flood(call: Call) -> None:
        call.begin(OK, b"", b"", length=None)
        while not call.choked:
            call.write(b"x" * 65536)
        choked.set()
        try:
            await call.drain()
        except (ClientGoneError, asyncio.CancelledError):
            left.set()
            raise

    async with listening(flood) as (_listener, connect):
        _reader, writer = await connect()
        writer.transport.pause_reading()
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        await asyncio.wait_for(choked.wait(), 20)
        writer.transport.abort()
        await asyncio.wait_for(left.wait(), 20)


async def test_connections_that_ask_for_nothing_are_closed():
    async with listening(head_seconds=30, idle_seconds=0.2) as (_listener, connect):
        reader, writer = await connect()
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        await answer(reader)
        assert await asyncio.wait_for(reader.read(), 20) == b""


async def test_at_the_end_every_answer_that_has_not_begun_is_the_last():
    go = asyncio.Event()

    async def wait(call: Call) -> None:
        await go.wait()
        await echo(call)

    async with listening(wait) as (listener, connect):
        talks = [await connect() for _ in range(2)]
        for _reader, writer in talks:
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
        await until(lambda: sum(line.waiting_since == float("inf") for line in listener.lines) == 2)
        listener.drain()
        go.set()
        for reader, _writer in talks:
            head, _body = await answer(reader)
            assert b"\r\nConnection: close\r\n" in head
            assert await reader.read() == b""


async def test_the_kernel_watches_over_connections():
    """A client whose host vanishes says nothing any more: only keep-alive probes tell."""
    async with listening() as (listener, connect):
        await connect()
        await until(lambda: listener.lines)
        (line,) = listener.lines
        found = line._transport.get_extra_info("socket")
        assert found.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
