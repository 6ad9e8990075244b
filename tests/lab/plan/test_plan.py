"""`penstock plan`: sums that everybody in the field does on paper, the simulator as a second opinion, and bad input."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from penstock_contract.profile import Profile, load_profile, reference_names
from penstock_contract.step import StepModel
from penstock_lab.plan import demand, price, replica, sizing, sla
from penstock_lab.plan.cli import plan
from penstock_lab.plan.demand import Demand
from penstock_lab.plan.simulation import trial
from penstock_lab.plan.sla import Sla

SLA = Sla(2.0, 0.05)
H100 = load_profile("llama70b-fp8-tp4-h100")
ASK = ("--demand", "50/s,prompt=1000,output=200")
Write = Callable[[Profile], Path]


def device(name: str = "device", *, step: float = 0.01, sequences: int = 1) -> Profile:
    """Every step takes as long, however many sequences are in it: sums on paper know no other device."""
    model = StepModel(c0=step, cB=0, cKV=0, cP=0, cPP=0)
    return Profile(name, model, 10**9, sequences, 10**6, 1, 60.0, "made up for tests")


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Puts a profile into a file."""

    def to_file(profile: Profile) -> Path:
        path = tmp_path / f"{profile.name}.json"
        path.write_text(json.dumps(profile.to_json()))
        return path

    return to_file


def run(*arguments: object) -> Result:
    return CliRunner().invoke(plan, [str(one) for one in arguments])


def answer(*arguments: object) -> dict:
    found = run(*arguments, "--output", "json")
    assert found.exit_code == 0, found.output
    return json.loads(found.stdout)


# Sums of the field -----------------------------------------------------------------------------------------------


def test_five_hundred_requests_of_two_hundred_tokens_are_a_hundred_thousand_tokens_a_second() -> None:
    asked = demand.parse("500/s,prompt=1000,output=200")
    assert asked.tokens_per_second == 100_000
    assert demand.parse("100k tok/s,prompt=1000,output=200").requests_per_second == asked.requests_per_second == 500
    assert demand.parse("30k/min,prompt=1,output=1").requests_per_second == 500


def test_a_device_of_a_hundred_tokens_a_second_serves_half_a_request_of_two_hundred() -> None:
    carried = replica.at_bound(device(), Demand.steady(1.0, prompt=100, output=200), SLA)
    assert carried.requests_per_second == pytest.approx(0.5)
    assert carried.bound_by == "sequences"


def test_two_hundred_requests_a_second_are_seventeen_million_a_day_on_one_server(write: Write) -> None:
    """Not on five: a day has 86,400 seconds, and a server works in all of them."""
    server = replica.at_bound(device(sequences=400), Demand.steady(1.0, prompt=100, output=200), SLA)
    assert server.requests_per_second == pytest.approx(200)
    assert server.requests_per_second * demand.SECONDS_PER_DAY == pytest.approx(17.28e6)
    spare = write(device(sequences=500))  # chance wants some room
    found = answer("--demand", "17.28M/day,prompt=100,output=200", "--profile", spare)
    assert found["demand"]["requests_per_second"] == pytest.approx(200)
    assert found["plans"][0]["replicas"] == 1


def test_ten_thousand_tokens_a_second_at_ten_dollars_an_hour_are_28_cents_a_million(write: Write) -> None:
    asked = ("--demand", "10k tok/s,prompt=100,output=200", "--profile", write(device(sequences=100)))
    (found,) = answer(*asked, "--price", "device=$10/h")["plans"]
    assert found["replica"]["tokens_per_second"] == pytest.approx(10_000)
    assert round(found["cost"]["per_million_full"], 3) == 0.278
    assert found["replicas"] == 2, "full all of the time, a queue would grow without end"
    assert found["cost"]["per_million"] == pytest.approx(2 * found["cost"]["per_million_full"])
    assert found["cost"]["per_month"] == pytest.approx(2 * 10 * 730)


