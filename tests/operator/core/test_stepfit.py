"""The step model from windows alone: it finds what made them, stays sane whatever it is fed, and bounds the load."""

import math
import random
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from observations import NOW, fresh, observation
from penstock_operator.core.scaling import Memory, Policy, Signal, SignalState, decide
from penstock_operator.core.scaling.budget import TAIL
from penstock_operator.core.scaling.capacity import LEAST_WINDOWS, longest_step, tokens_per_second
from penstock_operator.core.scaling.learning import YOUNG_WINDOWS
from penstock_operator.core.scaling.stepfit import StepFit, StepRates, sustainable, update

A, D, E = 0.011, 0.0001, 0.00005  # seconds per step, per decoded sequence, per prefill token
RATIO = 5.0  # prefill tokens for each generated one


def window(tokens_per_second: float, *, replicas: int = 1, ratio: float = RATIO, noise: float = 1.0) -> StepRates:
    """What a replica that always has work makes of a load: s = a + g*s*(d + e*r), per replica."""
    each = tokens_per_second / replicas
    step = A / (1.0 - each * (D + E * ratio)) * noise
    return StepRates(
        steps=replicas / step,
        seconds=replicas * 1.0,
        sequences=replicas * each,
        prefill_tokens=replicas * each * ratio,
        generated_tokens=replicas * each,
    )


def fitted(loads: list[float], *, seed: int = 1, noise: float = 0.0, ratio: float = RATIO) -> StepFit:
    dice, fit = random.Random(seed), None
    for number, load in enumerate(loads):
        seen = window(load, ratio=ratio, noise=math.exp(dice.gauss(0, noise)))
        fit = update(fit, seen, replicas=1, now=NOW + 5 * number)
    assert fit is not None
    return fit


def truth(step_seconds: float, ratio: float = RATIO) -> float:
    return (1 - A / step_seconds) / (D + E * ratio)


SWING = [600 + 400 * math.sin(number / 15) for number in range(200)]


@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_it_predicts_the_load_at_which_a_step_reaches_the_bound(noise: float) -> None:
    found = sustainable(fitted(SWING, noise=noise), step_seconds=0.028, max_sequences=None)
    assert found == pytest.approx(truth(0.028), rel=0.12)
    assert found is not None
    assert found <= truth(0.028) * 1.03, "what is not known well counts as slower"


def test_it_stays_at_what_was_seen_while_the_load_shows_nothing_new() -> None:
    """Prefill alone, always the same: base and prefill cannot be told apart, but what is seen must be what is said."""
    fit = None
    for number in range(300):
        fit = update(fit, window(20.0, ratio=250.0), replicas=1, now=NOW + 5 * number)
        assert fit is not None
        row = (1.0, fit.mean_sequences, fit.mean_sequences * 250.0)
        predicted = sum(value * theta for value, theta in zip(row, fit.theta, strict=True))
        assert predicted == pytest.approx(fit.mean_step_seconds, rel=0.05)
        assert min(fit.theta) >= 0


def test_it_follows_a_shift_of_the_mix() -> None:
    fit = fitted(SWING)
    for number in range(200):
        load = 300 + 150 * math.sin(number / 15)
        fit = update(fit, window(load, ratio=15.0), replicas=1, now=fit.at + 5) or fit
    assert sustainable(fit, step_seconds=0.028, max_sequences=None) == pytest.approx(truth(0.028, 15.0), rel=0.15)


def test_steady_load_for_hours_neither_winds_it_up_nor_freezes_it() -> None:
    fit = fitted(SWING + [500.0] * 3000)
    assert all(fit.covariance[i][i] <= fit.prior[i] ** 2 * (1 + 1e-9) for i in range(3))
    steady = sustainable(fit, step_seconds=0.028, max_sequences=None)
    assert steady is not None
    assert steady <= truth(0.028) * 1.05
    for number in range(100):
        fit = update(fit, window(SWING[number]), replicas=1, now=fit.at + 5) or fit
    assert sustainable(fit, step_seconds=0.028, max_sequences=None) == pytest.approx(truth(0.028), rel=0.12)


def test_slots_bound_the_load_before_steps_get_long() -> None:
    found = sustainable(fitted(SWING), step_seconds=0.05, max_sequences=8)
    step = A / (1 - 8 / (A + 8 * (D + E * RATIO)) * (D + E * RATIO))
    assert found == pytest.approx(8 / step, rel=0.05)


def test_a_bound_that_no_step_meets_is_no_capacity() -> None:
    lonely = fitted([60 + 40 * math.sin(number / 15) for number in range(200)])
    assert sustainable(lonely, step_seconds=A / 2, max_sequences=None) is None


def test_while_crowded_steps_hide_what_an_empty_one_takes_the_load_shrinks_in_proportion() -> None:
    """Started into overload nothing varies, so the model cannot tell; fewer sequences will show it."""
    fit = fitted([2600.0] * 20)
    assert fit.mean_step_seconds > 0.1
    assert sustainable(fit, step_seconds=0.028, max_sequences=None) == pytest.approx(
        2600.0 * 0.028 / fit.mean_step_seconds
    )


