"""The open loop: every request leaves when it is due, whatever became of those before it.

Latency counts from the due time, so time that a request waits inside the generator is part of it, and is reported
by itself as well: how late requests left (`lag`), and how late the event loop woke up, which is how late answers
may have been read (`loop_lag`). Memory grows with what is in flight, not with what has been sent.
"""

from __future__ import annotations

import asyncio
import resource
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import aiohttp

from penstock_lab.load.endpoint import Endpoint
from penstock_lab.load.exchange import Answer, FailedError, exchange
from penstock_lab.load.ledger import GIVEN_UP, SAMPLE_SECONDS, TIMED_OUT, Ledger
from penstock_lab.load.prompts import Prompts
from penstock_lab.load.workload import Workload

_LEAD_SECONDS: Final = 0.1
_BURST: Final = 32  # requests begun before those begun earlier get a turn
# Less than the five seconds after which uvicorn, which vLLM runs on, closes an idle connection: a request sent at that
# moment would be lost.
_KEEP_IDLE_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long things may take, in seconds.

    Attributes:
        request: from due time to the end of an answer.
        drain: from the last due time until what is under way is given up.
    """

    request: float = 600.0
    drain: float = 60.0


class Sender:
    """Sends one workload."""

    def __init__(
        self, workload: Workload, *, endpoint: Endpoint, prompts: Prompts, ledger: Ledger, limits: Limits
    ) -> None:
        self._workload = workload
        self._endpoint = endpoint
        self._prompts = prompts
        self._ledger = ledger
        self._limits = limits
        self._headers = {"Content-Type": "application/json", "Accept": "text/event-stream", **endpoint.headers}
        self._tasks: set[asyncio.Task[None]] = set()
        self._idle = asyncio.Event()
        self._sending: asyncio.Task[None] | None = None
        self._start = 0.0
        self.interrupted = False

    def interrupt(self) -> None:
        """Send no more and give up what is under way; `run` then returns."""
        self.interrupted = True
        self._idle.set()
        if self._sending is not None:
            self._sending.cancel()

    @property
    def elapsed(self) -> float:
        """Seconds since the load began."""
        return time.monotonic() - self._start if self._start else 0.0

    async def run(self) -> None:
        """Send everything, then wait for the answers, at most until the drain deadline."""
        async with client(self._endpoint) as session:
            self._start = time.monotonic() + _LEAD_SECONDS
            sampler = asyncio.create_task(self._sample())
            self._sending = asyncio.create_task(self._send(session))
            try:
                await self._sending
                await self._drain()
            except asyncio.CancelledError:
                if not self.interrupted:
                    raise
            finally:
                for task in (sampler, self._sending, *self._tasks):
                    task.cancel()
                await asyncio.gather(sampler, self._sending, *self._tasks, return_exceptions=True)

    async def _send(self, session: aiohttp.ClientSession) -> None:
        requests = self._workload.requests
        for number in range(len(requests)):
            prompt = self._prompts.json(number, int(requests.prompt_tokens[number]), requests.hashes(number).tolist())
            body = self._endpoint.body(prompt, output_tokens=int(requests.output_tokens[number]))
            due = self._start + float(requests.arrival_seconds[number])
            if number % _BURST == 0:
                await asyncio.sleep(0)
            # uvloop may wake a part of a millisecond early, so sleep again.
            while (wait := due - time.monotonic()) > 0:  # noqa: ASYNC110 - time is what is waited for, not a condition
                await asyncio.sleep(wait)
            task = asyncio.create_task(self._one(session, number, body))
            self._tasks.add(task)
            task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not self._tasks:
            self._idle.set()

    async def _drain(self) -> None:
        self._idle.clear()
        left = self._start + self._workload.seconds + self._limits.drain - time.monotonic()
        if self._tasks and left > 0 and not self.interrupted:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), left)

    async def _one(self, session: aiohttp.ClientSession, number: int, body: bytes) -> None:
        ledger, answer = self._ledger, Answer()
        measured = ledger.due[number] >= ledger.warmup
        due = self._start + float(ledger.due[number])

        def on_tokens(count: int, gap: float | None, now: float) -> None:
            ledger.tokens(count, now - self._start)
            if gap is not None and measured:
                ledger.itl.add(gap)

        ledger.leave(number, max(0.0, time.monotonic() - due))
        error: FailedError | None = None
        try:
            async with asyncio.timeout(due + self._limits.request - time.monotonic()):
                await exchange(
                    session,
                    url=self._endpoint.url,
                    headers=self._headers,
                    body=body,
                    answer=answer,
                    on_tokens=on_tokens,
                )
        except FailedError as failed:
            error = failed
        except TimeoutError:
            error = FailedError(TIMED_OUT, f"no end within {self._limits.request:g} s (--timeout)")
        except asyncio.CancelledError:
            error = FailedError(
                GIVEN_UP,
                "interrupted" if self.interrupted else f"no end {self._limits.drain:g} s after the load (--drain)",
            )
        now = time.monotonic()
        if error is not None and error.reason in (TIMED_OUT, GIVEN_UP) and answer.first is not None and measured:
            ledger.itl.add(now - answer.last)  # the gap in which it was given up was at least as long
        ledger.end(number, answer, start=self._start, now=now, error=error)

    async def _sample(self) -> None:
        """Note how late the loop wakes up."""
        while True:
            due = time.monotonic() + SAMPLE_SECONDS
            await asyncio.sleep(SAMPLE_SECONDS)
            self._ledger.woke(max(0.0, time.monotonic() - due))


def client(endpoint: Endpoint) -> aiohttp.ClientSession:
    """A client without a limit of its own on connections."""
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_IDLE_SECONDS, ssl=endpoint.verify_tls)
    return aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
        headers={"User-Agent": "penstock-load", "Accept-Encoding": "identity"},
    )


def raise_open_files() -> int:
    """Let this process open as many sockets as it may; how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    return soft
