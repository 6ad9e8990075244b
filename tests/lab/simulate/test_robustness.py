"""The benchmarks beyond the traces: what they draw, what they measure, and that they can fail."""

from typing import Any

import pytest
from benchmarks.decide import __main__ as decisions
from benchmarks.decide.recording import record
from benchmarks.policy import reserve
from benchmarks.robustness.page import page
from benchmarks.sensitivity import __main__ as sensitivity
from benchmarks.sensitivity import seasons, steps, trial
from benchmarks.sensitivity.configurations import draw

from penstock_contract.profile import load_profile
from penstock_lab.simulate.pods import Pod
from penstock_lab.simulate.policies import registry
from penstock_lab.simulate.state import Requests
from penstock_lab.simulate.world import Run, Setting

PROFILE = load_profile("llama70b-fp8-tp4-h100")
NO_REQUESTS = Requests.of([], [], [])


def test_the_same_seed_draws_the_same_world_and_others_differ() -> None:
    drawn = [draw(seed) for seed in range(12)]
    assert drawn == [draw(seed) for seed in range(12)]
    assert len({one.traffic.shape for one in drawn}) > 3
    assert len({one.profile.name for one in drawn}) > 3
    for one in drawn:
        assert 5 <= one.startup_seconds <= 420
        assert 0 < one.mean_replicas <= 20.01
        assert one.objectives.tpot_seconds > one.profile.model.c0


def test_a_world_is_run_and_what_was_lost_is_told_apart() -> None:
    row = trial.trial(4)
    assert row["crash"] is None, row["crash"]
    assert row["memory_bytes"] > 500, "the policy has learned something"
    assert sum(row["lost"].values()) == pytest.approx(1.0 - row["attainment"])
    assert sensitivity.problems([row]) == []
    away = row | {"peak": 60, "oracle_peak": 6}
    heavy = row | {"memory_growth_bytes": 100_000}
    assert ["asked for 60" in one or "100,000" in one for one in sensitivity.problems([away, heavy])] == [True, True]


def test_a_crash_of_the_policy_is_a_problem_of_that_world_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("no tick is like that")

    monkeypatch.setattr(registry, "build", broken)
    monkeypatch.setattr(trial.oracle, "find", lambda *_: None)
    row = trial.trial(4)
    said = sensitivity.problems([row])
    assert len(said) == 1
    assert "ZeroDivisionError: no tick is like that" in said[0]


def stepped(ready_at: float, gone_at: float) -> dict[str, Any]:
    """A hand-made run: five replicas, the step, fourteen from one time on, a queue until another."""
    edge = 1200.0
    ticks = [5.0 * number for number in range(700)]
    points = [
        (at, 14 if at >= edge + 5 else 5, 14 if at >= edge + ready_at else 5, 1.0,
         100.0 if edge < at < edge + gone_at else 0.0)
        for at in ticks
    ]  # fmt: skip
    pods = [Pod(number, edge + 5, 60.0, scheduled=edge + 5, ready=edge + 5 + 60.0 + number) for number in range(9)]
    nothing = NO_REQUESTS.arrival
    run = Run(NO_REQUESTS, nothing, nothing, pods, 3500.0, 0.0, 0, points)
    return steps.measured(run, 14, 5.0, Setting(PROFILE))


def test_a_step_is_measured_from_the_step_on() -> None:
    found = stepped(ready_at=75.0, gone_at=120.0)
    assert found["first_decision_seconds"] == 5.0
    assert found["capacity_seconds"] == 75.0
    assert found["startup_p90_seconds"] == pytest.approx(67.2)
    assert found["capacity_bar_seconds"] == pytest.approx(67.2 + 10 + 60)
    assert found["backlog_seconds"] == 45.0
    assert found["holds"]


@pytest.mark.parametrize(("ready_at", "gone_at"), [(140.0, 150.0), (75.0, 215.0), (5000.0, 100.0)])
def test_a_step_that_takes_too_long_fails(ready_at: float, gone_at: float) -> None:
    row = {"seed": 3, "startup_seconds": 60.0} | stepped(ready_at, gone_at)
    assert steps.problems([row]) == ["start-up 60 s, seed 3"]