# The step model ----------------------------------------------------------------------------------------------------


def test_at_its_bound_a_step_takes_what_the_sla_allows() -> None:
    asked = Demand.steady(1.0, prompt=1000, output=200)
    found = replica.at_bound(H100, asked, SLA)
    assert found.bound_by == "TPOT"
    allowed = (0.05 - 1000 * H100.model.cP / 200) * (1 - replica.MARGIN)  # one prompt more than its share, some margin
    assert found.step_seconds == pytest.approx(allowed)
    # The work of one step by the contract's own sum: sequences, their context, and the prompts that come meanwhile.
    prompts = found.requests_per_second * found.step_seconds * 1000
    model = H100.model
    seconds = model.c0 + found.sequences * (model.cB + model.cKV * 1100) + prompts * model.cP
    assert seconds == pytest.approx(found.step_seconds)


@pytest.mark.parametrize(
    ("profile", "asked", "promise", "bound"),
    [
        (H100, Demand.steady(1, prompt=20_000, output=400), Sla(1.3, 0.05), "TTFT"),
        (replace(H100, kv_tokens=20_000), Demand.steady(1, prompt=1000, output=500), Sla(2.0, 0.05), "KV cache"),
        (replace(H100, max_num_seqs=4), Demand.steady(1, prompt=100, output=500), Sla(2.0, 0.05), "sequences"),
        (replace(H100, max_num_batched_tokens=64), Demand.steady(1, prompt=99, output=9), Sla(None, 9), "token budget"),
    ],
)  # fmt: skip
def test_what_else_ends_a_replica(profile: Profile, asked: Demand, promise: Sla, bound: str) -> None:
    found = replica.at_bound(profile, asked, promise)
    assert found.bound_by == bound
    assert 0 < found.requests_per_second < math.inf
    looser = replace(profile, kv_tokens=10**7, max_num_seqs=10_000, max_num_batched_tokens=10**6)
    more = replica.at_bound(looser, asked, Sla(promise.ttft_seconds and 60.0, promise.tpot_seconds))
    assert more.requests_per_second > found.requests_per_second


@given(
    rate=st.floats(0.05, 300),
    prompt=st.integers(1, 4000),
    output=st.integers(16, 800),
    name=st.sampled_from(reference_names()),
)
def test_the_fewest_replicas_are_enough_and_one_less_is_not(rate: float, prompt: int, output: int, name: str) -> None:
    profile, asked = load_profile(name), Demand.steady(rate, prompt=prompt, output=output)
    found = sizing.fewest(profile, asked, SLA)
    if found is None:
        assert replica.at_bound(profile, asked, SLA).impossible
        return
    enough = sizing.count(profile, asked, SLA, found)
    assert enough.enough
    assert enough.attainment >= SLA.share
    assert enough.busy <= 1
    assert found == 1 or not sizing.count(profile, asked, SLA, found - 1).enough
    assert sizing.count(profile, asked, SLA, found + 1).attainment >= enough.attainment - 1e-9
    assert (sizing.fewest(profile, asked.at(2 * rate), SLA) or 0) >= found


def test_a_model_that_may_be_wrong_gives_a_range() -> None:
    asked = Demand.steady(80.0, prompt=1000, output=200)
    sizes = [sizing.size(H100, asked, SLA, error=error) for error in (0.0, 0.05, 0.2)]
    assert (sizes[0].fewest, sizes[0].most) == (sizes[0].chosen.replicas,) * 2
    widths = [size.most - size.fewest for size in sizes]
    assert widths == sorted(widths)
    assert widths[2] > 0
    assert sizing.size(H100, asked, Sla(2.0, 0.0122), error=0.2).most is None, (
        "slower, it could not keep the SLA at all"
    )


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("llama70b-fp8-tp4-h100", Demand.steady(8.0, prompt=4000, output=300)),
        ("llama8b-bf16-tp1-h100", Demand.steady(50.0, prompt=1000, output=200)),
        ("llama8b-bf16-tp1-l40s", Demand.steady(60.0, prompt=500, output=100)),
    ],
)
def test_the_simulator_agrees(name: str, asked: Demand) -> None:
    """Request by request, the number that was planned attains, and one less does not."""
    profile = load_profile(name)
    number = sizing.fewest(profile, asked, SLA)
    assert number is not None
    assert number > 1
    assert trial(profile, asked, SLA, number).attainment >= SLA.share
    assert trial(profile, asked, SLA, number - 1).attainment < SLA.share


