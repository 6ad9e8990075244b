"""Where in its load a run is, and how long what it does still takes."""

from __future__ import annotations

from dataclasses import dataclass

from penstock_lab.demo.scenario import Scenario

AFTER = "over"


@dataclass(frozen=True, slots=True)
class Progress:
    """One moment of a run.

    Attributes:
        phase: name of the phase of the load.
        detail: what happens in it, for people.
        share: of the phase that has passed, 0 to 1.
        left_seconds: of the phase.
        load_left_seconds: of the whole load.
    """

    phase: str
    detail: str
    share: float
    left_seconds: float
    load_left_seconds: float


def progress(scenario: Scenario, at: float) -> Progress:
    """The moment `at` seconds after the start of the load; afterwards it waits for one replica to be left."""
    total = scenario.seconds
    for phase, start, end in scenario.spans():
        if at < end:
            rate = f"{phase.first:g} req/s" if phase.first == phase.last else f"{phase.first:g} to {phase.last:g} req/s"
            passed = max(0.0, at - start)
            return Progress(phase.name, rate, passed / phase.seconds, end - max(at, start), total - max(0.0, at))
    deadline = scenario.scale_down_deadline_seconds
    passed = at - total
    detail = "replicas that nobody needs are drained and go"
    return Progress(AFTER, detail, min(1.0, passed / deadline), max(0.0, deadline - passed), 0.0)


def clock(seconds: float) -> str:
    """As in `1:05`."""
    whole = max(0, round(seconds))
    return f"{whole // 60}:{whole % 60:02d}"
