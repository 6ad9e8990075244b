"""Request bodies: read as they come, within a limit for one and a limit for all that are held at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web

from penstock_gateway import errors

MAX_BODY_BYTES: Final = 64 << 20
_SECONDS: Final = 60.0


class Bodies:
    """Memory set aside for bodies.

    Args:
        total: bytes of all bodies held at a time.
    """

    def __init__(self, total: int) -> None:
        self._left = total

    @asynccontextmanager
    async def read(self, request: web.BaseRequest) -> AsyncIterator[bytes]:
        """Yield the body; its memory counts as used until the block ends.

        Raises:
            Refusal: 413, it is too large; 503, too much is held already; 408, it does not come.
        """
        size = 0
        chunks: list[bytes] = []
        try:
            try:
                async with asyncio.timeout(_SECONDS):
                    async for chunk in request.content.iter_any():
                        size += len(chunk)
                        self._left -= len(chunk)
                        chunks.append(chunk)
                        self._check(size)
            except TimeoutError as error:
                raise errors.body_timeout(_SECONDS) from error
            yield _joined(chunks)
        finally:
            self._left += size

    def _check(self, size: int) -> None:
        if size > MAX_BODY_BYTES:
            raise errors.too_large(MAX_BODY_BYTES)
        if self._left < 0:
            raise errors.overloaded()


def _joined(chunks: list[bytes]) -> bytes:
    """The whole, kept nowhere else."""
    whole = b"".join(chunks)
    chunks.clear()
    return whole
