"""One streamed request, sent once: what came back and when.

A token is seen when the bytes of its chunk are read. Tokens are counted by `token_ids` where chunks carry them, else
by the usage at the end, else by chunks with text. Nothing is tried again: what fails is counted as failed.
"""

from __future__ import annotations

import errno
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import aiohttp

from penstock_lab.load.text import printable

_DATA: Final = b"data:"
_DONE: Final = b"[DONE]"
_REFUSALS: Final = (429, 503)
_OUT_OF_FILES: Final = (errno.EMFILE, errno.ENFILE)
_DETAIL_CHARACTERS: Final = 300
_MOST_LINE_BYTES: Final = 1 << 22


class Counted(StrEnum):
    """What the tokens of answers were counted by."""

    IDS = "token_ids"
    USAGE = "usage"
    CHUNKS = "chunks"


class FailedError(Exception):
    """A request was not answered in full: the kind of failure, and what was said about it."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(printable(f"{reason}: {detail}"))
        self.reason = reason
        self.detail = printable(" ".join(detail.split()))[:_DETAIL_CHARACTERS]


@dataclass(slots=True)
class Answer:
    """What has come of an answer so far; times on the monotonic clock.

    Attributes:
        first: of the first token; None without one.
        last: of the last token.
        longest_gap: between two chunks with tokens, in seconds.
        chunks: with tokens.
        ids: token ids received.
        usage: the endpoint's own count of (prompt, output) tokens.
        finish: why it ended, as the endpoint says.
        done: the end of the stream was said.
    """

    first: float | None = None
    last: float = 0.0
    longest_gap: float = 0.0
    chunks: int = 0
    ids: int = 0
    usage: tuple[int, int] | None = None
    finish: str | None = None
    done: bool = False

    @property
    def counted(self) -> Counted:
        """What `tokens` goes by."""
        if self.ids:
            return Counted.IDS
        return Counted.USAGE if self.usage is not None else Counted.CHUNKS

    @property
    def tokens(self) -> int:
        """Output tokens."""
        if self.ids or self.usage is None:
            return self.ids or self.chunks
        return self.usage[1]

    def take(self, chunk: Any, now: float) -> tuple[int, float | None]:
        """Note a chunk; its tokens (by ids, else 1 if it has text), and the seconds since the one before.

        Raises:
            FailedError: it is an error.
        """
        if error := chunk.get("error"):
            raise FailedError(
                "failed: error in the stream", str(error.get("message") if isinstance(error, dict) else error)
            )
        if usage := chunk.get("usage"):
            self.usage = int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)
        tokens = 0
        for choice in chunk.get("choices") or ():
            self.finish = choice.get("finish_reason") or self.finish
            if ids := choice.get("token_ids"):
                tokens += len(ids)
                self.ids += len(ids)
            elif _has_text(choice):
                tokens += 1
        if not tokens:
            return 0, None
        self.chunks += 1
        gap = None if self.first is None else now - self.last
        if gap is None:
            self.first = now
        else:
            self.longest_gap = max(self.longest_gap, gap)
        self.last = now
        return tokens, gap


def _has_text(choice: dict[str, Any]) -> bool:
    delta = choice.get("delta") or {}
    return bool(
        choice.get("text")
        or delta.get("content")
        or delta.get("reasoning_content")
        or delta.get("reasoning")
        or delta.get("tool_calls")
    )


OnTokens = Callable[[int, float | None, float], None]
"""Called with each chunk that has tokens: how many, the gap before it (None for the first one), monotonic time."""


async def exchange(
    session: aiohttp.ClientSession,
    *,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    answer: Answer,
    on_tokens: OnTokens,
) -> None:
    """Send a request and follow its stream to the end.

    Args:
        session: the HTTP client.
        url: where to post.
        headers: with the content type.
        body: of the request.
        answer: filled in as the stream comes, so that it tells what had come when a request is given up.
        on_tokens: see `OnTokens`.

    Raises:
        FailedError: it was not answered in full.
    """
    try:
        async with session.post(url, data=body, headers=headers) as response:
            if response.status != 200:
                text = (await response.read())[:4096].decode(errors="replace")
                kind = "refused" if response.status in _REFUSALS else "failed"
                raise FailedError(f"{kind}: http {response.status}", _message(text))
            await _follow(response.content, answer, on_tokens)
    except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError) as error:
        raise _broken(error, answer) from error
    except (aiohttp.ClientError, OSError, ValueError, TypeError, AttributeError, LookupError) as error:
        raise FailedError("failed: not an answer", f"{type(error).__name__}: {error}") from error
    if not (answer.done or answer.finish):
        raise FailedError("failed: cut off", f"the stream ended after {answer.chunks} chunks without an end")


async def _follow(content: aiohttp.StreamReader, answer: Answer, on_tokens: OnTokens) -> None:
    rest, now = b"", time.monotonic()
    async for piece in content.iter_any():
        now = time.monotonic()  # not the loop's time, which uvloop keeps in whole milliseconds
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            _take(line, answer, on_tokens, now)
        if len(rest) > _MOST_LINE_BYTES:
            raise ValueError(f"a line of more than {_MOST_LINE_BYTES} bytes")
    _take(rest, answer, on_tokens, now)


def _take(line: bytes, answer: Answer, on_tokens: OnTokens, now: float) -> None:
    if not line.startswith(_DATA):
        return
    data = line[len(_DATA) :].strip()
    if data == _DONE:
        answer.done = True
        return
    tokens, gap = answer.take(json.loads(data), now)
    if tokens:
        on_tokens(tokens, gap, now)


def _broken(error: aiohttp.ClientError, answer: Answer) -> FailedError:
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else None
    if cause is not None and cause.errno in _OUT_OF_FILES:
        return FailedError("client: too many open files", "raise the limit with `ulimit -n`")
    if cause is not None:
        return FailedError("failed: no connection", str(error))
    if answer.chunks:
        return FailedError("failed: cut off", f"{type(error).__name__} after {answer.chunks} chunks")
    return FailedError("failed: cut off", f"{type(error).__name__} before the first token")


def _message(text: str) -> str:
    """What an error body says, in OpenAI's form or any other."""
    try:
        data = json.loads(text)
        found = data.get("error", data) if isinstance(data, dict) else data
        return str(found.get("message") or found.get("detail") or found) if isinstance(found, dict) else str(found)
    except ValueError:
        return text or "no body"
