"""Answers of workers are understood however their bytes are cut, and whatever is no answer is an error."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_gateway.errors import BrokenError, NotTakenError
from penstock_gateway.reply import Reply
from penstock_gateway.upstream import Connection, Upstream

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
pieces = st.lists(st.binary(min_size=1, max_size=40), max_size=6)
cuts = st.lists(st.integers(0, 10_000), max_size=12)


class Carrier:
    """Stands for the connection; notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def pause(self) -> None:
        self.told.append("pause")

    def resume(self) -> None:
        self.told.append("resume")

    def abort(self) -> None:
        self.told.append("abort")

    def done(self, _reply: Reply) -> None:
        self.told.append("done")


def chunked(bodies: list[bytes], *, extension: bytes = b"", trailers: bytes = b"") -> bytes:
    frames = b"".join(b"%x%b\r\n%b\r\n" % (len(one), extension, one) for one in bodies)
    return HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + frames + b"0\r\n" + trailers + b"\r\n"


def feed(whole: bytes, places: list[int]) -> tuple[Reply, list[bytes]]:
    """A reply that was given the bytes in parts, and what it passed to its sink."""
    reply, seen = Reply(Carrier()), []
    reply.flow(seen.append)
    marks = [0, *sorted(place % (len(whole) + 1) for place in places), len(whole)]
    for start, end in pairwise(marks):
        if start < end:
            reply.feed(whole[start:end])
    return reply, seen


@given(pieces, cuts, st.sampled_from([b"", b";x=1"]), st.sampled_from([b"", b"A: b\r\n", b"A: b\r\nC: d\r\n"]))
def test_chunks(bodies, places, extension, trailers):
    reply, seen = feed(chunked(bodies, extension=extension, trailers=trailers), places)
    assert (reply.status, b"".join(seen), reply.reusable) == (200, b"".join(bodies), True)
    assert reply.length is None


@given(st.binary(max_size=60), cuts)
def test_known_length(body, places):
    reply, seen = feed(HEAD + b"content-length: %d\r\n\r\n%b" % (len(body), body), places)
    assert (b"".join(seen), reply.reusable, reply.length) == (body, True, len(body))


@given(st.binary(max_size=60), cuts)
def test_until_the_connection_ends(body, places):
    reply, seen = feed(HEAD + b"\r\n" + body, places)
    assert not reply.ended
    reply.lost(None)
    assert (b"".join(seen), reply.ended, reply.reusable) == (body, True, False)


@given(pieces, cuts, st.integers(1, 10_000))
def test_an_answer_cut_short_never_ends(bodies, places, missing):
    whole = chunked(bodies)
    reply, _seen = feed(whole[: -(1 + missing % (len(whole) - 1))], places)
    reply.lost(None)
    assert not reply.ended
    with pytest.raises(BrokenError):
        asyncio.run(reply.wait())


@pytest.mark.parametrize(
    "first", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 2]
)
def test_interim_answers_are_skipped(first):
    reply, seen = feed(first + HEAD + b"Content-Length: 2\r\n\r\nok", [3, 30, 60])
    assert (reply.status, b"".join(seen), reply.reusable) == (200, b"ok", True)


def test_connections_that_may_not_be_used_again():
    for whole in (
        HEAD + b"Connection: close\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        HEAD + b"Content-Length: 1\r\n\r\n12",
        chunked([b"x"]) + b"HTTP/1.1 200 OK\r\n",
    ):
        reply, _seen = feed(whole, [])
        assert (reply.ended, reply.reusable) == (True, False)


def test_repeated_headers_and_odd_bytes_are_kept():
    whole = HEAD + b"X-A: 1\r\nx-a:  2 \r\nX-B: \xc3\xa4\xff\r\nContent-Length: 0\r\n\r\n"
    reply, _seen = feed(whole, [])
    assert reply.top.lines == b"Content-Type: text/plain\r\nX-A: 1\r\nx-a:  2 \r\nX-B: \xc3\xa4\xff\r\n"
    assert reply.top.fields[b"x-a"] == b"1"


@pytest.mark.parametrize(
    "whole",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 2\r\n\r\n",
        b"x" * 70_000,
        HEAD + b"Content-Length: x\r\n\r\n",
        HEAD + b"Content-Length: +1\r\n\r\nx",
        HEAD + b"X: one\nContent-Length: 0\r\n\r\n",
        HEAD + b"X: one\r two\r\nContent-Length: 0\r\n\r\n",
        HEAD + b"no colon\r\nContent-Length: 0\r\n\r\n",
        HEAD + b"Content-Length : 0\r\n\r\n",
        HEAD + b"X: one\r\n folded\r\nContent-Length: 0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n-5\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1" * 2000,
    ],
)
async def test_what_is_no_answer_is_an_error(whole):
    carrier = Carrier()
    reply = Reply(carrier)
    reply.feed(whole)
    with pytest.raises(BrokenError):
        await (reply.wait() if reply.status else reply.head())
    assert carrier.told == ["abort"]


