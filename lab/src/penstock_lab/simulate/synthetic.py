"""Traffic that is made up: the shapes that a scaler must cope with, for who has no trace of their own.

A shape gives the rate over time as a multiple of `rate`; arrivals are Poisson within each second, lengths lognormal.
The same shape, numbers and seed give the same requests. A leak is a fault of the replicas, not of the traffic: its
requests come steadily, and `slowdown_per_hour` says how much slower the replicas become. Where a shape goes by the
clock, a shorter time is a part of it, not the same in less time.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Final

import numpy as np

from penstock_lab.simulate.state import Floats, Requests
from penstock_lab.traces.errors import TraceError
from penstock_lab.traces.request import TraceRequest

PREFIX: Final = "synthetic:"
_HOUR = 3600.0
_LEAK_PER_HOUR = 0.25
_MOST_TOKENS = 32_768
WORKDAYS: Final = 4  # days of `workdays`: two of work, one off, one of work
DAY_OFF: Final = 2


def _constant(at: Floats) -> Floats:
    return np.ones_like(at)


def _step(factor: float) -> Callable[[Floats], Floats]:
    return lambda at: np.where((at >= 1 / 3) & (at < 2 / 3), factor, 1.0)


def _ramp(at: Floats) -> Floats:
    return 1.0 + 4.0 * (1.0 - np.abs(2.0 * at - 1.0))


def _diurnal(at: Floats) -> Floats:
    return 1.0 - 0.7 * np.cos(2.0 * np.pi * at)


def _onoff(at: Floats) -> Floats:
    return np.where(np.round((at * 4.0) % 1.0, 9) < 0.4, 1.0, 0.0)


def _gap(at: Floats) -> Floats:
    return np.where((at >= 0.5) & (at < 0.6), 0.0, 1.0)


def _workdays(at: Floats) -> Floats:
    """A daily wave; on working days much more at once from nine to half past five, and a batch at every full hour."""
    hour = at * 24.0 * WORKDAYS % 24.0
    working = np.floor(at * WORKDAYS) % WORKDAYS != DAY_OFF
    office = working & (hour >= 9.0) & (hour < 17.5)
    batch = working & (np.round(hour % 1.0, 9) < 0.1)
    wave = 0.6 - 0.3 * np.cos(2.0 * np.pi * (hour - 2.0) / 24.0)
    return wave + np.where(office, 1.2, 0.0) + np.where(batch, 0.8, 0.0)


# Rate over the share of the time that is over; `mixshift` and `leak` come steadily.
SHAPES: Final[Mapping[str, Callable[[Floats], Floats]]] = {
    "constant": _constant,
    "step3": _step(3.0),
    "step10": _step(10.0),
    "ramp": _ramp,
    "diurnal": _diurnal,
    "onoff": _onoff,
    "mixshift": _constant,
    "leak": _constant,
    "gap": _gap,
    "workdays": _workdays,
}
BY_THE_CLOCK: Final = frozenset({"workdays"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Synthetic:
    """Made-up traffic; for a study it stands where a trace file does.

    Attributes:
        shape: one of `SHAPES`.
        rate: requests per second where the shape says 1.
        seconds: how long; None = a day of `diurnal`, four of `workdays`, two hours of the others.
        prompt: median prompt tokens; `mixshift` has a quarter of them in its second half.
        output: median output tokens; `mixshift` has four times as many in its second half.
        spread: standard deviation of the logarithm of both.
        seed: of all draws.
    """

    shape: str
    rate: float = 5.0
    seconds: float | None = None
    prompt: float = 1000.0
    output: float = 200.0
    spread: float = 0.7
    seed: int = 0

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise TraceError(f"no synthetic traffic {self.shape!r}; there is {', '.join(SHAPES)}")
        for name in ("rate", "seconds", "prompt", "output"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1e9:
                raise TraceError(f"{PREFIX}{self.shape}: {name} must be above 0, got {value:g}")
        if not 0 <= self.spread <= 3:
            raise TraceError(f"{PREFIX}{self.shape}: spread must be 0..3, got {self.spread:g}")

    @property
    def path(self) -> Path:
        """What stands for a file's name in results."""
        return Path(f"{PREFIX}{self.shape}")

    @property
    def format(self) -> str:
        """What stands for a file's format in results."""
        return "synthetic"

    @property
    def start(self) -> float:
        """It begins at its beginning."""
        return 0.0

    @property
    def end(self) -> float:
        """Seconds at which it ends."""
        if self.seconds is not None:
            return self.seconds
        return _HOUR * {"diurnal": 24, "workdays": 24 * WORKDAYS}.get(self.shape, 2)

    @property
    def slowdown_per_hour(self) -> float:
        """How much longer a step of a replica takes after an hour, as a share; for `Setting`."""
        return _LEAK_PER_HOUR if self.shape == "leak" else 0.0

    def columns(self) -> Requests:
        """All requests."""
        dice = np.random.default_rng([self.seed, zlib.crc32(self.shape.encode())])
        cells = np.arange(int(np.ceil(self.end)), dtype=np.float64)
        whole = 24 * _HOUR * WORKDAYS if self.shape in BY_THE_CLOCK else self.end
        rates = self.rate * SHAPES[self.shape](cells / whole)
        counts = dice.poisson(rates)
        arrival = np.repeat(cells, counts) + dice.random(int(counts.sum()))
        arrival = np.sort(arrival[arrival < self.end])
        late = np.zeros(len(arrival), dtype=np.bool_) if self.shape != "mixshift" else arrival >= self.end / 2
        prompt = self._lengths(np.where(late, 0.25, 1.0) * self.prompt, dice)
        return Requests.of(arrival, prompt, self._lengths(np.where(late, 4.0, 1.0) * self.output, dice))

    def requests(self) -> Iterator[TraceRequest]:
        """All requests, one by one, as a trace file gives them."""
        made = self.columns()
        for at, prompt, output in zip(made.arrival.tolist(), made.prompt.tolist(), made.output.tolist(), strict=True):
            yield TraceRequest(at, prompt, output)

    def _lengths(self, medians: Floats, dice: np.random.Generator) -> Floats:
        return np.clip(np.rint(medians * dice.lognormal(0.0, self.spread, len(medians))), 1, _MOST_TOKENS)


def is_synthetic(text: str) -> bool:
    """Whether `--trace` names made-up traffic, not a file."""
    return text.startswith(PREFIX)


def parse(text: str, *, seed: int = 0) -> Synthetic:
    """Made-up traffic by `synthetic:SHAPE[,NAME=NUMBER…]`, such as `synthetic:step3,seconds=3600,output=400`.

    Raises:
        TraceError: no such shape or number; the message names those that there are.
    """
    shape, *given = text.removeprefix(PREFIX).split(",")
    made = Synthetic(shape=shape, seed=seed)
    known = [one.name for one in fields(Synthetic) if one.name not in ("shape", "seed")]
    for pair in given:
        name, _, value = pair.partition("=")
        try:
            number = float(value)
        except ValueError:
            number = float("nan")
        if name not in known or math.isnan(number):
            raise TraceError(f"{text}: {pair!r} is none of {', '.join(f'{one}=NUMBER' for one in known)}")
        made = replace(made, **{name: number})  # type: ignore[arg-type] # all that are known are numbers
    return made
