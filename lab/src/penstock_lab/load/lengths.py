"""How many tokens prompts and answers have: fixed, uniform, lognormal, or a named mix of both.

The named mixes are lognormal with the mean and the coefficient of variation of a published trace, where there is
one; each says where its figures come from. A lognormal keeps mean and spread of a trace, not its every bump: replay
the trace itself where those matter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int32]
MOST_TOKENS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Uniform:
    """Whole numbers from `low` to `high`, both included; fixed if they are the same."""

    low: int
    high: int

    def draw(self, count: int, dice: np.random.Generator) -> Tokens:
        """Numbers of tokens (count,)."""
        return dice.integers(self.low, self.high, size=count, endpoint=True).astype(np.int32)

    def __str__(self) -> str:
        return str(self.low) if self.low == self.high else f"{self.low}:{self.high}"


@dataclass(frozen=True, slots=True)
class Lognormal:
    """Lognormal by its mean and coefficient of variation, rounded, at least 1."""

    mean: float
    cv: float

    def draw(self, count: int, dice: np.random.Generator) -> Tokens:
        """Numbers of tokens (count,)."""
        variance = math.log1p(self.cv**2)
        drawn = dice.lognormal(math.log(self.mean) - variance / 2, math.sqrt(variance), size=count)
        return np.clip(np.rint(drawn), 1, MOST_TOKENS).astype(np.int32)

    def __str__(self) -> str:
        return f"lognormal:{self.mean:g}:{self.cv:g}"


Length = Uniform | Lognormal


@dataclass(frozen=True, slots=True)
class Mix:
    """Lengths of a kind of traffic.

    Attributes:
        prompt: tokens of the prompt.
        output: tokens of the answer.
        source: where the figures come from.
    """

    prompt: Length
    output: Length
    source: str


MIXES: Final = {
    "chat": Mix(
        Lognormal(1155, 0.96),
        Lognormal(211, 0.77),
        "Azure LLM trace 2023, conversation (Splitwise, ISCA 2024)",
    ),
    "code": Mix(Lognormal(2048, 0.96), Lognormal(28, 2.1), "Azure LLM trace 2023, code (Splitwise, ISCA 2024)"),
    "summarise": Mix(Lognormal(2588, 0.37), Lognormal(291, 1.8), "arXiv summarisation lengths of Vidur (MLSys 2024)"),
    "rag": Mix(Lognormal(3000, 0.5), Lognormal(200, 0.6), "made up: a question with a few retrieved passages"),
}


def parse(text: str) -> Length:
    """Read `N`, `A:B` or `lognormal:MEAN:CV`.

    Raises:
        ValueError: it is none of them; the message says what is wrong and what would be right.
    """
    kind, _colon, rest = text.partition(":")
    try:
        if kind == "lognormal":
            mean, cv = (float(part) for part in rest.split(":"))
            if 1 <= mean <= MOST_TOKENS and 0 <= cv <= 100:
                return Lognormal(mean, cv)
        else:
            low, high = int(kind), int(rest or kind)
            if 1 <= low <= high <= MOST_TOKENS:
                return Uniform(low, high)
    except ValueError:
        pass
    raise ValueError(
        f"{text!r} is no number of tokens: use N, A:B (uniform, A at most B) or lognormal:MEAN:CV, "
        f"from 1 to {MOST_TOKENS}"
    )
