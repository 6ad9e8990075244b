"""Requests to a running supervisor: one JSON line each way over a socket in the state folder.

A request is `{"op": …}`, with `component` where one is meant; the answer is `{"ok": true, "result": {…}}` or
`{"ok": false, "error": "…"}`. The folder is its owner's alone, hence so is the socket.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
from typing import TYPE_CHECKING, Any, Final

from penstock_lab.cluster.errors import ClusterError, NotRunningError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from penstock_lab.cluster.spec import Layout

TIMEOUT_SECONDS: Final = 90.0

DETACH: Final = "detach"
"""What is written to a supervisor's standard input so that it outlives whoever started it."""

logger = logging.getLogger(__name__)


async def serve(layout: Layout, answer: Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]) -> asyncio.Server:
    """Listen in the state folder and pass every request to `answer`."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            reply = {"ok": True, "result": await answer(json.loads(await reader.readline()))}
        except ClusterError as error:
            reply = {"ok": False, "error": str(error)}
        except Exception as error:
            logger.exception("request_failed")
            reply = {"ok": False, "error": repr(error)}
        writer.write(json.dumps(reply).encode() + b"\n")
        writer.close()

    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    folder = os.open(layout.root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # Through the descriptor, because a socket's path may not exceed 107 bytes and a folder's may.
        listener.bind(f"/proc/self/fd/{folder}/{layout.socket.name}")
    finally:
        os.close(folder)
    return await asyncio.start_unix_server(connected, sock=listener)


def ask(layout: Layout, request: dict[str, Any], *, timeout_seconds: float = TIMEOUT_SECONDS) -> dict[str, Any]:
    """Send one request and return its result.

    Raises:
        NotRunningError: No supervisor listens there.
        ClusterError: The supervisor refused, or did not answer in time.
    """
    try:
        folder = os.open(layout.root, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise NotRunningError(f"no cluster runs in {layout.root}") from error
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout_seconds)
        try:
            connection.connect(f"/proc/self/fd/{folder}/{layout.socket.name}")
        except OSError as error:
            raise NotRunningError(f"no cluster runs in {layout.root}") from error
        finally:
            os.close(folder)
        try:
            connection.sendall(json.dumps(request).encode() + b"\n")
            with connection.makefile("rb") as stream:
                line = stream.readline()
        except TimeoutError as error:
            raise ClusterError(f"the supervisor in {layout.root} did not answer {request['op']!r}") from error
        except OSError as error:
            raise NotRunningError(f"the cluster in {layout.root} went away meanwhile") from error
    if not line:
        raise NotRunningError(f"the cluster in {layout.root} went away meanwhile")
    reply = json.loads(line)
    if not reply["ok"]:
        raise ClusterError(reply["error"])
    result: dict[str, Any] = reply["result"]
    return result
