"""The open-loop client: streams each planned request from whichever worker is next.

A request is retried on another worker only before its first byte (connection refused, or a 503 of a worker that
drains); after that, a broken stream is a failed request and is counted as one.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import aiohttp

from penstock_lab.load.outcome import Outcome
from penstock_lab.load.schedule import Planned

_LONGEST_REQUEST_SECONDS = 120.0
_ATTEMPTS = 20
_PAUSE_SECONDS = 0.1


class _RefusedError(Exception):
    """The worker did not take the request; nothing of the answer was seen."""


async def run(
    planned: Sequence[Planned],
    *,
    pick: Callable[[], Awaitable[str]],
    model: str,
    on_outcome: Callable[[Outcome], None] = lambda _: None,
) -> list[Outcome]:
    """Send everything at its time and wait for every answer.

    Args:
        planned: in order of time.
        pick: base URL of a worker; may wait until there is one.
        model: served name.
        on_outcome: called as each request ends.
    """
    loop = asyncio.get_running_loop()
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None)) as session:
        start = loop.time()
        tasks = []
        for item in planned:
            await asyncio.sleep(max(0.0, start + item.at - loop.time()))
            task = asyncio.create_task(_send(session, item, pick=pick, model=model, due=start + item.at))
            task.add_done_callback(lambda done: None if done.cancelled() else on_outcome(done.result()))
            tasks.append(task)
        return list(await asyncio.gather(*tasks))


async def _send(
    session: aiohttp.ClientSession, item: Planned, *, pick: Callable[[], Awaitable[str]], model: str, due: float
) -> Outcome:
    loop = asyncio.get_running_loop()
    first: float | None = None
    tokens, attempts, error = 0, 0, None
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
                attempts += 1
                try:
                    async for count in _stream(session, await pick(), body):
                        first = loop.time() if first is None else first
                        tokens += count
                    break
                except _RefusedError as refusal:
                    if attempts >= _ATTEMPTS:
                        raise aiohttp.ClientError(f"refused {attempts} times: {refusal}") from refusal
                    await asyncio.sleep(_PAUSE_SECONDS)
        if tokens != item.output_tokens:
            error = f"{tokens} of {item.output_tokens} tokens"
    except TimeoutError:
        error = f"no end after {_LONGEST_REQUEST_SECONDS:.0f} s"
    except (aiohttp.ClientError, OSError, ValueError) as problem:
        error = f"{type(problem).__name__}: {problem}"
    return Outcome(
        at=item.at,
        phase=item.phase,
        error=error,
        ttft_seconds=None if first is None else first - due,
        e2e_seconds=loop.time() - due,
        tokens=tokens,
        attempts=attempts,
    )


async def _stream(session: aiohttp.ClientSession, base: str, body: dict[str, object]) -> AsyncIterator[int]:
    """Yield the number of tokens of each chunk."""
    try:
        response = await session.post(f"{base}/v1/completions", json=body)
    except (aiohttp.ClientConnectorError, aiohttp.ServerDisconnectedError) as error:
        raise _RefusedError(str(error)) from error
    async with response:
        if response.status == 503:
            raise _RefusedError(f"503 from {base}")
        if response.status != 200:
            raise aiohttp.ClientError(f"{response.status} from {base}: {(await response.text())[:200]}")
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
