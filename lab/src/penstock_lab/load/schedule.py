"""When requests are due and what they ask for, drawn from a seed before the first one is sent.

Arrivals are Poisson with a rate per phase. The schedule does not know the answers, so a slow server cannot slow the
load down, and latency counts from the appointed time: no coordinated omission.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of constant mean rate.

    Attributes:
        name: for reports.
        seconds: length.
        requests_per_second: mean of the Poisson process.
    """

    name: str
    seconds: float
    requests_per_second: float


@dataclass(frozen=True, slots=True)
class Lengths:
    """Uniform ranges of tokens, both ends included."""

    prompt: tuple[int, int] = (64, 192)
    output: tuple[int, int] = (32, 96)


@dataclass(frozen=True, slots=True)
class Planned:
    """One request.

    Attributes:
        at: seconds from the start of the load.
        phase: name of its phase.
        prompt: token ids.
        output_tokens: exact number asked for.
    """

    at: float
    phase: str
    prompt: tuple[int, ...]
    output_tokens: int


def plan(phases: Sequence[Phase], lengths: Lengths, *, vocabulary: int, seed: int) -> list[Planned]:
    """The whole load in order of time; the same for the same arguments.

    Args:
        phases: one after the other.
        lengths: of prompts and outputs.
        vocabulary: token ids are drawn from 3 to this, exclusive (the first few are often special).
        seed: of everything random.
    """
    dice = random.Random(seed)
    planned: list[Planned] = []
    start = 0.0
    for phase in phases:
        now = start
        while phase.requests_per_second > 0:
            now += dice.expovariate(phase.requests_per_second)
            if now >= start + phase.seconds:
                break
            prompt = tuple(dice.randrange(3, vocabulary) for _ in range(dice.randint(*lengths.prompt)))
            planned.append(Planned(now, phase.name, prompt, dice.randint(*lengths.output)))
        start += phase.seconds
    return planned
