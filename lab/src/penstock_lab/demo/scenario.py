"""What the demo serves, how fast its emulated device is, and the load it gets.

The numbers belong together. A replica saturates at about `max_num_seqs / step` generated tokens/s (16 / 45 ms = 355);
the example trusts it with 250. A quiet service of one replica gets a burst that grows, over a minute, to what takes
four or five, stays there, and ends at once. The growth is what a reactive autoscaler can follow if it is quick: the
load rises by one replica's capacity in about the time that two replicas take to start.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from penstock_contract.profile import Profile
from penstock_contract.step import StepModel
from penstock_lab.load.schedule import Planned

NAMESPACE = "demo"
SERVICE = "chat"
EXAMPLE = "chat.yaml"
VOCABULARY = 512
SEED = 7

PROFILE = Profile(
    name="demo-emulated",
    model=StepModel(c0=0.040, cB=0.0003, cKV=1e-8, cP=0.00002, cPP=0.0),
    kv_tokens=16_384,
    max_num_seqs=16,
    max_num_batched_tokens=512,
    accelerators=1,
    startup_seconds=4.0,
    source="made up for the demo: slow enough that two cores can run eight workers",
)


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of load whose mean rate moves evenly from one value to another.

    Attributes:
        name: for people.
        seconds: length.
        first: requests/s at its beginning.
        last: requests/s at its end.
    """

    name: str
    seconds: float
    first: float
    last: float

    def rate(self, offset: float) -> float:
        """Requests/s, `offset` seconds after its beginning."""
        return self.first + (self.last - self.first) * offset / self.seconds


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens of a request, log-normal as in chat: most are short, a few are many times longer.

    Attributes:
        median: of the distribution.
        sigma: of its logarithm.
        least: shorter ones are as long as this.
        most: longer ones are as long as this.
    """

    median: float
    sigma: float
    least: int
    most: int

    def draw(self, dice: random.Random) -> int:
        """One length."""
        return min(self.most, max(self.least, round(self.median * dice.lognormvariate(0.0, self.sigma))))


PHASES = (
    Phase("quiet", 20.0, 2.0, 2.0),
    Phase("burst grows", 60.0, 2.0, 14.0),
    Phase("burst", 30.0, 14.0, 14.0),
    Phase("quiet again", 30.0, 2.0, 2.0),
)


@dataclass(frozen=True, slots=True)
class Scenario:
    """One run.

    Attributes:
        examples: folder of the example.
        out: folder of everything that is written.
        name: of the cluster.
        phases: the load.
        prompt: lengths of prompts.
        output: lengths of answers.
        scale_down_deadline_seconds: after the load, until one replica is left.
    """

    examples: Path
    out: Path
    name: str = "demo"
    phases: tuple[Phase, ...] = PHASES
    prompt: Lengths = field(default_factory=lambda: Lengths(median=80, sigma=0.8, least=8, most=512))
    output: Lengths = field(default_factory=lambda: Lengths(median=48, sigma=0.7, least=4, most=256))
    scale_down_deadline_seconds: float = 90.0

    @property
    def seconds(self) -> float:
        """Length of the load."""
        return sum(phase.seconds for phase in self.phases)

    def spans(self) -> list[tuple[Phase, float, float]]:
        """Each phase with its begin and end, in seconds from the start of the load."""
        found, start = [], 0.0
        for phase in self.phases:
            found.append((phase, start, start + phase.seconds))
            start += phase.seconds
        return found

    def plan(self, *, seed: int = SEED) -> list[Planned]:
        """Every request in order of time; the same for the same seed.

        Arrivals are Poisson: drawn at the phase's highest rate and thinned to the rate of the moment.
        """
        dice = random.Random(seed)
        planned: list[Planned] = []
        for phase, start, end in self.spans():
            highest, at = max(phase.first, phase.last), start
            while highest > 0:
                at += dice.expovariate(highest)
                if at >= end:
                    break
                if dice.random() * highest <= phase.rate(at - start):
                    planned.append(self._request(at, phase.name, dice))
        return planned

    def _request(self, at: float, phase: str, dice: random.Random) -> Planned:
        prompt = tuple(dice.randrange(3, VOCABULARY) for _ in range(self.prompt.draw(dice)))
        return Planned(at, phase, prompt, self.output.draw(dice))


def offered_tokens_per_second(planned: Sequence[Planned], *, at: float, window_seconds: float) -> float:
    """Generated tokens asked for in the window that ends at `at`, per second: what the load really offers."""
    asked = sum(item.output_tokens for item in planned if at - window_seconds < item.at <= at)
    return asked / window_seconds
