"""The open-loop client: streams each planned request from whichever address is next.

Through a gateway a request is sent once, and a refusal is a failed request. Where workers are asked directly, nobody
else goes on to the next one, so a request may be retried before its first byte (connection refused, or a 503 of a
worker that drains); after that, a broken stream is a failed request and is counted as one.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import aiohttp

from penstock_lab.load.outcome import Outcome
from penstock_lab.load.schedule import Planned
from penstock_lab.load.text import printable

_LONGEST_REQUEST_SECONDS = 120.0
_OF_BARE_WORKERS = 20
_PAUSE_SECONDS = 0.1
_KEEP_IDLE_SECONDS = 2.0  # less than any server's: a request sent as the other side closes would be lost
_MOST_SAID = 200


class _RefusedError(Exception):
    """The worker did not take the request; nothing of the answer was seen."""


async def run(
    planned: Sequence[Planned],
    *,
    pick: Callable[[], Awaitable[str]],
    model: str,
    attempts: int = _OF_BARE_WORKERS,
    on_outcome: Callable[[Outcome], None] = lambda _: None,
) -> list[Outcome]:
    """Send everything at its time and wait for every answer.

    Args:
        planned: in order of time.
        pick: base URL of a worker or gateway; may wait until there is one.
        model: served name.
        attempts: how often a request may be sent until somebody takes it; 1 through a gateway, whose refusal counts.
        on_outcome: called as each request ends.
    """
    loop = asyncio.get_running_loop()
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_IDLE_SECONDS)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None)) as session:
        start = loop.time()
        tasks = []
        for item in planned:
            await asyncio.sleep(max(0.0, start + item.at - loop.time()))
            sent = _send(session, item, pick=pick, model=model, attempts=attempts, due=start + item.at)
            task = asyncio.create_task(sent)
            task.add_done_callback(lambda done: None if done.cancelled() else on_outcome(done.result()))
            tasks.append(task)
        return list(await asyncio.gather(*tasks))


async def _send(
    session: aiohttp.ClientSession,
    item: Planned,
    *,
    pick: Callable[[], Awaitable[str]],
    model: str,
    attempts: int,
    due: float,
) -> Outcome:
    loop = asyncio.get_running_loop()
    first: float | None = None
    last: float | None = None
    tokens, tried, error = 0, 0, None
    body = {
        "model": model,
        "prompt": list(item.prompt),
        "max_tokens": item.output_tokens,
        "ignore_eos": True,
        "temperature": 0,
        "stream": True,
        "return_token_ids": True,
    }
    try:
        async with asyncio.timeout(_LONGEST_REQUEST_SECONDS):
            while True:
                tried += 1
                try:
                    async for count in _stream(session, await pick(), body):
                        last = loop.time()
                        first = last if first is None else first
                        tokens += count
                    break
                except _RefusedError as refusal:
                    if tried >= attempts:
                        raise aiohttp.ClientError(f"refused (tried {tried} times): {refusal}") from refusal
                    await asyncio.sleep(_PAUSE_SECONDS)
        if tokens != item.output_tokens:
            error = f"{tokens} of {item.output_tokens} tokens"
    except TimeoutError:
        error = f"no end after {_LONGEST_REQUEST_SECONDS:.0f} s"
    except (aiohttp.ClientError, OSError, ValueError) as problem:
        error = printable(f"{type(problem).__name__}: {problem}")
    return Outcome(
        at=item.at,
        phase=item.phase,
        error=error,
        ttft_seconds=None if first is None else first - due,
        last_seconds=None if last is None else last - due,
        e2e_seconds=loop.time() - due,
        tokens=tokens,
        attempts=tried,
    )


async def _stream(session: aiohttp.ClientSession, base: str, body: dict[str, object]) -> AsyncIterator[int]:
    """Yield the number of tokens of each chunk."""
    try:
        response = await session.post(f"{base}/v1/completions", json=body)
    except (aiohttp.ClientConnectorError, aiohttp.ServerDisconnectedError) as error:
        raise _RefusedError(str(error)) from error
    async with response:
        if response.status == 503:
            raise _RefusedError(f"503 from {base}: {(await response.text())[:_MOST_SAID]}")
        if response.status != 200:
            raise aiohttp.ClientError(f"{response.status} from {base}: {(await response.text())[:_MOST_SAID]}")
        async for line in response.content:
            data = line.removeprefix(b"data: ").strip()
            if not line.startswith(b"data: ") or data == b"[DONE]":
                continue
            chunk = json.loads(data)
            if "error" in chunk:
                raise aiohttp.ClientError(str(chunk["error"]))
            for choice in chunk.get("choices", []):
                if ids := choice.get("token_ids"):
                    yield len(ids)
