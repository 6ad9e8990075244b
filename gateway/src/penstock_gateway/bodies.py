"""Request bodies: read as they come, within a limit for one and a limit for all that are held at a time."""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import web

from penstock_gateway import errors

_SECONDS: Final = 60.0


class Bodies:
    """Memory set aside for bodies.

    Args:
        total: bytes of all bodies held at a time.
        most: bytes of one body.
    """

    def __init__(self, total: int, *, most: int) -> None:
        self._left = total
        self._most = most

    async def read(self, request: web.BaseRequest) -> bytes:
        """The body; its memory counts as used until it is freed.

        Raises:
            Refusal: 413, it is too large; 503, too much is held already; 408, it does not come.
        """
        content = request.content
        size = 0
        try:
            if content.is_eof():  # it came with the head
                body = content.read_nowait()
                size = len(body)
                self._take(size, size=size)
                return body
            self._invite(request)
            chunks: list[bytes] = []
            async with asyncio.timeout(_SECONDS):
                async for chunk in content.iter_any():
                    size += len(chunk)
                    self._take(len(chunk), size=size)
                    chunks.append(chunk)
            return b"".join(chunks)
        except BaseException as error:
            self.free(size)
            if isinstance(error, TimeoutError):
                raise errors.body_timeout(_SECONDS) from error
            raise

    def free(self, size: int) -> None:
        """So many bytes are no longer held."""
        self._left += size

    def _invite(self, request: web.BaseRequest) -> None:
        """Refuse a body that is announced as too large; ask for one whose client waits to be asked, as curl does."""
        if (request.content_length or 0) > self._most:
            raise errors.too_large(self._most)
        if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _take(self, count: int, *, size: int) -> None:
        self._left -= count
        if size > self._most:
            raise errors.too_large(self._most)
        if self._left < 0:
            raise errors.overloaded()
