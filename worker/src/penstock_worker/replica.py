"""The worker as the HTTP side sees it: what it serves, its state, and streams of outputs from the engine thread.

Everything here belongs to the event loop. The engine thread hands over each step's outputs in one call, which is
passed to the queue of the HTTP request they belong to; closing a queue aborts what has not finished.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from penstock_contract.profile import Profile
from penstock_worker.accounting import Accounting
from penstock_worker.checkpoint import ModelConfig
from penstock_worker.engine import Output
from penstock_worker.errors import engine_failed
from penstock_worker.lifecycle import Lifecycle
from penstock_worker.request import FinishReason, Request
from penstock_worker.scheduler import Scheduler
from penstock_worker.text import Text


class EngineHandle(Protocol):
    """What the event loop may do to a running engine."""

    def submit(self, request: Request) -> None:
        """Queue a request."""

    def finish(self, request_id: str, reason: FinishReason) -> None:
        """End a request at the next step boundary."""


class Replica:
    """One worker.

    Args:
        model_name: the name requests ask for.
        model: shape of the checkpoint.
        text: tokenizer and template, if the checkpoint has them.
        profile: the emulated device, if one is emulated.
        started: when loading began, in monotonic seconds; None = now.
    """

    def __init__(
        self,
        *,
        model_name: str,
        model: ModelConfig,
        text: Text | None,
        profile: Profile | None,
        started: float | None = None,
    ) -> None:
        self.model_name = model_name
        self.model = model
        self.text = text
        self.profile = profile
        self.lifecycle = Lifecycle(started=started)
        self.accounting = Accounting()
        self.scheduler: Scheduler | None = None
        self.max_model_len = 0
        self.failed = False
        self.active = 0  # HTTP requests that the engine works for
        self.idle = asyncio.Event()  # set while there is none
        self.idle.set()
        self._engine: EngineHandle | None = None
        self._queues: dict[str, asyncio.Queue[Output]] = {}

    def attach(self, engine: EngineHandle, scheduler: Scheduler, *, max_model_len: int) -> None:
        """The engine runs: become ready."""
        self._engine = engine
        self.scheduler = scheduler
        self.max_model_len = max_model_len
        self.lifecycle.mark_loaded()

    @property
    def running(self) -> int:
        """Requests in the running batch."""
        return len(self.scheduler.running) if self.scheduler else 0

    @property
    def waiting(self) -> int:
        """Requests waiting for a slot, those on their way to the engine included."""
        return max(0, self.accounting.in_flight - self.running)

    @contextmanager
    def stream(self, requests: Sequence[Request]) -> Iterator[asyncio.Queue[Output]]:
        """Submit requests and yield the queue of their outputs; what is unfinished at the end is aborted.

        Raises:
            RequestError: the engine is dead.
        """
        if self._engine is None or self.failed:
            raise engine_failed()
        queue: asyncio.Queue[Output] = asyncio.Queue()
        self.active += 1
        self.idle.clear()
        try:
            for request in requests:
                self._queues[request.id] = queue
                self._engine.submit(request)
            yield queue
        finally:
            self.active -= 1
            if not self.active:
                self.idle.set()
            for request in requests:
                self.end(request, "abort")

    def end(self, request: Request, reason: FinishReason) -> None:
        """End a request from this side; nothing if it ended already."""
        if self._queues.pop(request.id, None) is not None and self._engine is not None:
            self._engine.finish(request.id, reason)

    def cut_off(self) -> None:
        """End everything in flight as failed."""
        for request_id in tuple(self._queues):
            if self._engine is not None:
                self._engine.finish(request_id, "error")

    def dispatch(self, outputs: Sequence[Output]) -> None:
        """Hand a step's outputs to their queues."""
        for output in outputs:
            queue = self._queues.get(output.request.id)
            if queue is None:
                continue
            if output.finish_reason is not None:
                del self._queues[output.request.id]
            queue.put_nowait(output)
