"""The upstream: an engine that takes no time. `python -m benchmarks.gateway.stub ADDRESS PORT`.

A whole reply is one write. Streams belong to batches of `BATCH`, and all streams of a batch get their chunk at the
same moment, as the sequences of an engine's step do; each chunk carries when it was sent.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable
from typing import Any, Final

import uvloop

BATCH: Final = 50
_CARD: Final = b'{"object":"list","data":[{"id":"stub","max_num_seqs":1000000}]}'
_TEXT: Final = "the keeper of the gate " * 12
_REPLY: Final = json.dumps(
    {
        "id": "cmpl-0123456789abcdef0123456789abcdef",
        "object": "text_completion",
        "created": 1800000000,
        "model": "stub",
        "choices": [{"index": 0, "text": _TEXT, "logprobs": None, "finish_reason": "length"}],
        "usage": {"prompt_tokens": 128, "completion_tokens": 64, "total_tokens": 192},
    }
).encode()
_CHUNK: Final = (
    b'data: {"id":"cmpl-0123456789abcdef0123456789abcdef","object":"text_completion","created":1800000000,'
    b'"model":"stub","sent":%019d,"choices":[{"index":0,"text":" gate","logprobs":null,"finish_reason":null}]}\n\n'
)


def _reply(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


_CARD_REPLY: Final = _reply(_CARD)
_WHOLE_REPLY: Final = _reply(_REPLY)
_STREAM_HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_STREAM_END: Final = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"


class Batch:
    """Streams that get their chunks together."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._streams: dict[asyncio.Transport, list[int]] = {}
        self._loop = asyncio.get_running_loop()
        self._due = self._loop.time() + interval
        self._loop.call_at(self._due, self._step)

    @property
    def size(self) -> int:
        """Streams in it."""
        return len(self._streams)

    def add(self, transport: asyncio.Transport, chunks: int) -> None:
        """Send so many chunks on a connection."""
        self._streams[transport] = [chunks]

    def remove(self, transport: asyncio.Transport) -> None:
        """The connection is gone."""
        self._streams.pop(transport, None)

    def _step(self) -> None:
        self._due += self._interval
        self._loop.call_at(self._due, self._step)
        for transport, left in list(self._streams.items()):
            chunk = _CHUNK % time.monotonic_ns()
            transport.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            left[0] -= 1
            if not left[0]:
                transport.write(_STREAM_END)
                del self._streams[transport]


class Engine:
    """The batches."""

    def __init__(self) -> None:
        self._batches: dict[float, list[Batch]] = {}

    def stream(self, transport: asyncio.Transport, *, chunks: int, interval: float) -> Callable[[], None]:
        """Start a stream; returns what ends it early."""
        batches = self._batches.setdefault(interval, [])
        batch = next((one for one in batches if one.size < BATCH), None)
        if batch is None:
            batch = Batch(interval)
            batches.append(batch)
        batch.add(transport, chunks)
        return lambda: batch.remove(transport)


class Server(asyncio.Protocol):
    """HTTP/1.1, as little of it as the clients of this benchmark use."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._buffer = b""
        self._leave: Callable[[], None] = lambda: None

    def connection_made(self, transport: Any) -> None:
        """A client is there."""
        self._transport = transport

    def connection_lost(self, _error: Exception | None) -> None:
        """It is gone."""
        self._leave()

    def data_received(self, data: bytes) -> None:
        """Answer what is complete."""
        self._buffer = data = self._buffer + data if self._buffer else data
        while (end := data.find(b"\r\n\r\n")) >= 0:
            head = data[:end].lower()
            length = int(_header(head, b"content-length") or 0)
            if len(data) < end + 4 + length:
                return
            self._answer(head)
            self._buffer = data = data[end + 4 + length :]

    def _answer(self, head: bytes) -> None:
        if head.startswith(b"get"):
            self._transport.write(_CARD_REPLY)
        elif chunks := _header(head, b"x-chunks"):
            self._transport.write(_STREAM_HEAD)
            interval = float(_header(head, b"x-interval") or 0.025)
            self._leave = self._engine.stream(self._transport, chunks=int(chunks), interval=interval)
        else:
            self._transport.write(_WHOLE_REPLY)


def _header(head: bytes, name: bytes) -> bytes | None:
    start = head.find(b"\r\n" + name + b":")
    if start < 0:
        return None
    start += len(name) + 3
    end = head.find(b"\r\n", start)
    return head[start : end if end >= 0 else None].strip()


async def _serve(address: str, port: int) -> None:
    engine = Engine()
    server = await asyncio.get_running_loop().create_server(lambda: Server(engine), address, port, backlog=4096)
    print("listening", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(sys.argv[1], int(sys.argv[2])))
