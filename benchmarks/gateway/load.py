"""The clients: plain sockets on one event loop, so that they cost little beside what they measure.

Closed loop asks again as soon as it is answered and finds the ceiling; open loop asks at appointed times and counts
latency from those, so that a proxy that falls behind cannot slow the load down.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from .clock import beats

_SENT: Final = re.compile(rb'"sent":(\d{19})')
_BODY: Final = json.dumps({"model": "stub", "prompt": list(range(100, 228)), "max_tokens": 64}).encode()
_STREAM_BODY: Final = _BODY[:-1] + b', "stream": true}'
_END: Final = b"0\r\n\r\n"
_TICK_MICROSECONDS: Final = 200


def request(path: str, *, chunks: int = 0, interval: float = 0.0) -> bytes:
    """One request; of a stream if it has chunks."""
    body = _STREAM_BODY if chunks else _BODY
    head = (
        f"POST {path} HTTP/1.1\r\nHost: gateway\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer none\r\nUser-Agent: bench\r\nContent-Length: {len(body)}\r\n"
    )
    if chunks:
        head += f"X-Chunks: {chunks}\r\nX-Interval: {interval}\r\n"
    return head.encode() + b"\r\n" + body


class Connection(asyncio.Protocol):
    """A kept connection with one request at a time."""

    def __init__(self, on_data: Callable[[Connection, bytes], None]) -> None:
        self._on_data = on_data
        self.started = 0
        self.transport: Any = None
        self.seen = 0
        self.expected = 0

    def connection_made(self, transport: Any) -> None:
        """Connected."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Hand on."""
        self._on_data(self, data)

    def ask(self, message: bytes) -> None:
        """Send a request."""
        self.seen, self.expected = 0, 0
        self.transport.write(message)

    def take(self, data: bytes) -> bool:
        """Count bytes of a whole reply; True at its end."""
        if not self.expected:
            end = data.find(b"\r\n\r\n")
            if end < 0 or not data.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(f"not what was asked for: {data[:200]!r}")
            head = data[:end].lower()
            at = head.find(b"content-length:")
            self.expected = end + 4 + int(head[at + 15 : (head.find(b"\r\n", at) + 1 or len(head) + 1) - 1])
        self.seen += len(data)
        return self.seen >= self.expected


async def connect(host: str, port: int, count: int, on_data: Callable[[Connection, bytes], None]) -> list[Connection]:
    """Open connections, fifty at a time."""
    loop = asyncio.get_running_loop()
    made: list[Connection] = []
    while len(made) < count:
        some = min(50, count - len(made))
        pairs = await asyncio.gather(
            *(loop.create_connection(lambda: Connection(on_data), host, port) for _ in range(some))
        )
        made += [protocol for _transport, protocol in pairs]
    return made


async def closed(host: str, port: int, path: str, *, connections: int, seconds: float) -> int:
    """Ask without pause; answers within the time."""
    message = request(path)
    done = 0
    stop = False

    def on_data(connection: Connection, data: bytes) -> None:
        nonlocal done
        if connection.take(data) and not stop:
            done += 1
            connection.ask(message)

    made = await connect(host, port, connections, on_data)
    for one in made:
        one.ask(message)
    await asyncio.sleep(seconds)
    stop = True
    await asyncio.sleep(0.05)
    for one in made:
        one.transport.abort()
    return done


async def opened(host: str, port: int, path: str, *, rate: float, seconds: float) -> list[float]:
    """Ask at a fixed rate; latencies in seconds from the appointed times."""
    message = request(path)
    latencies: list[float] = []
    idle: deque[Connection] = deque()

    def on_data(connection: Connection, data: bytes) -> None:
        if connection.take(data):
            latencies.append((time.monotonic_ns() - connection.started) / 1e9)
            idle.append(connection)

    made = await connect(host, port, max(64, int(rate / 50)), on_data)
    idle.extend(made)
    total, sent = int(rate * seconds), 0
    over = asyncio.Event()
    start = time.monotonic_ns()

    def on_beat() -> None:
        nonlocal sent
        due = min(total, int((time.monotonic_ns() - start) / 1e9 * rate))
        while sent < due and idle:  # who finds no connection waits for one, and that counts
            connection = idle.popleft()
            connection.started = start + int(sent / rate * 1e9)
            connection.ask(message)
            sent += 1
        if sent == total:
            over.set()

    with beats(_TICK_MICROSECONDS, on_beat):
        await asyncio.wait_for(over.wait(), seconds + 30)
    deadline = time.monotonic() + 10
    while len(latencies) < sent and time.monotonic() < deadline:  # noqa: ASYNC110 - answers come by callback
        await asyncio.sleep(0.01)
    for one in made:
        one.transport.abort()
    if len(latencies) < sent:
        raise RuntimeError(f"{sent - len(latencies)} of {sent} requests were not answered")
    return latencies


async def streams(
    host: str, port: int, path: str, *, count: int, interval: float, seconds: float, settled: Callable[[], None]
) -> tuple[int, list[float]]:
    """Hold streams open; chunks and their latencies in seconds, from after the start-up on.

    Args:
        host: to connect to.
        port: to connect to.
        path: of the request.
        count: streams.
        interval: seconds between the chunks of one.
        seconds: measured.
        settled: called when all streams flow, when measuring begins.
    """
    chunks = int((seconds + 30) / interval)
    message = request(path, chunks=chunks, interval=interval)
    flowing: set[Connection] = set()
    latencies: list[float] = []
    measuring = False

    def on_data(connection: Connection, data: bytes) -> None:
        now = time.monotonic_ns()
        if measuring:
            latencies.extend((now - int(sent)) / 1e9 for sent in _SENT.findall(data))
        else:
            flowing.add(connection)

    made = await connect(host, port, count, on_data)
    for number, one in enumerate(made):
        one.ask(message)
        if number % 50 == 49:
            await asyncio.sleep(interval / 8)
    deadline = time.monotonic() + 60
    while len(flowing) < count:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{count - len(flowing)} of {count} streams do not flow")
        await asyncio.sleep(0.05)
    await asyncio.sleep(1.0)
    settled()
    measuring = True
    await asyncio.sleep(seconds)
    measuring = False
    for one in made:
        one.transport.abort()
    await asyncio.sleep(0.2)
    return len(latencies), latencies
