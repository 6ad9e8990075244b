"""Figures of runs that are kept: one JSON line each, found again by all that they depend on."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

RESULTS: Final = Path(__file__).resolve().parent / "results"


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """What a run depends on.

    Attributes:
        traffic: of which stretch, or what was made.
        startup: mean seconds, scheduled to ready.
        seed: of traffic and start-up times.
        policy: its name.
        settings: parameters beside its defaults, as JSON.
        code: digest of the policy.
        simulator: digest of the simulator.
    """

    traffic: str
    startup: float
    seed: int
    policy: str
    settings: str
    code: str
    simulator: str


class Store:
    """Kept figures in one file; a line is written as soon as it is known."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[Key, dict[str, Any]] = {}
        if path.exists():
            whole, _, _ = path.read_text(encoding="utf-8").rpartition("\n")  # another process may be at the last line
            for line in whole.splitlines():
                about, figures = json.loads(line)
                self._known[Key(**about)] = figures

    def find(self, key: Key) -> dict[str, Any] | None:
        """The figures of a run, if they are there."""
        return self._known.get(key)

    def keep(self, key: Key, figures: Mapping[str, Any]) -> dict[str, Any]:
        """Add the figures of a run."""
        self._known[key] = dict(figures)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps([asdict(key), self._known[key]], allow_nan=False) + "\n")
        return self._known[key]

    def prune(self, current: Callable[[Key], bool]) -> None:
        """Leave out what other code has made, and put the rest in order."""
        kept = [(key, self._known[key]) for key in sorted(self._known) if current(key)]
        self._known = dict(kept)
        lines = [json.dumps([asdict(key), value], allow_nan=False) + "\n" for key, value in kept]
        self._path.write_text("".join(lines), encoding="utf-8")
