"""One request on its way through the gateway: what it is worth, where it is, and what it measured.

All times are monotonic seconds of this process; durations that the worker measured are added to them as durations,
so no clocks are compared.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Mapping
from typing import Final

from penstock_contract.names import HEADER_QUEUE_WAIT, HEADER_TPOT, HEADER_TTFT, TPOT_MIN_TOKENS
from penstock_gateway.directory import Service
from penstock_gateway.inquiry import Inquiry
from penstock_gateway.meter import Meter
from penstock_gateway.pool import PROMPT_TOKENS_PER_WORK, Ticket, Worker
from penstock_gateway.sla import End, Timings, seconds_per_token

_QUEUE_WAIT: Final = HEADER_QUEUE_WAIT.lower().encode()
_TTFT: Final = HEADER_TTFT.lower().encode()
_TPOT: Final = HEADER_TPOT.lower().encode()
REPORTED: Final = (_QUEUE_WAIT, _TTFT, _TPOT)


class Attempt:
    """One try at one worker; `abort` makes it end as if the connection had broken.

    Attributes:
        answering: its first byte has come.
        writing_since: when the write to the client began that has not ended; None between writes.
        work_left: work reserved at the worker and not counted down yet.
        slow_reader: it was aborted because its client does not read.
    """

    __slots__ = ("_aborted", "_task", "answering", "prompt_work", "slow_reader", "work_left", "worker", "writing_since")

    def __init__(self, worker: Worker, task: asyncio.Task[None] | None, *, work: int, prompt_work: int) -> None:
        self.worker = worker
        self.work_left = work
        self.prompt_work = prompt_work
        self.answering = False
        self.writing_since: float | None = None
        self.slow_reader = False
        self._aborted = False
        self._task = task

    def abort(self, *, slow_reader: bool = False) -> None:
        """End it, wherever it waits."""
        if self._aborted or self._task is None:
            return
        self._aborted, self.slow_reader = True, slow_reader
        self._task.cancel()

    def cancelled(self) -> bool:
        """Whether the task was cancelled for the attempt alone; to be asked once, when it was, as it takes that back.

        `asyncio.timeout` does the same, and asks for the running event loop three times, each with a system call.
        """
        return self._aborted and self._task is not None and not self._task.uncancel()

    def progress(self, tokens: int) -> None:
        """Tokens came: the worker has that much less to do."""
        done = tokens
        if not self.answering:
            self.answering = True
            done += self.prompt_work
        done = min(done, self.work_left)
        self.work_left -= done
        self.worker.work -= done


class Exchange:
    """One request and what becomes of it.

    Attributes:
        service: that it is for.
        path: at the worker.
        head: header lines for the worker.
        body: for the worker, byte by byte as it came; emptied when it can no longer be needed.
        request_id: given by the client, or made.
        ticket: its claim to workers.
        sent_at: when it was sent to the worker that answered, or last to one.
        meter: of a streamed answer.
        end: how it ended.
        reason: why it failed or was abandoned.
        attempts: workers asked.
        begun: the client is being sent an answer, and no other worker may be tried.
        choked: its client did not keep up, so that its times say nothing of the worker.
    """

    __slots__ = (
        "_reported", "_tokens", "attempts", "begun", "body", "choices", "choked", "end", "head", "meter",
        "path", "prompt_work", "reason", "request_id", "sent_at", "service", "ticket",
    )  # fmt: skip

    def __init__(
        self,
        service: Service,
        inquiry: Inquiry,
        *,
        path: str,
        head: bytes,
        body: bytes,
        request_id: str,
        arrived: float,
    ) -> None:
        self.service = service
        self.path = path
        self.head = head
        self.body = body
        self.request_id = request_id
        self.choices = inquiry.choices
        output = service.stats.mean_output
        if inquiry.max_tokens is not None:
            output = min(output, inquiry.max_tokens)
        self.prompt_work = inquiry.prompt_tokens // PROMPT_TOKENS_PER_WORK
        work = int(output * inquiry.choices) + self.prompt_work + 1
        self.ticket = Ticket(work, inquiry.choices, arrived, inquiry.prefixes)
        self.sent_at: float | None = None
        self.meter: Meter | None = None
        self.end = End.FAILED
        self.reason: str | None = None
        self.attempts = 0
        self.begun = False
        self.choked = False
        self._reported: dict[bytes, float] = {}
        self._tokens: int | None = None

    def message(self, host: str) -> bytes:
        """The request as a worker gets it."""
        line = f"POST {self.path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(self.body)}\r\n".encode()
        return b"".join((line, self.head, b"\r\n", self.body))

    def finish(self, end: End, reason: str | None = None) -> None:
        """Note how it ended."""
        self.end, self.reason = end, reason

    def report(self, fields: Mapping[bytes, bytes]) -> None:
        """Take the durations that the worker measured from the fields of its answer's head."""
        for name in REPORTED:
            value = fields.get(name)
            if value is not None:
                with contextlib.suppress(ValueError):
                    seconds = float(value)
                    if 0.0 <= seconds < math.inf:
                        self._reported[name] = seconds

    @property
    def exact(self) -> bool:
        """The answer comes from a worker of ours, which sends one event for each token."""
        return bool(self._reported)

    def count(self, tokens: int | None) -> None:
        """Output tokens of the whole answer, as far as known."""
        self._tokens = tokens
        if tokens:
            self.service.stats.output(tokens / self.choices)

    def timings(self, now: float) -> Timings:
        """Durations until `now`, the end of the request."""
        arrived = self.ticket.arrived
        held = None if self.sent_at is None else self.sent_at - arrived
        reported, meter = self._reported, self.meter
        wait = reported.get(_QUEUE_WAIT)
        ttft, tpot = reported.get(_TTFT), reported.get(_TPOT)
        if meter is not None:
            first = meter.first_at
            return Timings(
                ttft=None if first is None else first - arrived,
                tpot=None
                if first is None or self._tokens is None
                else seconds_per_token(first, meter.last_at, self._tokens / self.choices),
                queue_wait=None if held is None or wait is None else held + wait,
                e2e=now - arrived,
            )
        paced = self._tokens is not None and self._tokens / self.choices >= TPOT_MIN_TOKENS
        return Timings(
            ttft=None if held is None or ttft is None else held + ttft,
            tpot=tpot if paced else None,
            queue_wait=None if held is None or wait is None else held + wait,
            e2e=now - arrived,
        )
