"""Predicted attainment around a count: more replicas never do worse, and what is not known is not predicted."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observations import NOW, observation
from penstock_operator.core.scaling import Memory, Policy, decide
from penstock_operator.core.scaling.budget import begin
from penstock_operator.core.scaling.capacity import LEAST_WINDOWS
from penstock_operator.core.scaling.forecast import follow
from penstock_operator.core.scaling.predict import around
from penstock_operator.core.scaling.stepfit import StepFit

POLICY = Policy(min_replicas=1, max_replicas=50, target_tokens_per_second=1000.0, allowed=0.01)
KNOWN = Memory(margins=begin(0.01), forecast=follow(None, 5000.0, now=NOW, horizon_seconds=60.0))


@given(busy=st.floats(0.01, 40), replicas=st.integers(1, 40))
def test_more_replicas_never_do_worse(busy: float, replicas: int) -> None:
    found = around(POLICY, KNOWN, busy, replicas=replicas)
    assert [one.replicas for one in found] == [n for n in (replicas - 1, replicas, replicas + 1) if n]
    shares = [one.attainment for one in found]
    assert shares == sorted(shares)
    assert all(0.0 <= share <= 1.0 for share in shares)


def test_far_too_few_serve_nobody_in_time_and_plenty_serve_all() -> None:
    assert around(POLICY, KNOWN, 10.0, replicas=2)[1].attainment == 0.0
    assert around(POLICY, KNOWN, 10.0, replicas=20)[1].attainment == pytest.approx(1.0)


@pytest.mark.parametrize("base", [0.005, 0.011, 0.03])
def test_replicas_as_busy_as_they_may_be_just_meet_the_objective_however_long_an_empty_step_is(base: float) -> None:
    """Without any doubt about the load, 99 of 100 are in time by the very margin that the capacity keeps."""
    nothing = (0.0, 0.0, 0.0)
    fit = StepFit(
        theta=(base, 1e-4, 5e-5),
        covariance=(nothing, nothing, nothing),
        prior=(base, 1e-4, 5e-5),
        information=(nothing, nothing, nothing),
        moment=nothing,
        windows=LEAST_WINDOWS,
        prefill_per_token=5.0,
        mean_step_seconds=base,
        mean_sequences=1.0,
        tokens_per_second=100.0,
        at=NOW,
    )
    assert KNOWN.forecast is not None
    memory = replace(KNOWN, fit=fit, forecast=replace(KNOWN.forecast, surprise=0.0))
    policy = replace(POLICY, target_tokens_per_second=None, tpot_seconds=0.05)
    fewer, same, more = (one.attainment for one in around(policy, memory, 10.0, replicas=10))
    assert same == pytest.approx(0.99)
    assert fewer < 0.98
    assert more > 0.993


@pytest.mark.parametrize(
    ("policy", "memory", "busy", "replicas"),
    [
        (replace(POLICY, allowed=None), KNOWN, 1.0, 3),
        (POLICY, Memory(), 1.0, 3),
        (POLICY, KNOWN, None, 3),
        (POLICY, KNOWN, 1.0, 0),
    ],
    ids=["no objective", "no memory", "no capacity", "no replica"],
)
def test_what_is_not_known_is_not_predicted(policy: Policy, memory: Memory, busy: float | None, replicas: int) -> None:
    assert around(policy, memory, busy, replicas=replicas) == ()


def test_a_decision_carries_them() -> None:
    memory, now = Memory(), NOW
    for _ in range(20):
        decision, memory = decide(POLICY, observation(replicas=3, arrivals=20.0, running=20.0), memory, now)
        now += 5.0
    assert [one.replicas for one in decision.predictions] == [2, 3, 4]
    assert decision.predictions[2].attainment > decision.predictions[0].attainment - 1e-9
