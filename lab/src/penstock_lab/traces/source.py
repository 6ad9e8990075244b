"""A trace file of any known format as one ordered stream, cut and scaled as asked.

The order of work is: read, put in order, count from the start, cut, scale the rate, scale the clock. `rate_scale`
keeps the clock and draws which requests to leave out or repeat, so that a daily swing stays a daily swing; `speed`
runs the clock faster and so raises the rate by as much.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from penstock_lab.traces import azure, burstgpt, mooncake, plain, servegen
from penstock_lab.traces.errors import TraceError
from penstock_lab.traces.request import TraceRequest
from penstock_lab.traces.table import first_line, header

FORMATS: Final = ("azure", "burstgpt", "mooncake", "servegen", "csv")
_OUT_OF_ORDER: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a trace is and which part of it is wanted.

    Attributes:
        path: the file, plain or gzip.
        format: one of `FORMATS`, or "auto" to tell by the first line. A table in our own columns is read as such
            whatever is said: then the name tells where the trace is from, not how it is written.
        start: seconds into the trace; what comes before is left out, and this moment becomes 0.
        end: seconds into the trace; None for all.
        rate_scale: requests sent for each in the trace.
        speed: how much faster the clock runs.
        seed: of what is left out, repeated or drawn.
    """

    path: Path
    format: str = "auto"
    start: float = 0.0
    end: float | None = None
    rate_scale: float = 1.0
    speed: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.format not in ("auto", *FORMATS):
            raise TraceError(f"format must be auto or one of {', '.join(FORMATS)}, got {self.format!r}")
        if self.start < 0 or (self.end is not None and self.end <= self.start):
            raise TraceError(f"end ({self.end}) must come after start ({self.start}), and start must not be negative")
        if self.rate_scale <= 0 or self.speed <= 0:
            raise TraceError(f"rate_scale ({self.rate_scale}) and speed ({self.speed}) must be above 0")

    def requests(self) -> Iterator[TraceRequest]:
        """The requests, in order, from 0 seconds on.

        Raises:
            TraceError: the file cannot be read as what it should be.
        """
        name = detect(self.path) if self.format == "auto" or _plain(_columns(self.path)) else self.format
        drawn = name == "servegen"  # aggregates: drawn at the wanted rate, with nothing to leave out
        stream = self._read(name)
        if not drawn:
            stream = in_order(stream, self.path)
        if not (drawn or counts_from_start(self.path)):
            stream = _from_first(stream)
        stream = self._cut(stream)
        if self.rate_scale != 1.0 and not drawn:
            stream = _scaled(stream, self.rate_scale, random.Random(self.seed))
        for request in stream:
            yield replace(request, arrival_seconds=(request.arrival_seconds - self.start) / self.speed)

    def _read(self, name: str) -> Iterator[TraceRequest]:
        match name:
            case "azure":
                return azure.read(self.path)
            case "burstgpt":
                return burstgpt.read(self.path)
            case "mooncake":
                return mooncake.read(self.path)
            case "servegen":
                return servegen.read(self.path, seed=self.seed, rate_scale=self.rate_scale, start=self.start)
            case _:
                return (
                    plain.read_arrivals(self.path) if counts_from_start(self.path) else plain.read_timestamps(self.path)
                )

    def _cut(self, stream: Iterable[TraceRequest]) -> Iterator[TraceRequest]:
        for request in stream:
            if self.end is not None and request.arrival_seconds >= self.end:
                return
            if request.arrival_seconds >= self.start:
                yield request


def detect(path: Path) -> str:
    """The format of a file, by its first line.

    Raises:
        TraceError: it is none that we know.
    """
    line = first_line(path)
    if line.startswith("{"):
        return "mooncake"
    names = set(header(line))
    for name, columns in (
        ("azure", azure.COLUMNS),
        ("burstgpt", burstgpt.COLUMNS),
        ("servegen", servegen.COLUMNS),
    ):
        if names.issuperset(columns):
            return name
    if _plain(names):
        return "csv"
    raise TraceError(
        f"{path}: none of the formats {', '.join(FORMATS)}; a CSV file begins with the line "
        f"timestamp,prompt_tokens,output_tokens, this one with {line[:80]!r}"
    )


def _columns(path: Path) -> set[str]:
    return set(header(first_line(path)))


def _plain(names: set[str]) -> bool:
    return any(names.issuperset((time, *plain.COLUMNS)) for time in (plain.ARRIVAL, plain.TIMESTAMP))


def counts_from_start(path: Path) -> bool:
    """Whether the file's times count from the start of the trace already."""
    return plain.ARRIVAL in _columns(path)


def in_order(stream: Iterable[TraceRequest], path: Path) -> Iterator[TraceRequest]:
    """Put right what is out of order by up to a thousand rows.

    Raises:
        TraceError: a request comes later than that.
    """
    held: list[tuple[float, int, TraceRequest]] = []
    latest = float("-inf")
    for number, request in enumerate(stream):
        if request.arrival_seconds < latest:
            raise TraceError(f"{path}: request {number + 1} comes before those far above it; sort the file by time")
        heapq.heappush(held, (request.arrival_seconds, number, request))
        if len(held) > _OUT_OF_ORDER:
            latest, _number, first = heapq.heappop(held)
            yield first
    while held:
        yield heapq.heappop(held)[2]


def _from_first(stream: Iterator[TraceRequest]) -> Iterator[TraceRequest]:
    origin: float | None = None
    for request in stream:
        origin = request.arrival_seconds if origin is None else origin
        yield replace(request, arrival_seconds=request.arrival_seconds - origin)


def _scaled(stream: Iterator[TraceRequest], scale: float, dice: random.Random) -> Iterator[TraceRequest]:
    """Leave out or repeat; the copies of a request fall between it and the next one, so that none come as a batch."""
    whole, part = int(scale), scale % 1
    before: TraceRequest | None = None
    for request in stream:
        if before is not None:
            yield from _copies(before, request.arrival_seconds, whole + (dice.random() < part), dice)
        before = request
    if before is not None:
        yield from _copies(before, before.arrival_seconds, whole + (dice.random() < part), dice)


def _copies(request: TraceRequest, until: float, count: int, dice: random.Random) -> Iterator[TraceRequest]:
    if count:
        yield request
    for at in sorted(dice.uniform(request.arrival_seconds, until) for _ in range(count - 1)):
        yield replace(request, arrival_seconds=at)
