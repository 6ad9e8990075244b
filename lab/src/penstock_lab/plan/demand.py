"""What is asked of a service: how often, and how many tokens each time; as numbers or as the busiest minute of a trace.

`500/s,prompt=1000,output=200` says it in requests, `100k tok/s,prompt=1000,output=200` in generated tokens; the time
may be a second, minute, hour or day. Work is not linear in lengths, so a demand also has the means of the products that
it depends on; for fixed lengths they are the products of the means.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from penstock_lab.plan.errors import PlanError
from penstock_lab.traces.errors import TraceError
from penstock_lab.traces.request import Arrays, arrays
from penstock_lab.traces.source import Source

SECONDS_PER_DAY = 86_400.0
PEAK_SECONDS = 60.0
_EXAMPLE = "such as 500/s,prompt=1000,output=200 or 100k tok/s,prompt=1000,output=200 or the file of a trace"
_SECONDS = {"s": 1.0, "sec": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": SECONDS_PER_DAY, "day": SECONDS_PER_DAY}
_SCALE = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}
_RATE = re.compile(r"(?P<value>\d+(?:\.\d*)?|\.\d+)\s*(?P<scale>[kMG]?)\s*(?P<what>req|tok|tokens)?/(?P<unit>[a-z]+)")
_MOST_TOKENS = 10_000_000


@dataclass(frozen=True, slots=True)
class Demand:
    """A steady stream of requests that come independently of each other.

    Attributes:
        requests_per_second: what is sized for.
        prompt_tokens: mean.
        output_tokens: mean.
        prompt_squared: mean of the prompt's square, for attention's share of the prefill.
        output_context: mean of output x (prompt + output / 2), the context tokens read while decoding.
        longest_prompt: of which the first token is still to be in time: the mean, or the trace's percentile.
        mean_requests_per_second: over the whole trace; as `requests_per_second` without one.
        said: for people.
        lengths: int32 (n, 2), prompt and output tokens of requests to draw from; empty when all are alike.
    """

    requests_per_second: float
    prompt_tokens: float
    output_tokens: float
    prompt_squared: float
    output_context: float
    longest_prompt: float
    mean_requests_per_second: float
    said: str
    lengths: NDArray[np.int32] = field(default_factory=lambda: np.empty((0, 2), np.int32), compare=False, repr=False)

    @classmethod
    def steady(cls, requests_per_second: float, *, prompt: float, output: float, said: str = "") -> Demand:
        """Every request alike."""
        return cls(
            requests_per_second=requests_per_second,
            prompt_tokens=prompt,
            output_tokens=output,
            prompt_squared=prompt * prompt,
            output_context=output * (prompt + output / 2),
            longest_prompt=prompt,
            mean_requests_per_second=requests_per_second,
            said=said or f"{requests_per_second:g}/s,prompt={prompt:g},output={output:g}",
        )

    @property
    def tokens_per_second(self) -> float:
        """Generated tokens/s."""
        return self.requests_per_second * self.output_tokens

    @property
    def requests_per_day(self) -> float:
        """Requests of a day at this rate."""
        return self.requests_per_second * SECONDS_PER_DAY

    def at(self, requests_per_second: float) -> Demand:
        """The same requests at another rate."""
        return replace(self, requests_per_second=requests_per_second)


def parse(text: str, *, percentile: float = 99.0) -> Demand:
    """The demand that a person wrote.

    Args:
        text: as in the module's description, or the path of a trace.
        percentile: of a trace's prompts, the one that is `longest_prompt`.

    Raises:
        PlanError: it is none.
    """
    path = Path(text)
    if path.is_file():
        return of_trace(path, percentile=percentile)
    rate, *pairs = (part.strip() for part in text.split(","))
    found = _RATE.fullmatch(rate)
    if found is None or found["unit"] not in _SECONDS:
        raise PlanError(f"{rate!r} is neither a rate nor a file: write the demand {_EXAMPLE}")
    lengths = _lengths(pairs)
    per_second = float(found["value"]) * _SCALE[found["scale"]] / _SECONDS[found["unit"]]
    if found["what"] in ("tok", "tokens"):
        per_second /= lengths["output"]
    if not per_second > 0:
        raise PlanError(f"a rate of {rate} asks for no replica: give one above 0")
    return Demand.steady(per_second, prompt=lengths["prompt"], output=lengths["output"], said=text)


def of_trace(path: Path, *, percentile: float = 99.0) -> Demand:
    """The minute of a trace with the most generated tokens, beside the mean rate of all of it.

    Raises:
        PlanError: it cannot be read, or holds nothing.
    """
    try:
        columns = arrays(Source(path=path).requests())
    except TraceError as error:
        raise PlanError(str(error)) from error
    if not len(columns):
        raise PlanError(f"{path}: the trace holds no request")
    span = max(PEAK_SECONDS, float(columns.arrival_seconds[-1]))
    cells = (columns.arrival_seconds // PEAK_SECONDS).astype(np.int64)
    busiest = int(np.bincount(cells, weights=columns.output_tokens).argmax())
    return _of_columns(columns, cells == busiest, mean=len(columns) / span, percentile=percentile, said=path.name)


def _of_columns(columns: Arrays, which: NDArray[np.bool_], *, mean: float, percentile: float, said: str) -> Demand:
    prompt = np.maximum(1, columns.prompt_tokens[which]).astype(np.float64)
    output = np.maximum(1, columns.output_tokens[which]).astype(np.float64)
    return Demand(
        requests_per_second=len(prompt) / PEAK_SECONDS,
        prompt_tokens=float(prompt.mean()),
        output_tokens=float(output.mean()),
        prompt_squared=float((prompt * prompt).mean()),
        output_context=float((output * (prompt + output / 2)).mean()),
        longest_prompt=float(np.percentile(prompt, percentile)),
        mean_requests_per_second=mean,
        said=f"{said}, its busiest minute",
        lengths=np.stack([columns.prompt_tokens[which], columns.output_tokens[which]], axis=1),
    )


def _lengths(pairs: list[str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for pair in pairs:
        key, _, value = pair.partition("=")
        if key not in ("prompt", "output"):
            raise PlanError(f"{pair!r} is no part of a demand: after the rate come prompt=TOKENS and output=TOKENS")
        if not value.isdigit() or not 1 <= int(value) <= _MOST_TOKENS:
            raise PlanError(f"{key}={value} is no number of tokens: give a whole one from 1 on")
        found[key] = float(value)
    if missing := [key for key in ("prompt", "output") if key not in found]:
        raise PlanError(f"{' and '.join(missing)} missing: write the demand {_EXAMPLE}")
    return found
