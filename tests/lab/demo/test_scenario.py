"""The load of the demo: seeded, as long and as heavy as it says, with a realistic mix of lengths."""

from statistics import fmean, median

from penstock_lab.demo.scenario import Scenario, offered_tokens_per_second


def test_the_same_seed_gives_the_same_load(scenario: Scenario) -> None:
    assert scenario.plan() == scenario.plan()
    assert scenario.plan() != scenario.plan(seed=8)
    times = [one.at for one in scenario.plan()]
    assert times == sorted(times)


def test_rates_are_those_of_the_phases(scenario: Scenario) -> None:
    planned = [one for seed in range(20) for one in scenario.plan(seed=seed)]
    for phase, start, end in scenario.spans():
        count = sum(start <= one.at < end for one in planned) / 20
        expected = (phase.first + phase.last) / 2 * phase.seconds
        assert abs(count - expected) < 5 * (expected / 20) ** 0.5, phase.name


def test_lengths_are_mostly_short_and_sometimes_long(scenario: Scenario) -> None:
    outputs = [one.output_tokens for one in scenario.plan()]
    assert median(outputs) < fmean(outputs) < max(outputs) / 3
    assert scenario.output.least <= min(outputs)
    assert max(outputs) <= scenario.output.most


def test_the_burst_asks_for_what_several_replicas_carry_and_quiet_for_less_than_one(scenario: Scenario) -> None:
    planned = scenario.plan()
    spans = {phase.name: (start, end) for phase, start, end in scenario.spans()}
    for name, least, most in (("quiet", 0.2, 0.9), ("burst", 3.0, 5.0), ("quiet again", 0.2, 0.9)):
        start, end = spans[name]
        needed = offered_tokens_per_second(planned, at=end, window_seconds=end - start) / 250
        assert least < needed < most, name