def test_what_a_decision_costs_is_taken_from_worlds_that_use_every_part() -> None:
    recording = record(5, 900.0)
    assert any(tick.unschedulable for tick in recording.ticks), "it has fewer accelerators than it asks for"
    assert any(tick.missed for tick in recording.ticks)
    fleet = decisions.services([recording], 3)
    assert len({one.at for one in fleet}) == 3, "at different times of theirs"
    found = decisions.timed(fleet, 4)
    assert found["calls"] == 12
    assert found["parts"]["forecast"] == 1.0
    found["parts"] = dict.fromkeys(found["parts"], 1.0)
    memory = {"growth_bytes_a_service": 0.0, "bytes_a_service": 1.0, "most_bytes_a_service": 1.0}
    assert decisions.problems({"time": found | {"mean_ms": 0.5}, "memory": memory}) == []
    slow = {"time": found | {"mean_ms": 1.5}, "memory": memory | {"growth_bytes_a_service": 500.0}}
    slow["time"]["parts"] = found["parts"] | {"forecast": 0.0}
    assert len(decisions.problems(slow)) == 3


def test_the_page_says_what_was_missed() -> None:
    row = {"seed": 3, "startup_seconds": 60.0, "before": 5, "need": 14, "attainment": 0.9} | stepped(140.0, 150.0)
    text = page({"steps": {"command": "made", "rows": [row], "problems": steps.problems([row])}})
    assert "0 of 1 runs hold both. **Missed**: start-up 60 s, seed 3." in text
    assert "| 60 s | 3 | 5 | 14 | 5 s | 140 s | 137 s | 100 | 10 s | 134 s | 90.0% |" in text
    assert max(map(len, text.splitlines())) <= 120


def test_a_season_that_does_harm_is_a_problem() -> None:
    good = {"attainment": 0.99, "step_attainment": 0.9, "gpu_hours": 10.0}
    about = {"seed": 0, "startup_seconds": 60.0}
    blind = [about | good | {"day": day, "knows": False} for day in (1, 2, 3, 4)]
    known = [one | {"knows": True} for one in blind]
    assert seasons.problems([*blind, *known]) == []
    known[1] |= {"attainment": 0.98}
    known[2] |= {"gpu_hours": 12.0}
    late, dear = seasons.problems([*blind, *known])
    assert ("day 2 attains 98.00%" in late, "day 3 takes 12 GPU-hours, 10" in dear) == (True, True)
    shown = page({"seasons": {"command": "make bench-seasons", "problems": [late], "rows": [*blind, *known]}})
    assert "| 60 s, 0, 2 | 98.00% | 99.00% | 90.0% | 90.0% | 10 | 10 |" in shown


def test_one_choice_for_all_cases_answers_by_the_mean_of_the_traces() -> None:
    """Each choice attains more and costs more than the one before; one trace is easy, one is not, a step needs most."""
    count = len(reserve.CHOICES)
    dearer = [1.0 + 0.01 * which for which in range(count)]

    def case(name: str, first_that_attains: int) -> dict[str, Any]:
        attained = [0.995 if which >= first_that_attains else 0.9 + 0.0005 * which for which in range(count)]
        about = {"case": name, "startup_seconds": 60.0, "anew_attainment": 0.992, "anew_gpu_hours": 12.0}
        return about | {"oracle_gpu_hours": 10.0, "attained": attained, "ratios": dearer}

    rows = reserve.digest([case("easy", 3), case("hard", 30), case("step3", 90)])
    found = {row["question"]: row for row in rows}
    assert (found["ours"]["ratio"], found["ours"]["attain"], found["ours"]["traces"]) == (1.2, 2, 2)
    assert found["every trace attains"]["ratio"] == pytest.approx(1.30)
    assert found["most traces attain at 1.15"]["attain"] == 1
    assert found["most traces attain at 1.15"]["ratio"] == pytest.approx(1.03), "the cheapest of the equal"
    assert found["step3 no dearer than ours"]["step3"] == pytest.approx(0.91), "the twentieth choice costs as ours does"
    assert found["step3 attains"]["ratio"] == pytest.approx(1.90)
    never = reserve.digest([case("easy", 3), case("step3", count)])
    assert "step3 attains" not in {row["question"] for row in never}
