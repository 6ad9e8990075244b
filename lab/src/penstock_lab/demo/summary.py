"""The end of the demo: figures, verdict, `summary.json`.

Two verdicts are kept apart. The demo passes when the service scaled both ways and no request failed; whether the SLA
was met in a load that grows is said beside it, as the clients measured it, and never decides the exit code.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from penstock_lab.demo.pace import Pace
from penstock_lab.demo.record import Record, measured
from penstock_lab.demo.scenario import PROFILE, Scenario
from penstock_lab.demo.state import Change, Objective
from penstock_lab.load.outcome import Outcome, figures, percentile


@dataclass(frozen=True, slots=True)
class Attained:
    """One objective, as the clients measured it.

    Attributes:
        objective: with what the gateways measured, at the end of the run.
        share: of the requests that count for it; a failed request missed. None without any.
        value_seconds: its percentile over the answered requests.
        counted: requests that count for it.
    """

    objective: Objective
    share: float | None
    value_seconds: float | None
    counted: int

    @property
    def met(self) -> bool | None:
        """Whether the share is what was asked; None when nothing counted."""
        return None if self.share is None else self.share >= self.objective.asked

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        one = self.objective
        return {
            "metric": one.metric,
            "percentile": one.percentile,
            "threshold_seconds": one.threshold_seconds,
            "asked": one.asked,
            "attainment": _rounded(self.share),
            "value_seconds": _rounded(self.value_seconds),
            "requests": self.counted,
            "met": self.met,
            "measured_by_gateways": {
                "attainment": _rounded(one.attainment),
                "value_seconds": _rounded(one.value_seconds),
                "error_budget_left": _rounded(one.budget_left),
            },
        }


@dataclass(frozen=True, slots=True)
class Result:
    """What the demo measured.

    Attributes:
        scenario: that ran.
        record: what was seen.
        price: per accelerator-hour, 0 when unknown.
        pace: of the emulated devices; None when it could not be had.
        environment: versions and machine, by name.
        seconds: wall time of the whole run, set-up included.
    """

    scenario: Scenario
    record: Record
    price: float
    pace: Pace | None = None
    environment: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def peak(self) -> int:
        """Most ready replicas seen."""
        return max((sample.state.replicas.ready for sample in self.record.samples), default=0)

    @property
    def currency(self) -> str:
        """Of the price."""
        return self.record.last.state.currency if self.record.last else "USD"

    @property
    def accelerator_hours(self) -> float:
        """Held during load and scale-down."""
        return self.record.accelerator_hours(accelerators=PROFILE.accelerators)

    def problems(self) -> list[str]:
        """Why the demo failed; empty when it did not."""
        found = []
        outcomes, samples = self.record.outcomes, self.record.samples
        errors = [outcome.error for outcome in outcomes if outcome.error is not None]
        if errors:
            found.append(f"{len(errors)} of {len(outcomes)} requests failed, the first with: {errors[0]}")
        if again := sum(outcome.attempts > 1 for outcome in outcomes):
            found.append(f"{again} of {len(outcomes)} requests were answered only when asked again")
        if not outcomes:
            found.append("no request was sent")
        elif len(outcomes) < len(self.record.planned):
            found.append(f"only {len(outcomes)} of {len(self.record.planned)} planned requests were sent")
        if samples and samples[0].state.replicas.ready != 1:
            found.append(f"it did not begin with one replica but with {samples[0].state.replicas.ready}")
        if self.peak < 2:
            found.append(f"it did not scale up: {self.peak} ready replicas at most")
        last = samples[-1].state.replicas if samples else None
        if last is None or (last.desired, last.ready) != (1, 1):
            found.append("it did not scale down to one replica in time")
        return found

    def attained(self) -> list[Attained]:
        """The service's objectives over all requests."""
        last = self.record.last
        return [self._attained(one, self.record.outcomes) for one in (last.state.objectives if last else ())]

    def phases(self) -> dict[str, list[Outcome]]:
        """Outcomes by phase, in the order of the load."""
        found: dict[str, list[Outcome]] = {phase.name: [] for phase in self.scenario.phases}
        for outcome in self.record.outcomes:
            found.setdefault(outcome.phase, []).append(outcome)
        return {name: outcomes for name, outcomes in found.items() if outcomes}

    def to_json(self) -> dict[str, Any]:
        """The content of `summary.json`."""
        hours = self.accelerator_hours
        thresholds = {
            f"{item.objective.metric.lower()}_seconds": item.objective.threshold_seconds for item in self.attained()
        }
        return {
            "emulated_device": PROFILE.to_json(),
            "emulation_pace": None if self.pace is None else self.pace.to_json(),
            "verdict": "failed" if self.problems() else "passed",
            "problems": self.problems(),
            "started_at": _rfc3339(self.record.epoch),
            "wall_seconds": round(self.seconds, 1),
            "requests": self._figures(self.record.outcomes),
            "phases": {name: self._figures(outcomes) for name, outcomes in self.phases().items()},
            "objectives": thresholds,
            "attainment": [item.to_json() for item in self.attained()],
            "peak_ready_replicas": self.peak,
            "gpu_hours": round(hours, 4),
            "operator_silent_seconds": round(self.record.silent_seconds, 1),
            "cost": round(hours * self.price, 4) if self.price else None,
            "currency": self.currency,
            "decisions": [self._decision(change) for change in self.record.changes],
            "replicas": [self._point(index) for index in range(len(self.record.samples))],
            "environment": dict(self.environment),
        }

    def at(self, change: Change) -> float:
        """When a decision fell, in seconds from the start of the load."""
        return change.at - self.record.epoch

    def write(self, folder: Path) -> Path:
        """Write `summary.json` and return its path."""
        path = folder / "summary.json"
        path.write_text(json.dumps(self.to_json(), indent=2, allow_nan=False) + "\n", encoding="utf-8")
        return path

    def _attained(self, objective: Objective, outcomes: Sequence[Outcome]) -> Attained:
        values = [
            value for one in outcomes if one.error is None and (value := measured(one, objective.metric)) is not None
        ]
        counted = len(values) + sum(one.error is not None for one in outcomes)
        met = sum(value <= objective.threshold_seconds for value in values)
        return Attained(objective, met / counted if counted else None, percentile(values, objective.asked), counted)

    def _figures(self, outcomes: Sequence[Outcome]) -> dict[str, Any]:
        asked = {item.objective.metric: item.objective.threshold_seconds for item in self.attained()}
        return figures(outcomes, ttft_seconds=asked.get("TTFT"), tpot_seconds=asked.get("TPOT"))

    def _decision(self, change: Change) -> dict[str, Any]:
        return {
            "at": _rfc3339(change.at),
            "seconds": round(self.at(change), 1),
            "event": "ScaledUp" if change.after > change.before else "ScaledDown",
            "from": change.before,
            "to": change.after,
            "reason": change.reason,
            "message": change.sentence,
        }

    def _point(self, index: int) -> dict[str, Any]:
        sample = self.record.samples[index]
        counts, load = sample.state.replicas, sample.state.load
        return {
            "at": sample.at,
            "desired": counts.desired,
            "ready": counts.ready,
            "starting": counts.starting,
            "draining": counts.draining,
            "pods": counts.held,
            "offered_tokens_per_second": load.offered_tokens_per_second,
            "served_tokens_per_second": load.served_tokens_per_second,
            "capacity_tokens_per_second": sample.state.capacity_tokens_per_second,
            "waiting": load.waiting,
            "held": load.held,
            "cost_per_hour": sample.state.cost_per_hour,
        }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
