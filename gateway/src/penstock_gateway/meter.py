"""Counts tokens in an answer as its bytes pass, without taking events apart.

Of a stream, an event is a line that starts with `data:`; inside JSON a line feed is always escaped, so none can be
forged by the text. Every event but `[DONE]` counts as one token, which is what our worker sends. Other engines begin
with an event that only names the role and end with one that only says why: those are told by the first and the last
bytes of the stream, so that nothing has to be looked for in between. Where an answer carries its own `usage`, that
number is taken instead.
"""

from __future__ import annotations

import re
from typing import Final

_DATA: Final = b"data:"
_LINE: Final = b"\ndata:"
_DONE: Final = b"data: [DONE]"
_ERROR: Final = b'"error"'
# The spellings of engines: {"error": …} and {"object": "error", …}, with or without spaces.
_ERROR_EVENT: Final = re.compile(rb'\ndata: *\{\s*(?:"error"\s*:\s*[^\sn]|"object"\s*:\s*"error")')
# Events without a token: the role alone, the end of a choice alone, a heading without choices.
_BARE_EVENT: Final = re.compile(
    rb'\ndata: *(?=[^\n]*(?:"delta"\s*:\s*\{\s*\}|"choices"\s*:\s*\[\s*\]'
    rb'|"role"\s*:\s*"[a-z]+"\s*,\s*"content"\s*:\s*(?:""|null)\s*[,}]'
    rb'|"(?:content|text)"\s*:\s*(?:""|null)[^\n]*"finish_reason"\s*:\s*"))'
)
_END_BYTES: Final = 2048  # of either end of a stream that are looked at
_USAGE: Final = re.compile(rb'"completion_tokens"\s*:\s*(\d+)')


class Meter:
    """Token count and times of one answer.

    Attributes:
        events: `data:` lines seen.
        first_at: when the first of them came, on the clock of the caller; None before.
        last_at: when the last one came that was not only the end mark.
        failed: the stream told of an error.
        at_line_start: whether the next byte begins a line.
    """

    __slots__ = ("_first", "_last", "_partial", "_previous", "at_line_start", "events", "failed", "first_at", "last_at")

    def __init__(self) -> None:
        self.events = 0
        self.first_at: float | None = None
        self.last_at = 0.0
        self.failed = False
        self.at_line_start = True
        self._first = b""
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
                self._first = self._last
            if begins and chunk.startswith(_DONE):
                return found
            if _ERROR in chunk:
                self._look_for_error(chunk, begins=begins)
            self.last_at = now
        return found

    def _look_for_error(self, chunk: bytes, *, begins: bool) -> None:
        self.failed = self.failed or bool(_ERROR_EVENT.search(b"\n" + chunk if begins else chunk))

    def finish(self, *, exact: bool = False) -> int:
        """Output tokens of a stream that has ended, as far as they can be known; sees an error event cut in two.

        Args:
            exact: the engine is known to send one event for each token.
        """
        tail = self._previous + self._last
        told = completion_tokens(tail)
        short = self._first is self._previous or self._first is self._last
        if short and len(tail) <= 2 * _END_BYTES:
            ends = b"\n" + tail
        else:
            ends = b"\n".join((b"", (tail if short else self._first)[:_END_BYTES], tail[-_END_BYTES:]))
        self.failed = self.failed or bool(_ERROR_EVENT.search(ends))
        bare = 0 if exact else len(_BARE_EVENT.findall(ends))
        return told or max(0, self.events - (_DONE in tail) - bare)


def completion_tokens(answer: bytes) -> int | None:
    """Output tokens that an answer tells in its `usage`, which stands near its end."""
    found = _USAGE.findall(answer[-_END_BYTES:])
    return int(found[-1]) if found else None
