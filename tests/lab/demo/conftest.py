"""A run as the demo records it, made from pages in the shape of /state.json."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from penstock_lab.demo.pace import Pace
from penstock_lab.demo.record import Record, Sample
from penstock_lab.demo.scenario import Scenario
from penstock_lab.demo.state import parse
from penstock_lab.demo.summary import Result
from penstock_lab.load.outcome import Outcome
from penstock_lab.load.schedule import Planned

EPOCH = 1_795_000_000.0
PRICE = 2.5
GOOD = (1, 1, 4, 4, 1)


def page(at: float = 0.0, *, ready: int = 1, desired: int | None = None, **parts: Any) -> dict[str, Any]:
    """One page with one service; `parts` replace parts of it."""
    desired = ready if desired is None else desired
    service: dict[str, Any] = {
        "namespace": "demo",
        "name": "chat",
        "replicas": {
            "desired": desired, "asked": desired, "ready": ready, "starting": max(0, desired - ready), "draining": 0,
            "unschedulable": 0, "min": 1, "max": 6,
        },
        "load": {
            "offered_requests_per_second": 15.2, "offered_tokens_per_second": 970.0, "served_tokens_per_second": 610.0,
            "tokens_per_request": 64.1, "running": 31, "waiting": 4, "held": 2, "in_flight": 37,
        },
        "capacity": {"tokens_per_second_per_replica": 250.0, "source": "Target"},
        "objectives": [
            {
                "metric": metric, "percentile": "99", "threshold_seconds": threshold, "window_seconds": 3600,
                "value_seconds": 1.31, "attainment": 0.993, "error_budget_left": 0.3,
            }
            for metric, threshold in (("TTFT", 2.0), ("TPOT", 0.1))
        ],
        "cost": {"per_hour": PRICE * max(ready, desired), "per_million_tokens": 3.4, "currency": "USD"},
        "decision": {"at": EPOCH + at, "replicas": desired, "act": True, "reason": "OfferedLoad", "message": "as is"},
        "decisions": [],
    }  # fmt: skip
    return {"at": EPOCH + at, "services": [service | parts]}


def change(at: float, before: int, after: int, message: str = "15.10 req/s x 63.0 tokens = 951 tok/s offered") -> Any:
    """One entry of a page's decisions."""
    reason = "OfferedLoad" if after > before else "LessLoad"
    return {"at": EPOCH + at, "from": before, "to": after, "reason": reason, "message": message}


def outcome(error: str | None = None, *, at: float = 0.0, phase: str = "quiet", ttft: float = 0.1) -> Outcome:
    return Outcome(
        at=at, phase=phase, error=error, ttft_seconds=ttft, last_seconds=1.0, e2e_seconds=1.0, tokens=32, attempts=1
    )


def record(ready: Sequence[int], outcomes: Sequence[Outcome], **parts: Any) -> Record:
    """One sample a second with these counts, and as many planned requests as there are outcomes."""
    made = Record([Planned(one.at, one.phase, (3,), 32) for one in outcomes])
    made.begin(EPOCH)
    for at, count in enumerate(ready):
        state = parse(page(at, ready=count, **parts), namespace="demo", name="chat", replica_price=PRICE)
        made.take(Sample(float(at), state))
    made.outcomes.extend(outcomes)
    return made


@pytest.fixture
def scenario(tmp_path: Path) -> Scenario:
    return Scenario(examples=tmp_path, out=tmp_path)


@pytest.fixture
def finished(scenario: Scenario) -> Callable[..., Result]:
    """A finished run with the given counts a second and outcomes."""

    def build(ready: Sequence[int] = GOOD, outcomes: Sequence[Outcome] | None = None, **parts: Any) -> Result:
        pace = Pace(steps=1000, late=20, seconds=46.0, modelled_seconds=45.0)
        seen = [outcome()] if outcomes is None else outcomes
        environment = {"penstock": "0.1.0", "machine": "2 cores"}
        return Result(scenario, record(ready, seen, **parts), PRICE, pace, environment, 240.0)

    return build


@pytest.fixture
def burst(finished: Callable[..., Result]) -> Result:
    """A run of the whole length: one replica, four in the burst, one again; with decisions, and texts that bite."""
    ready = [1] * 50 + [4] * 110 + [1] * 30
    phases = [("quiet", 20), ("burst grows", 90), ("burst", 30), ("quiet again", 30)]
    outcomes = [
        outcome(at=float(at), phase=name, ttft=3.0 if name == "burst" and at % 3 == 0 else 0.1)
        for start, (name, seconds) in zip((0, 20, 110, 140), phases, strict=True)
        for at in range(start, start + seconds)
    ]
    decisions = [change(160, 4, 1, "no load; <b>drained</b> & gone"), change(40, 1, 4)]
    return finished(ready, outcomes, decisions=decisions)
