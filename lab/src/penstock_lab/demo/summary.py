"""The end of the demo: figures, verdict, `summary.json`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock_lab.demo.scenario import PROFILE
from penstock_lab.demo.watch import Point
from penstock_lab.load.outcome import Outcome, figures

TTFT_SECONDS = 2.0
TPOT_SECONDS = 0.1
OBJECTIVE = 0.99


@dataclass(frozen=True, slots=True)
class Result:
    """What the demo measured."""

    outcomes: Sequence[Outcome]
    points: Sequence[Point]
    decisions: Sequence[dict[str, str]]
    cost_per_accelerator_hour: float

    @property
    def peak(self) -> int:
        """Most ready replicas seen."""
        return max((point.ready for point in self.points), default=0)

    def problems(self) -> list[str]:
        """Why the demo failed; empty when it did not."""
        found = []
        errors = [outcome.error for outcome in self.outcomes if outcome.error is not None]
        if errors:
            found.append(f"{len(errors)} of {len(self.outcomes)} requests failed, the first with: {errors[0]}")
        if not self.outcomes:
            found.append("no request was sent")
        if self.points and self.points[0].ready != 1:
            found.append(f"it did not begin with one replica but with {self.points[0].ready}")
        if self.peak < 2:
            found.append(f"it did not scale up: {self.peak} ready replicas at most")
        if not self.points or self.points[-1].desired != 1 or self.points[-1].ready != 1:
            found.append("it did not scale down to one replica in time")
        return found

    def gpu_hours(self) -> float:
        """Accelerator-hours: pods, loading and draining included, integrated over the samples."""
        seconds = sum(
            before.pods * (after.at - before.at) for before, after in zip(self.points, self.points[1:], strict=False)
        )
        return seconds * PROFILE.accelerators / 3600

    def to_json(self) -> dict[str, Any]:
        """The content of `summary.json`."""
        phases = list(dict.fromkeys(outcome.phase for outcome in self.outcomes))
        return {
            "emulated_device": PROFILE.to_json(),
            "verdict": "failed" if self.problems() else "passed",
            "problems": self.problems(),
            "requests": self._figures(self.outcomes),
            "phases": {
                phase: self._figures([outcome for outcome in self.outcomes if outcome.phase == phase])
                for phase in phases
            },
            "objectives": {"ttft_seconds": TTFT_SECONDS, "tpot_seconds": TPOT_SECONDS},
            "peak_ready_replicas": self.peak,
            "gpu_hours": round(self.gpu_hours(), 4),
            "cost": round(self.gpu_hours() * self.cost_per_accelerator_hour, 4),
            "decisions": list(self.decisions),
            "replicas": [point.to_json() for point in self.points],
        }

    @staticmethod
    def _figures(outcomes: Sequence[Outcome]) -> dict[str, Any]:
        return figures(outcomes, ttft_seconds=TTFT_SECONDS, tpot_seconds=TPOT_SECONDS)

    def write(self, folder: Path) -> Path:
        """Write `summary.json` and return its path."""
        path = folder / "summary.json"
        path.write_text(json.dumps(self.to_json(), indent=2) + "\n", encoding="utf-8")
        return path
