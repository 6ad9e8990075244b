"""The engine loop (plan, run, commit, publish) and the thread it runs in.

`Engine` is synchronous and deterministic given its calls; `EngineThread` feeds it from an inbox and hands each step's
outputs to one callback, so that the event loop wakes once a step, not once a request. Requests enter and leave
between steps only. If a step raises, the engine is dead: all requests end with `error` and the process should exit.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Protocol

from penstock_worker.accounting import Accounting
from penstock_worker.pacing import Pacer
from penstock_worker.request import FinishReason, Request
from penstock_worker.scheduler import Scheduler, StepPlan

_log = logging.getLogger(__name__)


class StepRunner(Protocol):
    """Computes plans; the one part that knows the device."""

    def run(self, plan: StepPlan) -> list[int]:
        """One token for each chunk with `samples`, in the plan's order."""


@dataclass(frozen=True, slots=True)
class Output:
    """What a request got: a token, an end, or both."""

    request: Request
    token: int | None
    finish_reason: FinishReason | None


class Engine:
    """Scheduler, runner, pacing and accounting of one replica.

    Args:
        scheduler: plans steps.
        runner: computes them.
        pacer: times them.
        accounting: counts them.
        clock: monotonic seconds, the clock of all request times.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        runner: StepRunner,
        *,
        pacer: Pacer,
        accounting: Accounting,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.scheduler = scheduler
        self.accounting = accounting
        self._runner = runner
        self._pacer = pacer
        self._clock = clock
        self._idle = True

    def add(self, request: Request) -> None:
        """Queue a request that `accounting` has seen arrive."""
        self.scheduler.add(request)

    def finish(self, request_id: str, reason: FinishReason) -> list[Output]:
        """End a request from outside; nothing if it ended already."""
        request = self.scheduler.finish(request_id, reason)
        if request is None:
            return []
        self.accounting.leave(request)
        return [Output(request, None, reason)]

    def step(self) -> list[Output]:
        """Run one iteration; no outputs and no step when there is no work."""
        if self._idle:
            self._pacer.begin()
        plan = self.scheduler.plan()
        self._idle = plan is None
        if plan is None:
            return []
        tokens = self._runner.run(plan)
        seconds, overrun = self._pacer.finish(plan.work)
        emissions = self.scheduler.commit(plan, tokens)
        self._idle = not self.scheduler.has_work
        self.accounting.step(plan, emissions, seconds=seconds, overrun=overrun, now=self._clock())
        return [Output(emission.request, emission.token, emission.finish_reason) for emission in emissions]


@dataclass(frozen=True, slots=True)
class _Finish:
    request_id: str
    reason: FinishReason


class _Stop:
    """Ends the thread."""


class EngineThread:
    """Runs an engine until it is stopped.

    Args:
        engine: the engine; only this thread touches it from `start` on.
        publish: gets each step's outputs, in this thread.
        failed: called once if the engine dies, in this thread.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        publish: Callable[[Sequence[Output]], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._engine = engine
        self._publish = publish
        self._failed = failed
        self._inbox: SimpleQueue[Request | _Finish | _Stop] = SimpleQueue()
        self._thread = threading.Thread(target=self._main, name="engine", daemon=True)
        self._stopping = False

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def submit(self, request: Request) -> None:
        """Count the request as arrived and queue it."""
        self._engine.accounting.arrive(request)
        self._inbox.put(request)

    def finish(self, request_id: str, reason: FinishReason) -> None:
        """End a request at the next step boundary."""
        self._inbox.put(_Finish(request_id, reason))

    def stop(self, timeout: float = 5.0) -> None:
        """End the thread after its current step."""
        self._inbox.put(_Stop())
        self._thread.join(timeout)

    def _main(self) -> None:
        try:
            while not self._stopping:
                self._receive()
                if not self._stopping and (outputs := self._engine.step()):
                    self._publish(outputs)
        except Exception as error:  # noqa: BLE001 - whatever a step raises, its requests must be answered
            _log.exception("event=engine_failed")
            self._fail_all()
            self._failed(error)

    def _receive(self) -> None:
        """Take in what came; wait for something if there is no work."""
        block = not self._engine.scheduler.has_work
        while not self._stopping:
            try:
                message = self._inbox.get(block=block)
            except Empty:
                return
            block = False
            if isinstance(message, Request):
                self._engine.add(message)
            elif isinstance(message, _Finish):
                self._publish(self._engine.finish(message.request_id, message.reason))
            else:
                self._stopping = True

    def _fail_all(self) -> None:
        outputs = []
        for request in self._engine.scheduler.requests:
            outputs += self._engine.finish(request.id, "error")
        self._publish(outputs)
