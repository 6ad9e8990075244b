"""Request bodies: read as they come, within a limit for one and a limit for all that are held at a time."""

from __future__ import annotations

import asyncio
from typing import Final

from penstock_gateway import errors
from penstock_gateway.call import Call

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

    async def read(self, call: Call) -> bytes:
        """The body; its memory counts as used until it is freed.

        Raises:
            Refusal: 413, it is too large; 503, too much is held already; 408, it does not come; 400, it is not HTTP.
        """
        size = 0
        try:
            if call.ended:  # it came with the head
                body = await call.piece()
                size = len(body)
                self._take(size, size=size)
                return body
            self._invite(call)
            pieces: list[bytes] = []
            async with asyncio.timeout(_SECONDS):
                while piece := await call.piece():
                    size += len(piece)
                    self._take(len(piece), size=size)
                    pieces.append(piece)
            return b"".join(pieces)
        except BaseException as error:
            self.free(size)
            if isinstance(error, TimeoutError):
                raise errors.body_timeout(_SECONDS) from error
            raise

    def free(self, size: int) -> None:
        """So many bytes are no longer held."""
        self._left += size

    def _invite(self, call: Call) -> None:
        """Refuse a body that is announced as too large; ask for one whose client waits to be asked, as curl does."""
        announced = call.header(b"content-length")
        if announced is not None and int(announced) > self._most:
            raise errors.too_large(self._most)
        if (call.header(b"expect") or b"").lower() == b"100-continue":
            call.invite()

    def _take(self, count: int, *, size: int) -> None:
        self._left -= count
        if size > self._most:
            raise errors.too_large(self._most)
        if self._left < 0:
            raise errors.overloaded()
