"""One load from its first request to its report, with its progress shown."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from penstock_lab.load.ledger import Ledger
from penstock_lab.load.preflight import Ready
from penstock_lab.load.progress import Progress
from penstock_lab.load.prompts import Prompts
from penstock_lab.load.report import Judgement, result
from penstock_lab.load.sender import Limits, Sender
from penstock_lab.load.workload import Workload


@dataclass(frozen=True, slots=True)
class Run:
    """What one load leaves behind: its report, and the rows of its requests."""

    report: dict[str, Any]
    ledger: Ledger
    workload: Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What loads against one endpoint have in common.

    Attributes:
        ready: the endpoint.
        judgement: thresholds.
        limits: deadlines.
        warmup: seconds that are not measured.
        progress: where to show it.
        meta: what the report says about how the load was made.
    """

    ready: Ready
    judgement: Judgement
    limits: Limits
    warmup: float
    progress: Progress
    meta: Mapping[str, Any] = field(default_factory=dict)

    async def run(self, workload: Workload, *, title: str = "load") -> Run:
        """Send a workload; Ctrl-C ends it early and still gives a report."""
        if self.ready.context is not None:
            workload = workload.within(self.ready.context)
        ledger = Ledger(workload.due, workload.requests.prompt_tokens, self.warmup)
        prompts = Prompts(self.ready.shape)
        sender = Sender(workload, endpoint=self.ready.endpoint, prompts=prompts, ledger=ledger, limits=self.limits)
        with _interruptible(sender), self.progress.shown(title, ledger, sender, workload.seconds):
            await sender.run()
        meta = {
            **self.meta,
            "workload": dict(workload.description)
            | {"seconds": round(workload.seconds, 3), "shortened_to_fit": workload.clipped},
            "seconds": round(sender.elapsed, 3),
            "interrupted": sender.interrupted,
        }
        return Run(result(ledger, workload, self.judgement, meta=meta), ledger, workload)


@contextmanager
def _interruptible(sender: Sender) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    with suppress(ValueError, RuntimeError):  # not the main thread: whoever runs us takes care of signals
        loop.add_signal_handler(signal.SIGINT, sender.interrupt)
    try:
        yield
    finally:
        with suppress(ValueError, RuntimeError):
            loop.remove_signal_handler(signal.SIGINT)
