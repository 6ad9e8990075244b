"""The engine against measured replicas: closed loops of so many clients, as the benchmarks that were measured ran them.

All clients begin at once and send their next request as soon as they have their answer, ten each, and all of these
count, also the rush of the beginning. Lengths are spread a little around the nominal ones, so that clients part. To
what the engine gives for the first token come the milliseconds that a server's API takes beside it.
"""

from __future__ import annotations

import csv
import gzip
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Final

import numpy as np

from penstock_contract.profile import Profile, load_profile
from penstock_lab.simulate.compiled import compiled
from penstock_lab.simulate.queues import append
from penstock_lab.simulate.replica import CUT, work
from penstock_lab.simulate.state import Arrays, Limits, Requests, arrays, open_slot

SAMPLE: Final = "aic_silicon_sample.csv.gz"
API_SECONDS: Final = 0.020
PROFILES: Final[Mapping[str, str]] = {"4.0": "llama70b-fp8-tp4-h100", "8.0": "llama70b-fp8-tp8-h100"}
_MODEL, _SYSTEM, _BACKEND = "meta-llama/Llama-3.1-70B", "h100_sxm", "vllm"
_SPREAD = 0.1
_ROUNDS = 10


@dataclass(frozen=True, slots=True)
class Latency:
    """Means over requests, in seconds; `ends` from arrival to the last token."""

    ttft: float
    tpot: float
    ends: float


@dataclass(frozen=True, slots=True)
class Point:
    """One measured closed loop.

    Attributes:
        profile: the reference replica it was measured on.
        prompt: nominal prompt tokens.
        output: nominal output tokens.
        clients: at the same time.
        measured: by whoever ran it.
    """

    profile: str
    prompt: int
    output: int
    clients: int
    measured: Latency


def points(folder: Path) -> Iterator[Point]:
    """The measured loops of Llama-70B in FP8 on four and on eight H100.

    Args:
        folder: where `aic_silicon_sample.csv.gz` is.
    """
    with gzip.open(folder / SAMPLE, "rt", encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            here = (row["model_path"], row["system"], row["backend"]) == (_MODEL, _SYSTEM, _BACKEND)
            if not here or row["tp_size"] not in PROFILES:
                continue
            output = int(float(row["osl"]))
            ttft, tpot = float(row["silicon_ttft_ms"]) / 1000, float(row["silicon_tpot_ms"]) / 1000
            yield Point(
                profile=PROFILES[row["tp_size"]],
                prompt=int(float(row["isl"])),
                output=output,
                clients=int(float(row["concurrency"])),
                measured=Latency(ttft, tpot, ttft + tpot * (output - 1)),
            )


def replay(profile: Profile, *, prompt: int, output: int, clients: int, seed: int = 0) -> Latency:
    """The same loop in the engine, on one replica."""
    count = clients * _ROUNDS
    dice = np.random.default_rng(seed)
    low, high = 1.0 - _SPREAD, 1.0 + _SPREAD
    requests = Requests.of(
        np.zeros(count),
        np.maximum(1, np.rint(prompt * dice.uniform(low, high, count))),
        np.maximum(2, np.rint(output * dice.uniform(low, high, count))),
    )
    fleet = arrays(requests, Limits.of(profile, late_binding=False), slots=1)
    open_slot(fleet, 0, 0.0)
    _loop(fleet, clients)
    first, answers = fleet.first, fleet.finish - fleet.first
    wait = float((first - fleet.arrival).mean()) + API_SECONDS
    return Latency(wait, float((answers / (requests.output - 1)).mean()), wait + float(answers.mean()))


@compiled
def _loop(a: Arrays, clients: int) -> None:
    """Work until every request has ended; each end makes the next one arrive."""
    count = len(a.arrival)
    sent = min(clients, count)
    for request in range(sent):
        append(a.queue[0], a.following, request)
    while a.ended_count[0] < count:
        before = a.ended_count[0]
        work(a, 0, math.inf, int(CUT))
        for _ in range(a.ended_count[0] - before):
            if sent < count:
                a.arrival[sent] = a.clock[0]
                append(a.queue[0], a.following, sent)
                sent += 1


def compared(of: Sequence[Point]) -> list[tuple[Point, Latency]]:
    """Every measured loop with its replay."""
    profiles = {name: load_profile(name) for name in {point.profile for point in of}}
    return [
        (
            point,
            replay(profiles[point.profile], prompt=point.prompt, output=point.output, clients=point.clients),
        )
        for point in of
    ]


def errors(pairs: Sequence[tuple[Point, Latency]]) -> Latency:
    """Mean absolute errors, each as a share of what was measured."""
    return Latency(
        mean(abs(seen.ttft / point.measured.ttft - 1) for point, seen in pairs),
        mean(abs(seen.tpot / point.measured.tpot - 1) for point, seen in pairs),
        mean(abs(seen.ends / point.measured.ends - 1) for point, seen in pairs),
    )