# Answers -----------------------------------------------------------------------------------------------------------


def test_accelerators_are_compared_by_price() -> None:
    three = ("llama70b-fp8-tp4-h100", "llama70b-fp8-tp4-h200", "llama70b-bf16-tp4-a100")
    asked = (*ASK, *(part for name in three for part in ("--profile", name)))
    plans = answer(*asked, "--price", "H100=3.5", "--price", "h200=9", "--price", "A100=1.2")["plans"]
    hourly = [one["cost"]["per_hour"] for one in plans]
    assert hourly == sorted(hourly)
    for one in plans:
        each = {"H100": 3.5, "H200": 9.0, "A100": 1.2}[one["accelerator"]]
        assert one["accelerators"] == 4 * one["replicas"]
        assert one["cost"]["per_hour"] == pytest.approx(each * one["accelerators"])
        assert one["confidence"]["replicas_low"] <= one["replicas"] <= one["confidence"]["replicas_high"]
        assert [near["replicas"] for near in one["around"]] == [one["replicas"] + step for step in (-1, 0, 1)]
    errors = sorted(one["confidence"]["model_error"] for one in plans)
    assert errors == pytest.approx([0.022, 0.037, 0.1]), "as their sources say, else 10 %"
    by_size = answer(*asked)["plans"]
    assert [one["cost"] for one in by_size] == [None] * 3
    assert [one["accelerators"] for one in by_size] == sorted(one["accelerators"] for one in by_size)


def test_a_person_reads_the_same_numbers() -> None:
    asked = (*ASK, "--profile", "llama70b-fp8-tp4-h100", "--price", "H100=3.5")
    (found,) = answer(*asked)["plans"]
    shown = run(*asked).stdout
    assert "50 requests/s (4.32M a day) x 200 tokens = 10,000 tok/s" in shown
    assert f"{found['replicas']} replicas; one carries" in shown
    assert f"{found['cost']['per_hour']:.2f}" in shown
    assert f"{found['cost']['per_million']:.3f} USD per million generated tokens" in shown
    assert max(len(line) for line in shown.splitlines()) <= 140


def test_a_trace_is_sized_for_its_busiest_minute(tmp_path: Path) -> None:
    quiet = [f"{second},100,50" for second in range(60)]
    busy = [f"{60 + number / 20},200,100" for number in range(1200)]
    path = tmp_path / "trace.csv"
    path.write_text("\n".join(["arrival_s,prompt_tokens,output_tokens", *quiet, *busy, "239,100,50"]) + "\n")
    found = answer("--demand", path, "--profile", "llama70b-fp8-tp4-h100", "--simulate")
    assert found["demand"]["requests_per_second"] == pytest.approx(20)
    assert (found["demand"]["prompt_tokens"], found["demand"]["output_tokens"]) == (200, 100)
    assert found["demand"]["mean_requests_per_second"] == pytest.approx(1261 / 239)
    (one,) = found["plans"]
    assert one["replicas_at_mean"] <= one["replicas"]
    tried = {each["replicas"]: each["attainment"] for each in one["simulated"]}
    assert tried[one["replicas"]] >= 0.99
    assert set(tried) == {near["replicas"] for near in one["around"]}