async def test_what_nobody_reads_is_not_taken_in_for_ever():
    carrier = Carrier()
    reply = Reply(carrier)
    reply.feed(HEAD + b"Content-Length: 10000000\r\n\r\n")
    for _ in range(5):
        reply.feed(b"x" * 100_000)
    assert carrier.told[0] == "pause"
    assert len(await reply.piece()) == 500_000
    assert carrier.told[-1] == "resume"


class Counted:
    """A server that counts its connections and answers each request by a plan."""

    def __init__(self, plan: list[str]) -> None:
        self.connections = 0
        self.requests = 0
        self._plan = plan
        self._serving: list[asyncio.Task] = []

    async def ended(self) -> None:
        """Every connection is closed on this side too."""
        await asyncio.gather(*self._serving)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._serving.append(asyncio.current_task())
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                self.requests += 1
                step = self._plan.pop(0)
                if step == "drop":
                    break
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                if step == "answer and leave":
                    break
        except asyncio.IncompleteReadError:
            pass
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def ask(upstream: Upstream, port: int) -> bytes:
    reply = await upstream.send("127.0.0.1", port, b"GET / HTTP/1.1\r\n\r\n")
    try:
        return await reply.read()
    finally:
        reply.close()


@pytest.mark.parametrize(
    ("plan", "connections", "requests"),
    [
        (["answer"] * 3, 1, 3),
        (["answer and leave", "answer", "answer"], 2, 3),
    ],
)
async def test_connections_are_kept_and_a_stale_one_costs_nothing(plan, connections, requests):
    counted = Counted(plan)
    server = await asyncio.start_server(counted.serve, "127.0.0.1", 0)
    upstream = Upstream()
    port = server.sockets[0].getsockname()[1]
    assert [await ask(upstream, port) for _ in range(3)] == [b"ok"] * 3
    assert (counted.connections, counted.requests) == (connections, requests)
    upstream.close()
    await counted.ended()
    server.close()


async def one_answer(listener: socket.socket) -> socket.socket:
    """Take a connection and answer one request on it."""
    loop = asyncio.get_running_loop()
    connection, _ = await loop.sock_accept(listener)
    assert (await loop.sock_recv(connection, 1000)).endswith(b"\r\n\r\n")
    await loop.sock_sendall(connection, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    return connection


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as found:
        found.setblocking(False)
        yield found


@pytest.mark.parametrize("raced", [False, True])
async def test_a_request_that_meets_a_closed_connection_is_sent_again(listener, monkeypatch, raced):
    """Closed before the write: that is seen by a look, or (the race) by what the kernel did not acknowledge."""
    upstream, port = Upstream(), listener.getsockname()[1]
    if raced:
        monkeypatch.setattr(Connection, "silent", True)
    serving = asyncio.create_task(one_answer(listener))
    assert await ask(upstream, port) == b"ok"
    (await serving).close()
    serving = asyncio.create_task(one_answer(listener))
    assert await ask(upstream, port) == b"ok"  # runs up to its write before the event loop sees the end
    (await serving).close()
    upstream.close()


async def test_a_closed_connection_to_a_worker_that_is_gone_was_not_taken(listener, monkeypatch):
    upstream, port = Upstream(), listener.getsockname()[1]
    monkeypatch.setattr(Connection, "silent", True)
    serving = asyncio.create_task(one_answer(listener))
    assert await ask(upstream, port) == b"ok"
    (await serving).close()
    listener.close()
    with pytest.raises(NotTakenError):
        await ask(upstream, port)


@pytest.mark.parametrize("gentle", [True, False])
async def test_a_kept_connection_that_ends_after_the_request_came_is_broken(listener, gentle):
    """The worker has read it, or has it in its buffer and is killed: it may have begun, so it is not sent again."""
    upstream, port = Upstream(), listener.getsockname()[1]
    serving = asyncio.create_task(one_answer(listener))
    assert await ask(upstream, port) == b"ok"
    connection = await serving
    asked = asyncio.create_task(ask(upstream, port))
    loop = asyncio.get_running_loop()
    if gentle:
        await loop.sock_recv(connection, 1000)
    else:
        await loop.sock_recv(connection, 1)
    connection.close()
    with pytest.raises(BrokenError):
        await asked
    with pytest.raises(BlockingIOError):
        listener.accept()
    upstream.close()


async def test_a_new_connection_that_breaks_is_an_error_and_none_at_all_is_another():
    counted = Counted(["drop"])
    server = await asyncio.start_server(counted.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(BrokenError):
        await ask(Upstream(), port)
    await counted.ended()
    server.close()
    await server.wait_closed()
    with pytest.raises(NotTakenError):
        await ask(Upstream(), port)
