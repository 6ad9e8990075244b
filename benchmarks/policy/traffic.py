"""Stretches of traffic: cut from public traces, tuning from the first half of each and comparison from the second.

A trace of a day is too long to be run whole for every policy, setting and seed: of each half the stretches with the
steepest rise and the steepest fall of the work are taken, and for the comparison hours of it too: the first, and the
last that no other case touches. Traffic is scaled to a fluid demand of 10 replicas as a mean over the stretch (of 4
where requests are tiny); the clock is never compressed. Prepared columns are in `out/policy`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np

from penstock_contract.profile import load_profile
from penstock_lab.simulate import oracle
from penstock_lab.simulate.scaling import scaled
from penstock_lab.simulate.score import Objectives
from penstock_lab.simulate.state import Floats, Requests
from penstock_lab.simulate.study import load
from penstock_lab.traces.source import Source

ROOT: Final = Path(__file__).resolve().parents[2]
KEPT: Final = ROOT / "out" / "policy"
PROFILE: Final = load_profile("llama70b-fp8-tp4-h100")
OBJECTIVES: Final = Objectives(ttft_seconds=2.0, tpot_seconds=0.05, attainment=0.99)
MEAN_REPLICAS: Final = 10.0
_CELL_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Trace:
    """A public trace.

    Attributes:
        name: of the file, without `.csv.gz`.
        seconds: length of a stretch; None = the whole half.
        kinds: which stretches are taken.
        replicas: fluid demand that it is scaled to.
        hours: length of the hours that the comparison takes as well.
    """

    name: str
    seconds: float | None = None
    kinds: tuple[str, ...] = ("rise", "fall")
    replicas: float = MEAN_REPLICAS
    hours: float = 0.0


TRACES: Final = (
    Trace("azure2023_conv"),
    Trace("azure2023_code"),
    Trace("mooncake_conversation"),
    Trace("azure2024_code_tue_sampled", 1800.0, hours=4.0),
    Trace("azure2024_code_wed_sampled", 1800.0, hours=4.0),
    Trace("servegen_m_large_day1", 1200.0, hours=2.0),
    Trace("servegen_m_small_day3", 900.0, ("rise",), 4.0, hours=0.75),  # so tiny: ten replicas take 100,000 a minute
)


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a trace.

    Attributes:
        trace: its name.
        part: `tuning` (first half) or `held` (second half).
        kind: `whole`, `rise`, `fall`, `hours` or `late`.
        begin: seconds into the trace.
        end: seconds into the trace.
    """

    trace: str
    part: str
    kind: str
    begin: float
    end: float

    @property
    def name(self) -> str:
        """In tables."""
        return self.trace if self.kind == "whole" else f"{self.trace} {self.kind}"


def folder() -> Path:
    """Where the public traces are.

    Raises:
        SystemExit: they are not there.
    """
    found = Path(os.environ.get("PENSTOCK_TRACES", ROOT.parent / "shared" / "traces"))
    if not found.is_dir():
        raise SystemExit(f"{found}: no such folder; set PENSTOCK_TRACES to the one that holds the public traces")
    return found


@lru_cache(maxsize=2)
def whole(name: str) -> Requests:
    """A trace, kept as columns."""
    kept = KEPT / f"{name}.npz"
    if not kept.exists():
        made = load(Source(path=folder() / f"{name}.csv.gz"))
        kept.parent.mkdir(parents=True, exist_ok=True)
        partial = kept.with_suffix(".part.npz")
        np.savez(partial, arrival=made.arrival, prompt=made.prompt, output=made.output, cached=made.cached)
        partial.replace(kept)
    with np.load(kept) as columns:
        return Requests(columns["arrival"], columns["prompt"], columns["output"], columns["cached"])


def stretches(part: str, *, longer: float = 1.0) -> list[Stretch]:
    """Those of one part of every trace.

    Args:
        part: `tuning` or `held`.
        longer: by how much stretches are longer than in TRACES.
    """
    found = []
    for trace in TRACES:
        requests = whole(trace.name)
        half = float(requests.arrival[-1]) / 2
        begin, end = (0.0, half) if part == "tuning" else (half, 2 * half)
        if trace.seconds is None:
            found.append(Stretch(trace.name, part, "whole", begin, end))
            continue
        seconds = min(half, trace.seconds * longer)
        starts, slope = _slopes(requests, begin, end, seconds)
        steepest = {"rise": int(slope.argmax()), "fall": int(slope.argmin())}
        for kind, row in ((one, steepest[one]) for one in trace.kinds):
            found.append(Stretch(trace.name, part, kind, float(starts[row]), float(starts[row]) + seconds))
    return found


def hours(part: str) -> list[Stretch]:
    """The first hours of one part of the traces that are too long to be run whole."""
    found = []
    for trace in TRACES:
        if trace.hours:
            half = float(whole(trace.name).arrival[-1]) / 2
            begin = 0.0 if part == "tuning" else half
            found.append(Stretch(trace.name, part, "hours", begin, begin + min(half, 3600.0 * trace.hours)))
    return found


def late(part: str) -> list[Stretch]:
    """The last hours of one part of the same traces that no other stretch and no other hours touch."""
    found = []
    for trace in TRACES:
        if trace.hours:
            last, seconds = float(whole(trace.name).arrival[-1]), 3600.0 * trace.hours
            end = last / 2 if part == "tuning" else last
            others = [one for one in (*stretches(part), *hours(part)) if one.trace == trace.name]
            while touched := [one for one in others if one.begin < end and one.end > end - seconds]:
                end = min(one.begin for one in touched)
            found.append(Stretch(trace.name, part, "late", end - seconds, end))
    return found


def _slopes(requests: Requests, begin: float, end: float, seconds: float) -> tuple[Floats, Floats]:
    """Starts of all stretches, and by how much the work of the last third of each exceeds that of the first third."""
    prefill, decode = oracle.work(requests, PROFILE)
    edges = np.arange(begin, end + 1e-9, _CELL_SECONDS)
    inside = (requests.arrival >= begin) & (requests.arrival < edges[-1])
    cells = ((requests.arrival[inside] - begin) // _CELL_SECONDS).astype(np.int64)
    total = np.concatenate([[0.0], np.cumsum(np.bincount(cells, weights=(prefill + decode)[inside]))])
    width, third = int(seconds / _CELL_SECONDS), int(seconds / _CELL_SECONDS / 3)
    first = np.arange(len(total) - width)
    slope = (total[first + width] - total[first + width - third]) - (total[first + third] - total[first])
    return begin + first * _CELL_SECONDS, slope


def cut(stretch: Stretch, seed: int) -> Requests:
    """The traffic of a stretch, scaled, with the draws of a seed."""
    requests = whole(stretch.trace)
    first, last = np.searchsorted(requests.arrival, [stretch.begin, stretch.end])
    rows = slice(int(first), int(last))
    part = Requests(
        requests.arrival[rows] - stretch.begin, requests.prompt[rows], requests.output[rows], requests.cached[rows]
    )
    replicas = next(one.replicas for one in TRACES if one.name == stretch.trace)
    scale = replicas / max(1e-9, oracle.mean_replicas(part, PROFILE, OBJECTIVES))
    return scaled(part, scale, seed=seed)