def test_an_sla_that_no_number_keeps_is_said_with_its_reason() -> None:
    found = run(*ASK, "--profile", "llama70b-bf16-tp4-a100", "--sla", "ttft=2s,tpot=20ms")
    assert found.exit_code == 1
    assert "no number of replicas keeps the SLA: alone on a replica a token takes" in " ".join(found.output.split())
    late = run("--demand", "1/s,prompt=60000,output=50", "--profile", "llama70b-bf16-tp4-a100")
    assert "a prompt of 60000 tokens takes" in late.output
    huge = run("--demand", "1/s,prompt=500000,output=50", "--profile", "llama70b-bf16-tp4-a100")
    assert "does not fit its KV cache" in huge.output
    assert late.exit_code == huge.exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "option", "fix"),
    [
        (("--demand", "many"), "--demand", "neither a rate nor a file"),
        (("--demand", "5/week,prompt=1,output=1"), "--demand", "500/s,prompt=1000,output=200"),
        (("--demand", "5/s"), "--demand", "prompt and output missing"),
        (("--demand", "5/s,prompt=1"), "--demand", "output missing"),
        (("--demand", "5/s,prompt=1,output=-3"), "--demand", "output=-3 is no number of tokens"),
        (("--demand", "5/s,prompt=1,tokens=3"), "--demand", "prompt=TOKENS and output=TOKENS"),
        (("--demand", "0/s,prompt=1,output=1"), "--demand", "above 0"),
        (("--demand", "9999G/s,prompt=1,output=1"), "--demand", "more than 20000 replicas"),
        (("--sla", "fast"), "--sla", "ttft=2s,tpot=50ms,p=99"),
        (("--sla", "p=99"), "--sla", "neither ttft nor tpot"),
        (("--sla", "ttft=2s,ttft=3s"), "--sla", "twice"),
        (("--sla", "ttft=0s"), "--sla", "above 0"),
        (("--sla", "ttft=soon"), "--sla", "250ms"),
        (("--sla", "ttft=2s,p=100"), "--sla", "from 50 to below 100"),
        (("--profile", "b200"), "--profile", "llama70b-fp8-tp4-h100"),
        (("--profile", "llama70b-fp8-tp4-h100"), "--profile", "twice"),
        (("--price", "3.5"), "--price", "H100=3.5"),
        (("--price", "H100=cheap"), "--price", "H100=3.5"),
        (("--price", "H100=1", "--price", "h100=2"), "--price", "two prices"),
        (("--price", "H200=4"), "--price", "no profile has the accelerator h200"),
        (("--model-error", "2"), "--model-error", "a share below 1"),
    ],
)
def test_bad_input_names_the_option_and_the_fix(arguments: tuple[str, ...], option: str, fix: str) -> None:
    asked = ("--profile", "llama70b-fp8-tp4-h100", *(() if "--demand" in arguments else ASK), *arguments)
    found = run(*asked)
    assert found.exit_code == 2, found.output
    said = " ".join(found.output.replace("│", " ").split())
    assert option in said
    assert fix in said


def test_a_file_that_is_no_trace_and_one_that_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    for text, why in (("a,b\n1,2\n", "none of the formats"), ("arrival_s,prompt_tokens,output_tokens\n", "no request")):
        path.write_text(text)
        found = run("--demand", path, "--profile", "llama70b-fp8-tp4-h100")
        assert found.exit_code == 2
        assert "--demand" in found.output
        assert why in found.output


def test_the_kind_of_an_accelerator_is_in_a_reference_profiles_name() -> None:
    assert {price.kind(load_profile(name)) for name in reference_names()} == {"A100", "H100", "H200", "L40S"}
    assert price.kind(device("my-own")) == "my-own"
    assert price.of(H100, price.parse(["h100=2", "llama70b-fp8-tp4-h100=3"])) == 3.0
    assert str(sla.parse("ttft=2s,tpot=50ms,p=99.9")) == "TTFT ≤ 2 s and TPOT ≤ 0.05 s for 99.9 % of requests"
