"""What the demo serves, how fast its emulated device is, and the load it gets.

The numbers belong together. A replica saturates at about `max_num_seqs / step` generated tokens/s (16 / 45 ms = 355);
the example trusts it with 250. A quiet service of one replica gets a burst that grows to seven times the load in a
minute and a half, which takes four replicas or five, stays there, and ends at once. That is steeper than the level
shifts of public traces (two to three times in ten minutes), and not made to flatter: a reactive autoscaler sees growth
some seconds late and a replica takes some to start, and what arrives meanwhile waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from penstock_contract.profile import Profile
from penstock_contract.step import StepModel
from penstock_lab.load.arrivals import Process, ramp
from penstock_lab.load.lengths import Lognormal
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


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens of a request, log-normal as in chat: most are short, a few are many times longer.

    Attributes:
        shape: of the distribution before it is cut.
        least: shorter ones are as long as this.
        most: longer ones are as long as this.
    """

    shape: Lognormal
    least: int
    most: int

    def draw(self, count: int, dice: np.random.Generator) -> list[int]:
        """That many lengths."""
        return [int(tokens) for tokens in np.clip(self.shape.draw(count, dice), self.least, self.most)]


PHASES = (
    Phase("quiet", 20.0, 2.0, 2.0),
    Phase("burst grows", 90.0, 2.0, 14.0),
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
    prompt: Lengths = field(default_factory=lambda: Lengths(Lognormal(110, 0.95), least=8, most=512))
    output: Lengths = field(default_factory=lambda: Lengths(Lognormal(62, 0.8), least=4, most=256))
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
        """Every request in order of time, arrivals Poisson; the same for the same seed."""
        dice = np.random.default_rng(seed)
        planned: list[Planned] = []
        for phase, start, _end in self.spans():
            due = ramp(seconds=phase.seconds, rate=phase.first, rate_to=phase.last).draw(Process.POISSON, dice)
            sizes = zip(self.prompt.draw(len(due), dice), self.output.draw(len(due), dice), strict=True)
            for at, (prompt, output) in zip(due, sizes, strict=True):
                tokens = tuple(dice.integers(3, VOCABULARY, size=prompt).tolist())
                planned.append(Planned(start + float(at), phase.name, tokens, output))
        return planned


def offered_tokens_per_second(planned: Sequence[Planned], *, at: float, window_seconds: float) -> float:
    """Generated tokens asked for in the window that ends at `at`, per second: what the load really offers."""
    asked = sum(item.output_tokens for item in planned if at - window_seconds < item.at <= at)
    return asked / window_seconds
