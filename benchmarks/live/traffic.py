"""The same requests to everybody at the same moments, and how busy the machine was meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
import psutil

from penstock_lab.load.endpoint import Endpoint
from penstock_lab.load.ledger import Ledger
from penstock_lab.load.prompts import Prompts, Shape
from penstock_lab.load.sender import Limits, Sender
from penstock_lab.load.workload import Workload

from .scenario import VOCABULARY

LIMITS = Limits(request=600.0, drain=120.0)
_SAMPLE_SECONDS = 5.0


@dataclass(slots=True)
class Machine:
    """How busy the machine was.

    Attributes:
        busy: (seconds, cores in use) over the last five seconds.
    """

    busy: list[tuple[float, float]] = field(default_factory=list)

    async def sample(self) -> None:
        """Look every five seconds until cancelled."""
        loop = asyncio.get_running_loop()
        start = loop.time()
        psutil.cpu_percent()
        while True:
            await asyncio.sleep(_SAMPLE_SECONDS)
            share = psutil.cpu_percent() / 100
            self.busy.append((round(loop.time() - start, 1), round(share * (psutil.cpu_count() or 1), 3)))

    @property
    def mean(self) -> float:
        """Cores."""
        return float(np.mean([cores for _at, cores in self.busy])) if self.busy else 0.0

    @property
    def high(self) -> float:
        """Cores, 95th percentile of the samples."""
        return float(np.percentile([cores for _at, cores in self.busy], 95)) if self.busy else 0.0


async def send(workload: Workload, urls: Mapping[str, str], *, model: str) -> tuple[dict[str, Ledger], Machine]:
    """Send a workload to every URL at the same time and wait for the answers.

    Args:
        workload: what.
        urls: by contestant.
        model: name in the requests.
    """
    prompts = Prompts(Shape(as_ids=True, vocabulary=VOCABULARY))
    ledgers = {name: Ledger(workload.due, workload.requests.prompt_tokens, 0.0) for name in urls}
    senders = [
        Sender(
            workload,
            endpoint=Endpoint(base=url, model=model),
            prompts=prompts,
            ledger=ledgers[name],
            limits=LIMITS,
        )
        for name, url in urls.items()
    ]
    machine = Machine()
    watching = asyncio.create_task(machine.sample())
    try:
        async with asyncio.TaskGroup() as group:
            for sender in senders:
                group.create_task(sender.run())
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
    return ledgers, machine
