"""Counts tokens in an answer as its bytes pass, without taking events apart.

Of a stream, an event is a line that starts with `data:`; inside JSON a line feed is always escaped, so none can be
forged by the text. Every event but `[DONE]` counts as one token, which is what our worker sends; where an answer
carries its own `usage`, that number is taken instead.
"""

from __future__ import annotations

import re
from typing import Final

_DATA: Final = b"data:"
_LINE: Final = b"\ndata:"
_DONE: Final = b"data: [DONE]"
_ERROR: Final = b'data: {"error"'
_USAGE: Final = re.compile(rb'"completion_tokens"\s*:\s*(\d+)')
_USAGE_BYTES: Final = 2048


class Meter:
    """Token count and times of one answer.

    Attributes:
        events: `data:` lines seen.
        first_at: when the first of them came, on the clock of the caller; None before.
        last_at: when the last one came that was not only the end mark.
        failed: the stream told of an error.
        at_line_start: whether the next byte begins a line.
    """

    __slots__ = ("_last", "_partial", "_previous", "at_line_start", "events", "failed", "first_at", "last_at")

    def __init__(self) -> None:
        self.events = 0
        self.first_at: float | None = None
        self.last_at = 0.0
        self.failed = False
        self.at_line_start = True
        self._partial = b""  # the start of a line too short to tell what it is
        self._previous = b""
        self._last = b""

    def feed(self, chunk: bytes, now: float) -> int:
        """Take note of bytes of a stream; return how many events began in them."""
        if not chunk:
            return 0
        self._previous, self._last = self._last, chunk
        if self._partial:
            chunk = self._partial + chunk
            self._partial = b""
            begins = True
        else:
            begins = self.at_line_start
        self.at_line_start = chunk.endswith(b"\n")
        found = chunk.count(_LINE)
        if begins and chunk.startswith(_DATA):
            found += 1
        if not self.at_line_start:
            start = chunk.rfind(b"\n") + 1
            if (start or begins) and len(chunk) - start < len(_DATA):
                self._partial = chunk[start:]
        if found:
            self.events += found
            if self.first_at is None:
                self.first_at = now
            if begins and chunk.startswith(_DONE):
                return found
            if _ERROR in chunk:
                self.failed = self.failed or _error_begins_line(chunk, begins=begins)
            self.last_at = now
        return found

    def tokens(self) -> int:
        """Output tokens of a finished stream, as far as they can be known."""
        return completion_tokens(self._previous + self._last) or self.events - (_DONE in self._previous + self._last)


def completion_tokens(answer: bytes) -> int | None:
    """Output tokens that an answer tells in its `usage`, which stands near its end."""
    found = _USAGE.findall(answer[-_USAGE_BYTES:])
    return int(found[-1]) if found else None


def _error_begins_line(chunk: bytes, *, begins: bool) -> bool:
    return (begins and chunk.startswith(_ERROR)) or b"\n" + _ERROR in chunk