rates = st.floats(0, 1e6, allow_nan=False)


@given(windows=st.lists(st.builds(StepRates, rates, rates, rates, rates, rates), max_size=40))
@example(windows=[StepRates(1.0, 1.0, 0.0, 0.0, 1.0), StepRates(1.0, 1.0, 1.0, 1.0, 1.0)])
def test_whatever_it_is_fed_it_stays_finite_and_not_negative(windows: list[StepRates]) -> None:
    fit = None
    for number, seen in enumerate(windows):
        fit = update(fit, seen, replicas=1, now=NOW + 5 * number)
    if fit is not None:
        assert all(math.isfinite(value) and value >= 0 for value in fit.theta)
        assert all(math.isfinite(value) for line in fit.covariance for value in line)
        found = sustainable(fit, step_seconds=0.05, max_sequences=256)
        assert found is None or (math.isfinite(found) and found >= 0)


@given(step=st.floats(0.015, 0.2), more=st.floats(1.0, 3.0))
def test_a_looser_objective_never_means_less(step: float, more: float) -> None:
    fit = fitted(SWING)
    tight = sustainable(fit, step_seconds=step, max_sequences=None) or 0.0
    loose = sustainable(fit, step_seconds=step * more, max_sequences=None) or 0.0
    assert loose >= tight * (1 - 1e-6)


POLICY = Policy(min_replicas=1, max_replicas=50, tpot_seconds=0.05)


def test_an_explicit_target_wins_and_the_lower_of_the_two_bounds_counts() -> None:
    fit = fitted(SWING)
    bound = sustainable(fit, step_seconds=longest_step(0.05, fit.theta[0], TAIL), max_sequences=None)
    assert tokens_per_second(POLICY, None, fit) == bound
    assert tokens_per_second(POLICY, 1000.0, fit) == 800.0
    assert tokens_per_second(POLICY, 1e6, fit) == bound
    assert tokens_per_second(replace(POLICY, target_tokens_per_second=7.0), 1000.0, fit) == 7.0
    assert tokens_per_second(replace(POLICY, tpot_seconds=None), None, fit) is None
    young = fitted(SWING[: LEAST_WINDOWS - 1])
    assert tokens_per_second(POLICY, None, young) is None, "a few windows prove nothing"


def test_what_every_step_takes_is_no_reason_for_reserve() -> None:
    """Only what comes on top of an empty step differs from request to request."""
    assert longest_step(0.05, 0.0, 2.0) == pytest.approx(0.025)
    assert longest_step(0.05, 0.03, 2.0) == pytest.approx(0.04)
    assert longest_step(0.05, 0.04, 8.0) == pytest.approx(0.05), "hardly more than an empty one: nobody is quicker"
    assert longest_step(0.05, 0.06, 2.0) == pytest.approx(0.05), "out of reach"


def run(load: float, *, ticks: int = 60, **changes: object) -> tuple[int, Memory]:
    """A service whose replicas each show the window of their share of the load."""
    memory, replicas, now = Memory(), 1, NOW
    for _ in range(ticks):
        seen = observation(replicas=replicas, arrivals=load / 100, tokens_per_request=100, running=load * 0.02)
        seen = replace(seen, work=window(min(load, 2600.0 * replicas), replicas=replicas), **changes)  # type: ignore[arg-type]
        decision, memory = decide(POLICY, seen, memory, now)
        replicas, now = decision.replicas, now + 5
    return replicas, memory


def test_a_service_without_a_target_grows_before_anything_queues() -> None:
    """The time per token is what tells: saturation alone would wait for a queue."""
    needed = math.ceil(6000 / truth(longest_step(0.05, A, TAIL)))
    replicas, memory = run(6000.0)
    assert memory.saturation_tokens_per_second is None
    assert needed <= replicas <= needed + 2


def test_what_is_not_wholly_seen_teaches_nothing() -> None:
    assert run(600.0, ticks=3, reporting=fresh(0))[1].fit is None
    assert run(600.0, ticks=3, reporting=Signal(SignalState.ABSENT))[1].fit is None


def test_a_load_that_has_just_come_is_not_taken_for_one_that_is_carried() -> None:
    """While the model is young and requests are in time it adds nothing beyond what replicas were seen to carry."""
    policy = Policy(min_replicas=1, max_replicas=100, tpot_seconds=0.028, allowed=0.01)
    memory, now, usual = Memory(fit=fitted(SWING[:20])), NOW, observation(replicas=4, arrivals=20.0, running=40)
    assert memory.fit is not None
    assert memory.fit.windows < YOUNG_WINDOWS
    for _ in range(15):
        held, memory = decide(policy, usual, memory, now)
        now += 5.0
    assert held.replicas == 4
    jumped = replace(usual, arrivals=fresh(150.0), prompt_tokens=fresh(7500.0))
    decision, memory = decide(policy, jumped, memory, now)
    assert decision.capacity_tokens_per_second is not None
    assert decision.replicas >= 15000 / decision.capacity_tokens_per_second, decision.message
