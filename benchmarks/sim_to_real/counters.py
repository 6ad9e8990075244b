"""What a worker's step counters went up by, read from its page every two seconds."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import aiohttp

from penstock_contract.step import StepWork
from penstock_operator.core.scaling.stepfit import StepRates

_WINDOW_SECONDS = 2.0
_COUNTERS = {
    "steps": "engine_steps_total",
    "seconds": "engine_step_seconds_total",
    "sequences": "decode_sequence_steps_total",
    "context": "kv_token_steps_total",
    "prefill": "prefill_tokens_computed_total",
    "prefill_length": "prefill_token_length_total",
    "generated": "generated_tokens_total",
}


@dataclass(frozen=True, slots=True)
class Window:
    """What the counters went up by between two looks; `elapsed` seconds apart."""

    at: float
    elapsed: float
    steps: float
    seconds: float
    sequences: float
    context: float
    prefill: float
    prefill_length: float
    generated: float

    @property
    def work(self) -> StepWork:
        """In the terms of the step model."""
        return StepWork(self.steps, self.sequences, self.context, self.prefill, self.prefill_length)

    @property
    def rates(self) -> StepRates:
        """As the operator sees it."""
        by = self.elapsed
        return StepRates(
            steps=self.steps / by,
            seconds=self.seconds / by,
            sequences=self.sequences / by,
            prefill_tokens=self.prefill / by,
            generated_tokens=self.generated / by,
        )


async def look(url: str, windows: list[Window]) -> None:
    """Append a window every two seconds, until cancelled.

    Args:
        url: base URL of the worker.
        windows: where to.
    """
    loop = asyncio.get_running_loop()
    start = loop.time()
    before: tuple[float, dict[str, float]] | None = None
    async with aiohttp.ClientSession() as session:
        while True:
            async with session.get(f"{url}/metrics") as response:
                now, text = loop.time(), await response.text()
            found = _read(text)
            if before is not None:
                rise = {name: value - before[1][name] for name, value in found.items()}
                windows.append(Window(at=now - start, elapsed=now - before[0], **rise))
            before = (now, found)
            await asyncio.sleep(_WINDOW_SECONDS)


def _read(page: str) -> dict[str, float]:
    totals = dict.fromkeys(_COUNTERS, 0.0)
    names = {f"penstock_worker_{metric}": name for name, metric in _COUNTERS.items()}
    for line in page.splitlines():
        name, _space, value = line.rpartition(" ")
        if key := names.get(name.partition("{")[0]):
            totals[key] += float(value)
    return totals
