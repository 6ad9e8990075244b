"""First tokens: what a replica carries by the model, by what was seen, and what a decision says of it."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observations import NOW, fresh, observation
from penstock_operator.core.scaling import Memory, Observation, Policy, decide
from penstock_operator.core.scaling.budget import TAIL, Missed
from penstock_operator.core.scaling.capacity import attributed
from penstock_operator.core.scaling.firsttoken import Prefill, bound, sustainable
from penstock_operator.core.scaling.proof import Proof, fold
from penstock_operator.core.scaling.stepfit import StepRates

THETA = (0.011, 8e-5, 4.5e-5)
ALLOWED = 0.01
SERVICE = Prefill(THETA, 200.0, ((0.5, 300.0), (0.4, 2000.0), (0.1, 8000.0)), chunk=8192, slots=256, replicas=2)
tokens = st.floats(1.0, 30_000.0)
services = st.builds(
    Prefill,
    theta=st.tuples(st.floats(1e-3, 0.05), st.floats(0, 1e-3), st.floats(0, 3e-4)),
    output=st.floats(1.0, 2000.0),
    prompts=st.tuples(tokens, tokens).map(lambda both: ((0.7, both[0]), (0.3, both[1]))),
    chunk=st.sampled_from([512, 2048, 8192]),
    slots=st.none() | st.floats(1, 512),
    fits=st.none() | st.floats(1, 512),
    replicas=st.integers(1, 50),
    stretch=st.floats(0.65, 4.4),
)


def carried(of: Prefill, seconds: float = 2.0, *, computed: bool = True) -> float:
    return sustainable(bound(of, seconds=seconds, computed=computed), allowed=ALLOWED)


@given(of=services, seconds=st.floats(0.05, 10), low=st.floats(0.01, 1), more=st.floats(0, 0.5))
def test_more_load_is_never_earlier(of: Prefill, seconds: float, low: float, more: float) -> None:
    within = bound(of, seconds=seconds)
    first, second = (within.late(share * within.most) for share in (low, low + more))
    assert 0.0 <= first <= second + 1e-12
    assert second <= 1.0 + 1e-12


@given(of=services, seconds=st.floats(0.05, 10))
def test_at_the_bound_as_many_are_late_as_may_be_and_not_much_beyond(of: Prefill, seconds: float) -> None:
    within = bound(of, seconds=seconds)
    found = sustainable(within, allowed=ALLOWED)
    assert 0.249 * within.most <= found <= within.most
    assert within.late(found) <= ALLOWED or found == pytest.approx(0.25 * within.most)
    assert within.late(found * 1.02) > ALLOWED or found * 1.02 >= within.most


CARRIES_LESS = {
    "a tighter objective": lambda: carried(SERVICE, 1.0),
    "longer prompts": lambda: carried(
        replace(SERVICE, prompts=tuple((share, 2 * length) for share, length in SERVICE.prompts))
    ),
    "prompts as long on average that differ more": lambda: carried(
        replace(SERVICE, prompts=((0.9, 300.0), (0.1, 15_000.0)))
    ),
    "one replica that shares with nobody": lambda: carried(replace(SERVICE, replicas=1)),
    "few slots": lambda: carried(replace(SERVICE, slots=16)),
    "a small cache": lambda: carried(replace(SERVICE, fits=16)),
    "a slower replica": lambda: carried(replace(SERVICE, theta=(0.011, 8e-5, 9e-5))),
    "waits that were longer than computed": lambda: carried(replace(SERVICE, stretch=2.0)),
}


@pytest.mark.parametrize("case", CARRIES_LESS)
def test_what_carries_less(case: str) -> None:
    assert CARRIES_LESS[case]() < 0.999 * carried(SERVICE)


def test_an_objective_on_the_wait_leaves_the_prompt_itself_out() -> None:
    assert carried(SERVICE, 0.5, computed=False) > 1.001 * carried(SERVICE, 0.5)
    assert sustainable(bound(SERVICE, seconds=0.001), allowed=ALLOWED) == pytest.approx(
        bound(SERVICE, seconds=0.001).most, rel=0.01
    ), "what no idle replica does in time is not asked of a busy one"


def test_prompts_that_no_replica_serves_in_time_are_not_counted_but_their_work_is() -> None:
    longer = replace(
        SERVICE, prompts=(*((0.98 * share, length) for share, length in SERVICE.prompts), (0.02, 60_000.0))
    )
    assert 0 < carried(longer) < carried(SERVICE)
    assert bound(longer, seconds=2.0).feasible == pytest.approx(0.98)


def test_deterministic_prompts_wait_as_in_the_textbook() -> None:
    """M/D/1 at 80 %: P(wait > 4 service times) = 0.132 exactly (Erlang 1909); the exponential gives as much."""
    of = Prefill((1e-9, 0.0, 1e-3), 1.0, ((1.0, 100.0),), chunk=100)
    within = bound(of, seconds=0.5)  # 0.1 s for itself; and no batch with who comes later
    queue = within._queue(8.0, 1e-9)
    assert queue is not None
    assert queue[0] * math.exp(-0.4 / queue[1]) == pytest.approx(0.132, rel=0.25)


def judged(share: float, rate: float = 10.0) -> tuple[Missed, ...]:
    return (Missed("TTFT", ALLOWED, rate * (1 - share), rate * share),)


def test_what_was_carried_in_time_is_shown_by_enough_requests_and_unsaid_by_misses() -> None:
    known: Proof | None = None
    for _ in range(3):
        known = fold(known, judged(0.0), load=0.5, elapsed_seconds=5.0)
    assert known is not None
    assert known.carried(ALLOWED) is None, "150 requests say little of one in a hundred"
    for _ in range(12):
        known = fold(known, judged(0.0), load=0.5, elapsed_seconds=5.0)
    assert known is not None
    assert known.carried(ALLOWED) == pytest.approx(0.5)
    for _ in range(12):
        known = fold(known, judged(0.05), load=0.6, elapsed_seconds=5.0)
    assert known is not None
    assert known.carried(ALLOWED) is None
    assert known.carried(ALLOWED, unavoidable=0.05) is not None, "these no replica would have served in time"
    assert fold(known, (), load=9.0, elapsed_seconds=5.0) == known, "nobody judged it"


POLICY = Policy(min_replicas=1, max_replicas=50, ttft_seconds=2.0, allowed=ALLOWED, max_sequences=256, step_tokens=8192)


def busy(rate: float, prompt: float, *, replicas: int = 2, output: float = 100.0, late: float = 0.0) -> Observation:
    """A service in balance, as its step model says."""
    each = rate / replicas
    work = each * (output * THETA[1] + prompt * THETA[2])
    step = THETA[0] / (1 - work)
    bits = math.frexp(prompt)[1]
    return replace(
        observation(replicas=replicas, arrivals=rate, tokens_per_request=output, running=rate * output * step),
        prompt_tokens=fresh(rate * prompt),
        work=StepRates(replicas / step, float(replicas), rate * output, rate * prompt, rate * output),
        missed=judged(late, rate),
        prompt_lengths=tuple(rate if index == bits else 0.0 for index in range(20)),
    )


def watched(policy: Policy, *, ticks: int = 60, late: float = 0.0) -> tuple[Memory, float]:
    """The memory after loads that differ, with prompts of 1,500 tokens."""
    memory, now = Memory(), NOW
    for tick in range(ticks):
        _, memory = decide(policy, busy(6.0 + tick % 9, 1500.0, late=late), memory, now)
        now += 5.0
    return memory, now


def test_a_service_with_nothing_but_a_first_token_to_promise_learns_without_a_queue() -> None:
    memory, now = watched(POLICY)
    assert memory.saturation_tokens_per_second is None
    decision, memory = decide(POLICY, busy(8.0, 1500.0), memory, now)
    most = 1 / (THETA[1] + 15 * THETA[2])
    assert memory.first_token is not None
    assert 0.3 * most < memory.first_token < most
    assert decision.capacity_tokens_per_second == memory.first_token
    assert attributed(decision, POLICY, memory).capacity_from == "FirstToken"
    assert "with first tokens in time" in decision.message


def test_longer_prompts_ask_for_more_replicas_before_any_request_is_late() -> None:
    memory, now = watched(POLICY)
    for _ in range(60):
        decision, memory = decide(POLICY, busy(12.0, 5000.0, replicas=3), memory, now)
        now += 5.0
    assert decision.replicas > 3


def test_what_is_seen_to_work_counts_for_more_than_the_model() -> None:
    seen, _ = watched(replace(POLICY, ttft_seconds=0.15))
    doubted, _ = watched(replace(POLICY, ttft_seconds=0.15), late=0.05)
    assert seen.first_token is not None
    assert doubted.first_token is not None
    assert seen.first_token > doubted.first_token
    assert seen.first_token >= 0.95 * 100 * 10 / 2, "what each of the two was given"


@pytest.mark.parametrize(
    "policy",
    [replace(POLICY, ttft_seconds=None), replace(POLICY, allowed=None), replace(POLICY, target_tokens_per_second=9e9)],
    ids=["no such objective", "no objective", "a target"],
)
def test_without_such_an_objective_it_bounds_nothing(policy: Policy) -> None:
    memory, now = watched(policy)
    decision, _ = decide(policy, busy(8.0, 1500.0), memory, now)
    assert decision.capacity_tokens_per_second == policy.target_tokens_per_second


def test_predictions_cover_the_first_token() -> None:
    policy = replace(POLICY, tpot_seconds=10.0)
    memory, now = watched(policy)
    decision, _ = decide(policy, busy(8.0, 1500.0), memory, now)
    tight, _ = decide(replace(policy, ttft_seconds=0.12), busy(8.0, 1500.0), memory, now)
    wanted = {one.replicas: one.attainment for one in decision.predictions}
    assert all(one.attainment < wanted.get(one.replicas, 1.0) for one in tight.predictions if one.replicas <= 2)


def test_beside_an_objective_on_the_time_per_token_it_binds_only_where_that_leaves_it_no_room() -> None:
    memory, _ = watched(replace(POLICY, tpot_seconds=0.05))
    assert memory.first_token is None
    memory, now = watched(replace(POLICY, tpot_seconds=0.05, ttft_seconds=0.15), late=0.05)
    decision, _ = decide(replace(POLICY, tpot_seconds=0.05, ttft_seconds=0.15), busy(8.0, 1500.0), memory, now)
    assert memory.first_token is not None
    assert decision.capacity_tokens_per_second == pytest.approx(memory.first_token, rel=0.05)


def test_requests_that_find_an_idle_replica_move_no_margin() -> None:
    """Eight replicas, a request now and then, and one of ten late: more replicas would not have changed that."""
    found = []
    for replicas in (8, 1):
        memory, now = Memory(), NOW
        for tick in range(60):
            seen = busy(0.5 + 0.1 * (tick % 3), 1500.0, replicas=replicas, late=0.1)
            _, memory = decide(replace(POLICY, tpot_seconds=0.05), seen, memory, now)
            now += 5.0
        assert memory.margins is not None
        found.append(memory.margins.tail)
    assert found[0] < TAIL < found[1]


def test_prompts_that_need_too_many_steps_are_nobody_s_fault() -> None:
    """An idle replica takes 24 steps of 64 tokens for a prompt, and so longer than the first token may take."""
    tails = []
    for step_tokens in (8192, 64):
        policy = replace(POLICY, ttft_seconds=0.2, tpot_seconds=0.05, step_tokens=step_tokens)
        memory, _ = watched(policy, late=0.05)
        assert memory.margins is not None
        tails.append(memory.margins.tail)
    assert tails[0] > TAIL > tails[1]
