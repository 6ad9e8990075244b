"""`penstock simulate` on small traces: what it writes, what it refuses, and that no policy beats what bounds it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from penstock_contract.profile import load_profile
from penstock_lab.simulate import oracle, outcome
from penstock_lab.simulate.cli import _meant, simulate
from penstock_lab.simulate.interval import of_mean
from penstock_lab.simulate.row import Row
from penstock_lab.simulate.scaling import scaled
from penstock_lab.simulate.score import Objectives
from penstock_lab.simulate.state import Requests
from penstock_lab.simulate.study import Made, Study
from penstock_lab.simulate.study import traffic as traffic_of
from penstock_lab.simulate.synthetic import parse
from penstock_lab.simulate.world import Setting

PROFILE = load_profile("llama8b-bf16-tp1-h100")
OBJECTIVES = Objectives(2.0, 0.05, 0.99)
FIELDS = {
    "trace", "policy", "seed", "startup_seconds", "requests", "attainment", "attainment_ttft", "attainment_tpot",
    "worst_window_attainment", "gpu_hours", "oracle_gpu_hours", "lower_bound_gpu_hours", "cost", "goodput_rps",
    "reversals_per_hour", "killed_in_flight", "failed",
}  # fmt: skip


def traffic(*, seconds: float = 900.0, rate: float = 10.0, seed: int = 2) -> Requests:
    dice = np.random.default_rng(seed)
    arrival = np.sort(dice.uniform(0, seconds, dice.poisson(rate * seconds)))
    size = len(arrival)
    return Requests.of(arrival, dice.integers(50, 1500, size), dice.integers(20, 300, size))


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    requests = traffic(seconds=400)
    lines = [f"{at:.3f},{prompt},{output}" for at, prompt, output in zip(
        requests.arrival, requests.prompt, requests.output, strict=True)]  # fmt: skip
    path = tmp_path / "made.csv"
    path.write_text("timestamp,prompt_tokens,output_tokens\n" + "\n".join(lines) + "\n")
    return path


@pytest.fixture
def run(trace: Path, tmp_path: Path) -> Callable[..., Result]:
    def invoked(*options: str) -> Result:
        base = ["--trace", str(trace), "--profile", PROFILE.name, "--out", str(tmp_path / "out"), "--processes", "1"]
        return CliRunner().invoke(simulate, [*base, *options])

    return invoked


@pytest.mark.slow
def test_a_study_is_written_run_by_run_and_taken_up_again(run: Callable[..., Result], tmp_path: Path) -> None:
    options = (
        "--policies",
        "penstock,static,static-7,oracle",
        "--mean-replicas",
        "3",
        "--max-replicas",
        "30",
        "--startup",
        "20",
        "--price",
        "2.5",
    )
    done = run(*options)
    assert done.exit_code == 0, done.output
    assert "Simulated" in done.output
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    rows = {row["policy"]: row for row in result["runs"]}
    assert set(rows) == {"penstock", "static", "static-7", "oracle"}
    for row in rows.values():
        assert row.keys() >= FIELDS
        assert 0 <= row["attainment"] <= 1
        assert row["cost"] == pytest.approx(2.5 * row["gpu_hours"])
        assert row["tuned"] is False
        assert row["lower_bound_gpu_hours"] <= row["oracle_gpu_hours"] == rows["oracle"]["gpu_hours"]
    assert rows["oracle"]["attainment"] >= 0.99
    assert rows["oracle"]["gpu_hours"] <= rows["static"]["gpu_hours"]
    assert rows["penstock"]["attainment"] >= 0.97
    assert result["meta"]["sla"] == {"ttft_seconds": 2.0, "tpot_seconds": 0.05, "attainment": 0.99}
    assert result["meta"]["profile"]["name"] == PROFILE.name
    assert result["meta"]["gateway"] == "paced", "as ours does, for every policy"
    page = (tmp_path / "out" / "report.html").read_text()
    assert "SIMULATED" in page
    assert page.count("<figure>") == 5, "over time, and what GPU-hours buy"
    assert "Worst windows" in page

    kept = (tmp_path / "out" / "result.json").read_bytes()
    more = run(*options, "--seeds", "2")
    assert more.exit_code == 0, more.output
    again = json.loads((tmp_path / "out" / "result.json").read_text())["runs"]
    assert again[:4] == json.loads(kept)["runs"], "what was there is not run again"
    assert sorted(row["seed"] for row in again) == [0, 0, 0, 0, 1, 1, 1, 1]
    other = run(*options, "--ttft", "1.5")
    assert other.exit_code == 0, other.output
    assert len(json.loads((tmp_path / "out" / "result.json").read_text())["runs"]) == 4, "another study begins anew"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--rate-scale", "2", "--mean-replicas", "3"), "exclude each other"),
        (("--policies", "penstock,nobody"), "no policy nobody"),
        (("--policies", ","), "name at least one"),
        (("--profile", "no-such-replica"), "reference profiles are"),
        (("--start", "100", "--end", "50"), "end"),
        (("--trace", "no-such-file.csv"), "no such file"),
        (("--trace", "synthetic:stepp"), "step3"),
        (("--trace", "synthetic:step3", "--start", "10"), "are of files"),
        (("--ttft", "0"), "--ttft"),
        (("--attainment", "1.2"), "--attainment"),
    ],
)
def test_what_cannot_be_meant_names_the_option(
    run: Callable[..., Result], options: tuple[str, ...], message: str
) -> None:
    done = run(*options)
    assert done.exit_code == 2
    assert message in done.output


def test_a_trace_that_is_cut_says_so_everywhere(run: Callable[..., Result], tmp_path: Path) -> None:
    options = ("--policies", "static-3", "--mean-replicas", "3")
    whole = run(*options)
    assert whole.exit_code == 0, whole.output
    assert "Only the first" not in whole.output
    cut = run(*options, "--max-requests", "100")
    assert cut.exit_code == 0, cut.output
    assert (
        "Only the first 100 requests of the trace were replayed; all of it takes a larger --max-requests" in cut.output
    )
    assert "Only the first 100 requests" in (tmp_path / "out" / "report.html").read_text()
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["meta"]["max_requests"] == 100
    assert [row["requests"] for row in result["runs"]] == [100], "begun anew, since it is another study"


def test_a_file_that_is_no_trace_is_refused(run: Callable[..., Result], trace: Path) -> None:
    trace.write_text("this,is,no\ntrace,at,all\n")
    done = run("--policies", "static")
    assert done.exit_code == 1
    assert "made.csv" in done.output


def test_the_bound_grows_with_the_work_and_shrinks_with_what_may_be_missed() -> None:
    requests = traffic()
    bound = oracle.lower_bound_seconds(requests, PROFILE, OBJECTIVES)
    assert bound > 0
    assert oracle.lower_bound_seconds(requests, PROFILE, replace(OBJECTIVES, attainment=0.9)) < bound
    assert oracle.lower_bound_seconds(requests, PROFILE, replace(OBJECTIVES, tpot_seconds=0.02)) > bound
    assert oracle.mean_replicas(requests, PROFILE, OBJECTIVES) == pytest.approx(bound / requests.arrival[-1])


def test_scaled_traffic_keeps_the_clock_and_the_shapes() -> None:
    requests = traffic()
    triple = scaled(requests, 3.0, seed=1)
    assert len(triple) == 3 * len(requests)
    assert abs(triple.arrival[-1] - requests.arrival[-1]) <= 30
    assert triple.prompt.mean() == pytest.approx(requests.prompt.mean())
    half = scaled(requests, 0.5, seed=1)
    assert len(half) == pytest.approx(len(requests) / 2, rel=0.05)
    assert scaled(requests, 1.0, seed=1) is requests
    assert not np.array_equal(scaled(requests, 0.5, seed=2).arrival, half.arrival)
    many = scaled(requests, 20.0, seed=1)
    begin = np.count_nonzero(many.arrival < 5) / 5
    assert begin == pytest.approx(len(many) / 900, rel=0.4), "what is moved before the beginning is no burst there"


def test_a_plan_creates_early_and_keeps_what_is_wanted_again_soon() -> None:
    burst = np.sort(
        np.concatenate([np.linspace(0, 100, 100), np.linspace(300, 310, 3000), np.linspace(330, 340, 3000)])
    )
    requests = Requests.of(burst, np.full(len(burst), 500), np.full(len(burst), 20))
    found = oracle.plan(requests, PROFILE, OBJECTIVES, startup_seconds=60, smoothing=1, packing=0.8)
    first = int(np.argmax(found.ready > 2))
    assert first == 30
    assert found.asked[first - 6] == found.ready[first], "asked for a start-up earlier"
    assert found.asked[first - 7] < found.ready[first]
    assert found.ready[32] > 2, "between two bursts that are closer than a start-up"
    assert np.all(found.asked >= found.ready)


def test_an_sla_that_nobody_can_meet_has_no_oracle() -> None:
    impossible = Objectives(ttft_seconds=2.0, tpot_seconds=0.05, attainment=1.0)
    requests = Requests.of(np.zeros(4000), np.full(4000, 4000), np.full(4000, 400))
    assert oracle.find(requests, Setting(PROFILE, max_replicas=2), impossible) is None


def row(policy: str, seed: int, *, attainment: float, hours: float) -> Row:
    return Row(
        {
            "policy": policy, "seed": seed, "attainment": attainment, "gpu_hours": hours,
            "oracle_gpu_hours": 10.0 + seed, "lower_bound_gpu_hours": 5.0, "worst_window_attainment": 0.5,
            "ttft_p99_seconds": None, "tpot_p99_seconds": 0.04, "peak_replicas": 3,
            "reversals_per_hour": 1.0, "failed": 1,
        }
    )  # fmt: skip


def test_the_table_puts_first_who_attains_and_pairs_seeds() -> None:
    rows = [
        found
        for seed in range(3)
        for found in (
            row("kpa", seed, attainment=0.9, hours=8.0),
            row("penstock", seed, attainment=0.995, hours=12.0 + 1.2 * seed),
            row("hpa-tuned", seed, attainment=0.999, hours=24.0 + 2.4 * seed),
            row("keda", seed, attainment=0.95, hours=30.0),
        )
    ]
    lines = outcome.table(rows, 0.99)
    assert [line[0] for line in lines] == ["penstock", "hpa-tuned", "keda", "kpa"]
    by_name = {line[0]: dict(zip(outcome.COLUMNS, line, strict=True)) for line in lines}
    assert by_name["hpa-tuned"]["/ ours"] == "2.00 [2.00, 2.00]"
    assert by_name["penstock"]["/ oracle"] == "1.20 [1.20, 1.20]"
    assert by_name["kpa"]["TTFT p99"] == "-"
    assert by_name["kpa"]["failed"] == "3"
    few = outcome.table(rows[:4], 0.99)
    assert dict(zip(outcome.COLUMNS, few[1], strict=True))["/ ours"] == "2.00", "one seed has no interval"


def test_an_interval_holds_the_mean_and_narrows_with_more_seeds() -> None:
    dice = np.random.default_rng(3)
    few, many = (of_mean(list(dice.normal(2.0, 1.0, count))) for count in (5, 500))
    assert few is not None
    assert many is not None
    assert of_mean([]) is None
    for one in (few, many):
        assert one.low is not None
        assert one.high is not None
        assert one.low < one.mean < one.high
    assert (many.high or 0) - (many.low or 0) < 0.3 < (few.high or 0) - (few.low or 0)


def test_all_means_ours_the_bounds_and_the_rivals_that_are_asked_for() -> None:
    plain = _meant(("all",), "defaults")
    assert plain[:3] == ("penstock", "oracle", "static")
    assert "hpa" in plain
    assert not [name for name in plain if name.endswith("-tuned")]
    both = _meant(("all", "static-12"), "both")
    assert set(plain) < set(both)
    assert both[-1] == "static-12"
    assert set(_meant(("all",), "tuned")) == set(both) - (set(plain) - {"penstock", "oracle", "static"}) - {"static-12"}
    assert _meant(("kpa",), "tuned") == ("kpa",)


def test_made_up_traffic_is_drawn_at_the_rate_that_is_asked_for() -> None:
    origin = Made(parse("synthetic:step3,seconds=900,prompt=300,output=50"))
    study = Study(trace=origin, profile=PROFILE, objectives=OBJECTIVES, policies=("penstock",), mean_replicas=3.0)
    base = origin.load()
    first, scale = traffic_of(study, base, 0)
    second, _ = traffic_of(study, base, 1)
    assert len(first) == pytest.approx(scale * len(base), rel=0.05)
    assert oracle.mean_replicas(first, PROFILE, OBJECTIVES) == pytest.approx(3.0, rel=0.05)
    middle = np.count_nonzero((first.arrival >= 300) & (first.arrival < 600))
    assert middle == pytest.approx(0.6 * len(first), rel=0.05), "a step stays a step"
    assert len(first) != len(second)
    assert origin.about()["seconds"] == 900
