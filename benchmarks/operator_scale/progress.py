"""Lines that tell what happens, when it will end, and nothing else."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass(slots=True)
class Progress:
    """Prints each step behind the time that passed and the time it should take in all.

    Attributes:
        expected_seconds: of the whole run.
    """

    expected_seconds: float
    _start: float = field(default_factory=time.monotonic)

    def say(self, text: str) -> None:
        """Print one line."""
        passed = time.monotonic() - self._start
        print(f"[{passed:4.0f} s of ~{self.expected_seconds:.0f} s on a calm machine] {text}", flush=True)


def expected_seconds(sizes: list[int], *, steady_seconds: float) -> float:
    """How long a run takes on two cores: measured, roughly linear in the resources."""
    return sum(150 + steady_seconds + 0.045 * size for size in sizes)
