"""The control: a proxy that only takes time. `python -m benchmarks.gateway.bare PORT HOST UPSTREAM_PORT MICROSECONDS`.

It passes bytes to and fro on the gateway's event loop and keeps the processor for so long before each request goes on.
With the gateway's CPU time per request, what it adds is what queueing and the machine make of any single thread that
is as busy; what the gateway adds beyond that is its own.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

import uvloop


class Back(asyncio.Protocol):
    """The connection to the upstream."""

    def __init__(self, front: Front) -> None:
        self._front = front

    def data_received(self, data: bytes) -> None:
        """Bytes for the client."""
        self._front.transport.write(data)

    def connection_lost(self, _error: Exception | None) -> None:
        """The upstream is gone."""
        self._front.transport.abort()


class Front(asyncio.Protocol):
    """A client's connection, and the one to the upstream that belongs to it."""

    def __init__(self, host: str, port: int, seconds: float) -> None:
        self._upstream = host, port
        self._seconds = seconds
        self._early: list[bytes] = []
        self._back: Any = None
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        """A client is there."""
        self.transport = transport
        self._connecting = asyncio.ensure_future(self._connect())

    def data_received(self, data: bytes) -> None:
        """A request, which comes in one piece here."""
        until = time.perf_counter() + self._seconds
        while time.perf_counter() < until:
            pass
        if self._back is None:
            self._early.append(data)
        else:
            self._back.write(data)

    def connection_lost(self, _error: Exception | None) -> None:
        """The client is gone."""
        self._connecting.cancel()
        if self._back is not None:
            self._back.abort()

    async def _connect(self) -> None:
        self._back, _ = await asyncio.get_running_loop().create_connection(lambda: Back(self), *self._upstream)
        for data in self._early:
            self._back.write(data)


async def _serve(port: int, host: str, upstream_port: int, seconds: float) -> None:
    server = await asyncio.get_running_loop().create_server(
        lambda: Front(host, upstream_port, seconds), "127.0.0.1", port, backlog=4096
    )
    print("listening", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4]) / 1e6))
