"""The throughput-latency curve: loads of rising rate, each with its own warm-up, and the knee between good and bad.

The knee is the largest rate tried whose requests met all objectives in at least the share asked for; a step where the
generator itself fell behind does not count. With `auto` the rate doubles until a step misses (or halves until one
meets); then the gap between the last good and the first bad rate is halved until it is within a tenth. Every step is
drained before the next begins, so that none pays for the queue of another.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

SCHEMA: Final = "penstock.sweep/1"
_CLOSE: Final = 1.1
_LOWEST_RATE: Final = 0.01
_KEPT: Final = ("meta", "valid", "problems", "requests", "rates", "latency", "objectives", "sender")

Step = Callable[[float], Awaitable[dict[str, Any]]]
"""Runs a load at a rate and gives its report."""


@dataclass(slots=True)
class Sweep:
    """One search.

    Attributes:
        step: runs a load.
        attainment: share of requests that must meet all objectives.
        most_steps: loads in all.
        steps: what was found, by rate.
    """

    step: Step
    attainment: float
    most_steps: int
    steps: dict[float, dict[str, Any]] = field(default_factory=dict)

    async def search(self, rates: Sequence[float] | None, *, first: float) -> None:
        """Try rates and refine the knee.

        Args:
            rates: to try; None to find them.
            first: to begin with when they are to be found.
        """
        if rates is not None:
            for rate in sorted(rates):
                await self._try(rate)
        else:
            await self._bracket(first)
        while not self._done and (middle := self._middle()) is not None:
            await self._try(middle)

    @property
    def good(self) -> list[float]:
        """Rates that met the objectives, below every one that did not."""
        bad = self.bad
        return sorted(rate for rate, report in self.steps.items() if report["good"] and (not bad or rate < bad[0]))

    @property
    def bad(self) -> list[float]:
        """Rates that did not, or could not be sent."""
        return sorted(rate for rate, report in self.steps.items() if not report["good"])

    async def _bracket(self, rate: float) -> None:
        await self._try(rate)
        while not self._done and not self.bad:
            rate *= 2
            await self._try(rate)
        while not self._done and not self.good and rate > _LOWEST_RATE:
            rate /= 2
            await self._try(rate)

    def _middle(self) -> float | None:
        if not (self.good and self.bad) or self.bad[0] / self.good[-1] <= _CLOSE:
            return None
        return float(f"{(self.good[-1] + self.bad[0]) / 2:.3g}")

    @property
    def _done(self) -> bool:
        return len(self.steps) >= self.most_steps or any(step["meta"]["interrupted"] for step in self.steps.values())

    async def _try(self, rate: float) -> None:
        if rate in self.steps or self._done:
            return
        report = await self.step(rate)
        share = report["objectives"]["all"]["attainment"]
        met = report["valid"] and share is not None and share >= self.attainment
        self.steps[rate] = {"requests_per_second": rate, "good": met} | {key: report[key] for key in _KEPT}

    def to_json(self, *, meta: Mapping[str, Any], objectives: Mapping[str, float]) -> dict[str, Any]:
        """The content of `sweep.json`."""
        return {
            "schema": SCHEMA,
            "meta": dict(meta),
            "objectives": dict(objectives),
            "attainment": self.attainment,
            "knee": self._knee(),
            "steps": [self.steps[rate] for rate in sorted(self.steps)],
        }

    def _knee(self) -> dict[str, Any]:
        rate = self.good[-1] if self.good else None
        above = self.bad[0] if self.bad else None
        means = f"the largest rate tried with at least {self.attainment:.2%} of requests within all objectives"
        if rate is None:
            text = (
                f"not found: no rate tried met the objectives, the lowest was {min(self.steps, default=0):g} requests/s"
            )
        elif above is None:
            text = f"above {rate:g} requests/s: no rate tried missed the objectives ({means})"
        else:
            text = f"{rate:g} requests/s, {means}; {above:g} requests/s "
            step = self.steps[above]
            if step["meta"]["interrupted"]:
                text += "was interrupted"
            else:
                text += "missed" if step["sender"]["kept_up"] else "was more than this generator can send"
            found = self.steps[rate]["objectives"]["all"]
            if found["low"] < self.attainment:
                text += f"; {found['of']} requests are too few to be sure (--duration gives more)"
        return {
            "requests_per_second": rate,
            "missed_at_requests_per_second": above,
            "output_tokens_per_second": self.steps[rate]["rates"]["output_tokens_per_second"] if rate else None,
            "explanation": text,
        }
