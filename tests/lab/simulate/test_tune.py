"""How rivals are tuned: the same number of trials each, attainment before GPU-hours, and no waste on who cannot win."""

import math
from collections.abc import Mapping

import numpy as np
import pytest
from benchmarks.policy.page import Duel, best_rival, duels, page
from benchmarks.policy.store import Key, Store
from benchmarks.policy.tune import Case, Trial, best, cost, search, trial

from penstock_contract.profile import load_profile
from penstock_lab.simulate.interval import Interval
from penstock_lab.simulate.state import Requests
from penstock_lab.simulate.world import Setting

GRID = {"share": (0.1, 0.2, 0.3, 0.4), "seconds": (60.0, 300.0, 600.0)}
PROFILE = load_profile("llama8b-bf16-tp1-h100")


def ended(settings: Mapping[str, float], found: float, *, whole: bool = True) -> Trial:
    return Trial(dict(settings), found, whole, (0.99,), (1.0,))


def test_a_percentage_point_that_is_missing_costs_as_much_as_the_bound() -> None:
    assert cost(0.995, 1.5) == 1.5
    assert cost(0.99, 1.5) == 1.5
    assert cost(0.98, 1.5) == pytest.approx(2.5)
    assert cost(0.985, 1.0) == pytest.approx(cost(0.99, 1.5))


def test_the_search_follows_each_parameter_to_the_best_within_its_trials() -> None:
    limits = []

    def run(settings: Mapping[str, float], limit: float) -> Trial:
        limits.append(limit)
        return ended(settings, abs(settings["share"] - 0.2) + abs(settings["seconds"] - 600.0) / 1000)

    found = list(search(GRID, run, trials=18))
    assert best(found).settings == {"share": 0.2, "seconds": 600.0}
    assert len({tuple(one.settings.values()) for one in found}) == len(found), "nothing is tried twice"
    assert limits[0] == math.inf
    assert limits == sorted(limits, reverse=True), "who cannot beat the best so far may be given up"
    assert len(list(search(GRID, run, trials=5))) == 5


def test_what_was_given_up_is_never_chosen() -> None:
    trials = [ended({"share": 0.1}, 2.0), ended({"share": 0.2}, 0.5, whole=False), ended({"share": 0.3}, 1.0)]
    assert best(trials).settings == {"share": 0.3}


def test_a_trial_that_cannot_win_is_given_up() -> None:
    dice = np.random.default_rng(1)
    arrival = np.sort(dice.uniform(0, 120, 1200))
    requests = Requests.of(arrival, np.full(1200, 400), np.full(1200, 50))
    case = Case("made", requests, Setting(PROFILE, startup_seconds=20.0, initial_replicas=1, max_replicas=4), 0.01)
    whole = trial("hpa", {"share": 0.16}, [case, case])
    assert whole.whole
    assert len(whole.hours) == 2
    assert whole.attainment[0] == whole.attainment[1], "the same setting, seed and traffic give the same"
    early = trial("hpa", {"share": 0.16}, [case, case], limit=whole.hours[0] / 4)
    assert not early.whole
    assert early.cost <= whole.cost


def row(policy: str, case: str, *, attainment: float, hours: float, seed: int = 0) -> dict[str, object]:
    return {
        "case": case, "real": True, "startup": 60.0, "seed": seed, "policy": policy, "attainment": attainment,
        "attainment_ttft": attainment, "attainment_tpot": 1.0, "worst_window_attainment": 0.9, "gpu_hours": hours,
        "oracle_gpu_hours": 10.0, "lower_bound_gpu_hours": 8.0, "peak_replicas": 9, "reversals_per_hour": 1.0,
        "failed": 0, "killed_in_flight": 0, "requests": 1000, "infeasible": 0.0,
    }  # fmt: skip


def test_the_page_names_what_is_lost() -> None:
    rows = [
        row("oracle", "a", attainment=0.99, hours=10.0),
        row("penstock", "a", attainment=0.995, hours=12.0),
        row("penstock", "b", attainment=0.95, hours=12.0),
        row("hpa-tuned", "a", attainment=0.995, hours=24.0),
        row("hpa-tuned", "b", attainment=0.999, hours=24.0),
        row("kpa-tuned", "a", attainment=0.7, hours=8.0),
        row("kpa-tuned", "b", attainment=0.995, hours=8.0),
    ]
    assert best_rival(rows) == "hpa-tuned", "who attains on more cases comes before who is cheaper"
    found = {one.case: one for one in duels(rows, "hpa-tuned")}
    assert (found["a"].verdict, found["a"].hours.mean, found["a"].lost) == ("fewer GPU-hours", 0.5, False)
    assert (found["b"].verdict, found["b"].lost) == ("loses attainment", True)
    assert Duel("x", "a", 60.0, 0.995, 0.992, Interval(1.01)).lost, "one per cent more is lost too"
    text = page(rows, command="python -m benchmarks.policy", seeds=1, simulator="abc", missing=3)
    assert "3 runs of it are still missing" in text
    assert "Lost: 1" in text
    assert text.index("| b | 95.00%") < text.index("| a | 99.50%"), "what is lost stands first"


def test_from_three_seeds_on_the_summary_has_intervals() -> None:
    rows = [
        row(policy, case, attainment=0.99 + seed / 1000, hours=hours + seed, seed=seed)
        for policy, hours in (("oracle", 10.0), ("penstock", 11.0))
        for case in ("a", "b")
        for seed in range(3)
    ]
    text = page(rows, command="c", seeds=3, simulator="abc", missing=0)
    assert "| **penstock** | 2 of 2 | 99.10% [99.00%, 99.20%] | 99.10% | 1.20 [1.10, 1.30] |" in text
    assert "GPU-hours / oracle <= 1.15:" in text
    assert "- all traces: ours 1.20 [1.10, 1.30]: **missed**" in text
    part = [one for one in rows if (one["case"], one["seed"]) != ("b", 2)]
    text = page(part, command="c", seeds=3, simulator="abc", missing=2)
    assert "| **penstock** | 2 of 2 | 99.05% |" in text, "a seed that lacks a case is left out: two are no interval"


def test_a_line_that_is_being_written_is_not_read(tmp_path) -> None:
    key, path = Key("a", 60.0, 0, "hpa", "{}", "code", "simulator"), tmp_path / "runs.jsonl"
    Store(path).keep(key, {"gpu_hours": 1.0})
    whole = path.read_text()
    path.write_text(whole + whole[: len(whole) // 2])
    assert Store(path).find(key) == {"gpu_hours": 1.0}


def test_a_kept_run_is_found_by_all_that_it_depends_on(tmp_path) -> None:
    key = Key("a", 60.0, 0, "hpa", "{}", "code", "simulator")
    Store(tmp_path / "runs.jsonl").keep(key, {"gpu_hours": 1.0})
    again = Store(tmp_path / "runs.jsonl")
    assert again.find(key) == {"gpu_hours": 1.0}
    for other in (
        Key("a", 60.0, 0, "hpa", "{}", "code", "newer"),
        Key("a", 60.0, 0, "hpa", "{}", "newer", "simulator"),
        Key("a", 60.0, 0, "hpa", '{"share": 0.1}', "code", "simulator"),
        Key("a", 180.0, 0, "hpa", "{}", "code", "simulator"),
    ):
        assert again.find(other) is None
    again.keep(Key("a", 60.0, 0, "kpa", "{}", "code", "older"), {"gpu_hours": 2.0})
    again.prune(lambda one: one.simulator == "simulator")
    assert len((tmp_path / "runs.jsonl").read_text().splitlines()) == 1
