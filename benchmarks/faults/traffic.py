"""Open-loop streaming load through the gateways by a client that never tries again.

Whatever the gateways do not mend shows as a failed request. Requests leave at their appointed times however slow the
answers are, and every one ends in exactly one of four ways: answered in full, refused (429 or 503 with an error body
and `Retry-After`), failed and told so (an error body, or an error event in the stream), or failed silently (cut off
without a word, or no end in time).
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

import aiohttp

from penstock_contract.names import HEADER_REQUEST_ID
from penstock_lab.load.schedule import Lengths, Phase, Planned, plan

VOCABULARY = 512
LENGTHS = Lengths(prompt=(16, 48), output=(24, 40))
_LONGEST_SECONDS = 150.0


class End(StrEnum):
    """How a request ended."""

    ANSWERED = "answered"
    REFUSED = "refused"
    TOLD = "failed, told"
    SILENT = "failed, silent"


@dataclass(slots=True)
class Answer:
    """One request as the client saw it; times in seconds, from when it was due.

    Attributes:
        request_id: sent as `x-request-id`.
        at: when it was due, from the start of the load.
        wanted: tokens asked for.
        tokens: tokens received.
        ttft: to the first token; None without one.
        seconds: to the end.
        longest_gap: between two chunks of the stream.
        end: how it ended.
        detail: what went wrong, if anything.
        door: URL of the service at the gateway that was asked.
    """

    request_id: str
    at: float
    wanted: int
    tokens: int = 0
    ttft: float | None = None
    seconds: float = 0.0
    longest_gap: float = 0.0
    end: End = End.SILENT
    detail: str = ""
    door: str = ""


class _ToldError(Exception):
    """The service said that it failed."""


def session() -> aiohttp.ClientSession:
    """A client with as many connections as it wants; idle ones are kept and used again, as clients do."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None, sock_connect=10)
    )


async def ask(client: aiohttp.ClientSession, base: str, item: Planned, *, request_id: str, due: float) -> Answer:
    """Send one request once and follow its stream to the end.

    Args:
        client: the HTTP client.
        base: URL of the service at a gateway.
        item: what to ask for.
        request_id: its id.
        due: loop time at which it was due.
    """
    loop = asyncio.get_running_loop()
    answer = Answer(request_id, item.at, item.output_tokens, door=base)
    try:
        async with asyncio.timeout(_LONGEST_SECONDS):
            response = await client.post(
                f"{base}/v1/completions", json=body(item), headers={HEADER_REQUEST_ID: request_id}
            )
            async with response:
                if response.status != 200:
                    _refused(answer, response, await response.text())
                else:
                    await _follow(answer, response, due)
    except _ToldError as error:
        answer.end, answer.detail = End.TOLD, str(error)
    except TimeoutError:
        answer.detail = f"no end within {_LONGEST_SECONDS:.0f} s"
    except (aiohttp.ClientError, OSError, ValueError) as error:
        answer.detail = f"{type(error).__name__}: {error}"
    answer.seconds = loop.time() - due
    return answer


def body(item: Planned) -> dict[str, Any]:
    """The request's body."""
    return {
        "prompt": list(item.prompt),
        "max_tokens": item.output_tokens,
        "ignore_eos": True,
        "temperature": 0,
        "stream": True,
        "return_token_ids": True,
    }


def _refused(answer: Answer, response: aiohttp.ClientResponse, text: str) -> None:
    answer.detail = f"{response.status} {text[:160]}"
    try:
        told = bool(json.loads(text)["error"]["message"])
    except (ValueError, LookupError, TypeError):
        told = False
    if not told:
        return
    clean = response.status in (429, 503) and "Retry-After" in response.headers
    answer.end = End.REFUSED if clean else End.TOLD


async def _follow(answer: Answer, response: aiohttp.ClientResponse, due: float) -> None:
    loop = asyncio.get_running_loop()
    last, done = loop.time(), False
    async for line in response.content:
        if not line.startswith(b"data: "):
            continue
        data = line.removeprefix(b"data: ").strip()
        if data == b"[DONE]":
            done = True
            continue
        chunk = json.loads(data)
        if "error" in chunk:
            raise _ToldError(str(chunk["error"].get("message")))
        count = sum(len(choice.get("token_ids") or ()) for choice in chunk.get("choices", ()))
        if count:
            now = loop.time()
            if answer.ttft is None:
                answer.ttft = now - due
            else:
                answer.longest_gap = max(answer.longest_gap, now - last)
            last = now
            answer.tokens += count
    if done and answer.tokens == answer.wanted:
        answer.end = End.ANSWERED
    else:
        answer.detail = f"ended after {answer.tokens} of {answer.wanted} tokens, {'with' if done else 'without'} [DONE]"


@dataclass(slots=True)
class Traffic:
    """Load on one service, from `start` until its plan ends or `stop`.

    Attributes:
        pick: base URL of the service at the next gateway.
        service: its name, for request ids.
        phases: the plan; the last one is usually longer than needed, and stopped.
        lengths: of prompts and answers.
        seed: of arrivals and lengths.
        answers: of the requests that have ended.
    """

    pick: Callable[[], str]
    service: str
    phases: Sequence[Phase]
    lengths: Lengths = LENGTHS
    seed: int = 11
    answers: list[Answer] = field(default_factory=list)
    sent: int = 0
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _sender: asyncio.Task[None] | None = None
    _client: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._client = session()
        self._sender = asyncio.create_task(self._send())
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in (self._sender, *self._tasks):
            if task is not None:
                task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._client is not None:
            await self._client.close()

    async def has_ended(self, count: int) -> bool:
        """Whether so many requests have ended."""
        return len(self.answers) >= count

    @property
    def open(self) -> int:
        """Requests that have not ended."""
        return self.sent - len(self.answers)

    async def stop(self) -> list[Answer]:
        """Send no more, wait for every answer."""
        if self._sender is not None:
            self._sender.cancel()
        return await self._all()

    async def ended(self) -> list[Answer]:
        """Wait for the end of the plan and every answer."""
        if self._sender is not None:
            await self._sender
        return await self._all()

    async def _all(self) -> list[Answer]:
        await asyncio.gather(*self._tasks)
        return self.answers

    async def _send(self) -> None:
        loop = asyncio.get_running_loop()
        start = loop.time()
        planned = plan(self.phases, self.lengths, vocabulary=VOCABULARY, seed=self.seed)
        for number, item in zip(itertools.count(), planned, strict=False):
            await asyncio.sleep(max(0.0, start + item.at - loop.time()))
            self.sent += 1
            self._tasks.append(asyncio.create_task(self._one(number, item, start + item.at)))

    async def _one(self, number: int, item: Planned, due: float) -> None:
        assert self._client is not None
        name = f"{self.service}-{self.seed}-{number}"
        self.answers.append(await ask(self._client, self.pick(), item, request_id=name, due=due))
