"""A whole load, fixed before its first request: when each is due and how long it is, as arrays.

16 bytes a request: half an hour of 100 requests/s is 3 MB, a day of it 140 MB. Prompts are made as they are sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penstock_lab.load.arrivals import Curve, Process
from penstock_lab.load.lengths import Length
from penstock_lab.load.schedule import Phase
from penstock_lab.traces.request import Arrays, TraceRequest, arrays

_ARRIVALS, _LENGTHS = 0, 1  # streams of randomness: other lengths leave the arrivals as they are


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Requests in order of their due time.

    Attributes:
        requests: due seconds and tokens of each, with prefix blocks where a trace has them.
        seconds: how long arrivals last; the last one may come earlier.
        description: how it was made, for the report.
        phases: named stretches, if any.
        clipped: requests that were shortened to fit the model's context.
    """

    requests: Arrays
    seconds: float
    description: Mapping[str, Any]
    phases: tuple[Phase, ...] = ()
    clipped: int = field(default=0)

    def __len__(self) -> int:
        return len(self.requests)

    @property
    def due(self) -> NDArray[np.float64]:
        """Seconds from the start of the load (n,)."""
        return self.requests.arrival_seconds

    def scaled(self, factor: float) -> Workload:
        """The same with all lengths multiplied, at least one token each."""
        return (
            self
            if factor == 1.0
            else self._with(
                np.maximum(1, np.rint(self.requests.prompt_tokens * factor)),
                np.maximum(1, np.rint(self.requests.output_tokens * factor)),
                clipped=self.clipped,
            )
        )

    def within(self, context: int) -> Workload:
        """The same, so that prompt and answer fit a context of so many tokens; prompts are cut first."""
        output = np.minimum(self.requests.output_tokens, context - 1)
        prompt = np.minimum(self.requests.prompt_tokens, context - output)
        changed = (prompt != self.requests.prompt_tokens) | (output != self.requests.output_tokens)
        return self._with(prompt, output, clipped=int(changed.sum()))

    def _with(self, prompt: NDArray[Any], output: NDArray[Any], *, clipped: int) -> Workload:
        requests = replace(self.requests, prompt_tokens=prompt.astype(np.int32), output_tokens=output.astype(np.int32))
        return replace(self, requests=requests, clipped=clipped)


def draw(
    curve: Curve,
    process: Process,
    *,
    prompt: Length,
    output: Length,
    seed: int,
    description: Mapping[str, Any],
    phases: tuple[Phase, ...] = (),
) -> Workload:
    """A load with arrivals and lengths from distributions; the same for the same arguments.

    Args:
        curve: rate over time.
        process: of the arrivals.
        prompt: tokens of prompts.
        output: tokens of answers.
        seed: of everything random.
        description: for the report.
        phases: named stretches of the curve.
    """
    due = curve.draw(process, np.random.default_rng((seed, _ARRIVALS)))
    dice = np.random.default_rng((seed, _LENGTHS))
    none = np.empty(0, np.int64)
    requests = Arrays(due, prompt.draw(len(due), dice), output.draw(len(due), dice), none, none)
    return Workload(requests=requests, seconds=float(curve.seconds[-1]), description=description, phases=phases)


def replay(requests: Any, *, seconds: float | None, description: Mapping[str, Any]) -> Workload:
    """A load as a trace has it.

    Args:
        requests: iterable of `TraceRequest`, in order.
        seconds: how long; None until the last request. What comes later is left out.
        description: for the report.
    """

    def wanted() -> Any:
        request: TraceRequest
        for request in requests:
            if seconds is not None and request.arrival_seconds >= seconds:
                return
            yield request

    found = arrays(wanted())
    last = float(found.arrival_seconds[-1]) if len(found) else 0.0
    return Workload(requests=found, seconds=seconds or last, description=description)
