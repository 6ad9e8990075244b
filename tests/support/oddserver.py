"""A server that says exactly the bytes a test wants, at the moment it wants: for what no engine does on purpose."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Self

Script = Callable[["Call"], Awaitable[None]]
CLOSING_SECONDS = 1.0
CARD = b'{"object":"list","data":[{"id":"odd","max_num_seqs":100}]}'


class Call:
    """One request, as it came, and the connection to answer on."""

    def __init__(self, head: bytes, body: bytes, writer: asyncio.StreamWriter) -> None:
        self.head = head
        self.body = body
        self.writer = writer
        self.sent = 0

    @property
    def headers(self) -> dict[str, str]:
        """Headers by lower-case name."""
        lines = self.head.decode().split("\r\n")[1:]
        return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}

    async def say(self, data: bytes) -> None:
        """Send bytes, as fast as they are taken."""
        self.writer.write(data)
        await self.writer.drain()
        self.sent += len(data)

    async def stream(self, *chunks: bytes, end: bool = True) -> None:
        """A chunked event stream."""
        await self.say(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in chunks:
            await self.chunk(piece)
        if end:
            await self.chunk(b"")

    async def chunk(self, piece: bytes) -> None:
        """One chunk of a stream; an empty one is its end."""
        await self.say(b"%x\r\n%b\r\n" % (len(piece), piece))

    async def reply(self, body: bytes, *, status: str = "200 OK", kind: str = "application/json") -> None:
        """A whole reply."""
        head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        await self.say(head.encode() + body)

    def cut(self) -> None:
        """Reset the connection."""
        self.writer.transport.abort()


class OddServer:
    """Answers `GET` like a healthy worker and `POST` by a script; a context manager."""

    def __init__(self, address: str, script: Script, *, port: int = 8000) -> None:
        self.address = address
        self.calls: list[Call] = []
        self.lost = 0
        self._port = port
        self._script = script
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, self.address, self._port, limit=1 << 26)
        return self

    async def __aexit__(self, *_exception: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                call = Call(head[:-4], b"", writer)
                call.body = await reader.readexactly(int(call.headers.get("content-length", 0)))
                if head.startswith(b"GET"):
                    await call.reply(CARD)
                    continue
                self.calls.append(call)
                if not await self._answer(call, reader):
                    self.lost += 1
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            try:
                await _close(writer)
            finally:
                self._tasks.discard(task)

    async def _answer(self, call: Call, reader: asyncio.StreamReader) -> bool:
        """Follow the script as long as the client is there; whether it got to its end."""
        gone = asyncio.ensure_future(reader.read(1))
        script = asyncio.ensure_future(self._script(call))
        try:
            await asyncio.wait({gone, script}, return_when=asyncio.FIRST_COMPLETED)
            return script.done() and script.exception() is None
        finally:
            gone.cancel()
            script.cancel()
            await asyncio.gather(gone, script, return_exceptions=True)


async def _close(writer: asyncio.StreamWriter) -> None:
    """Send what is left and close; a client that takes nothing more is not waited for."""
    writer.close()
    try:
        with contextlib.suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(CLOSING_SECONDS):
                await writer.wait_closed()
    finally:
        writer.transport.abort()
