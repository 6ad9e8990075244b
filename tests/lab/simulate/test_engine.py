"""The compiled engine against a plain one that does every step by itself, and against what must always hold."""

import dataclasses
import math
import os
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock_contract.profile import Profile
from penstock_contract.step import StepModel, StepWork
from penstock_lab.simulate import engine, replica, tournament
from penstock_lab.simulate.compiled import forget_older
from penstock_lab.simulate.state import Arrays, Counter, Limits, Requests, arrays, open_slot

PROFILE = Profile(
    name="test",
    model=StepModel(c0=0.01, cB=0.0005, cKV=2e-6, cP=4e-5, cPP=1e-8),
    kv_tokens=4000,
    max_num_seqs=8,
    max_num_batched_tokens=256,
    accelerators=1,
    startup_seconds=1.0,
    source="made up",
)


@dataclasses.dataclass
class Sequence:
    """One request of the plain engine."""

    number: int
    arrival: float
    prompt: int
    output: int
    cached: int
    computed: int = 0
    generated: int = 0
    admitted: float | None = None
    first: float = math.nan
    finish: float = math.nan

    @property
    def held(self) -> int:
        return self.prompt + self.generated


def plain(requests: Requests, profile: Profile) -> list[Sequence]:  # noqa: C901, PLR0912 - the whole of it in one piece is what makes it plain
    """One replica, a step at a time, in the words of the description and nothing else."""
    columns = (requests.arrival, requests.prompt, requests.output, requests.cached)
    coming = [
        Sequence(n, float(a), int(p), int(o), int(c)) for n, (a, p, o, c) in enumerate(zip(*columns, strict=True))
    ]
    every, waiting, prefill, running = list(coming), [], [], []
    now = 0.0

    def used() -> int:
        return sum(one.held for one in prefill + running)

    while coming or waiting or prefill or running:
        if not (waiting or prefill or running):
            now = max(now, coming[0].arrival)
        while coming and coming[0].arrival <= now:
            waiting.append(coming.pop(0))
        while len(running) > 1 and used() + len(running) > profile.kv_tokens:
            victim = max(running, key=lambda one: one.number)
            running.remove(victim)
            waiting.insert(0, victim)
        while waiting and len(prefill) + len(running) < profile.max_num_seqs:
            if waiting[0].prompt + waiting[0].output > profile.kv_tokens:
                waiting.pop(0).finish = math.inf
                continue
            if used() + waiting[0].held + len(running) > profile.kv_tokens:
                break
            one = waiting.pop(0)
            one.computed = one.cached if one.admitted is None else 0
            one.admitted = now if one.admitted is None else one.admitted
            prefill.append(one)
        if not (prefill or running):
            continue
        budget = max(1, profile.max_num_batched_tokens - len(running))
        tokens, weighted, done = 0, 0.0, []
        for one in prefill:
            part = min(one.held - one.computed, budget - tokens)
            if part == 0:
                break
            one.computed += part
            tokens += part
            weighted += part * one.held
            if one.computed == one.held:
                done.append(one)
        now += profile.model.seconds(StepWork(1, len(running), sum(one.held for one in running), tokens, weighted))
        for one in list(running):
            one.generated += 1
            if one.generated == one.output:
                one.finish = now
                running.remove(one)
        for one in done:
            prefill.remove(one)
            one.first = now if math.isnan(one.first) else one.first
            one.generated += 1
            if one.generated == one.output:
                one.finish = now
            else:
                running.append(one)
    return every


def traffic(seed: int, *, count: int = 120, rate: float = 6.0, longest: int = 400) -> Requests:
    dice = random.Random(seed)
    arrival, now = [], 0.0
    for _ in range(count):
        now += dice.expovariate(rate)
        arrival.append(now)
    prompt = [dice.randint(1, longest) for _ in range(count)]
    return Requests.of(
        arrival, prompt, [dice.randint(1, 150) for _ in range(count)], [dice.randrange(one) // 2 for one in prompt]
    )


def simulated(requests: Requests, profile: Profile = PROFILE, *, slots: int = 1, late_binding: bool = False) -> Arrays:
    fleet = arrays(requests, Limits.of(profile, late_binding=late_binding), slots=slots)
    for slot in range(slots):
        open_slot(fleet, slot, 0.0)
    now = 0.0
    while fleet.ended_count[0] < len(requests):
        engine.run(fleet, now, now + 5.0)
        now += 5.0
        assert now < 1e5
    return fleet


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("kv_tokens", [100_000, 4000, 900])
def test_it_does_what_the_plain_engine_does(seed: int, kv_tokens: int) -> None:
    requests, profile = traffic(seed), dataclasses.replace(PROFILE, kv_tokens=kv_tokens)
    fleet, expected = simulated(requests, profile), plain(requests, profile)
    assert np.allclose(fleet.first, [one.first for one in expected], rtol=0, atol=1e-9, equal_nan=True)
    assert np.allclose(fleet.finish, [one.finish for one in expected], rtol=0, atol=1e-9)
    if kv_tokens == 900:
        assert fleet.counters[0, Counter.PREEMPTIONS] > 0, "else nothing was shown about preemption"


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 10_000),
    slots=st.integers(1, 4),
    late=st.booleans(),
    kv=st.sampled_from([900, 4000, 50_000]),
    rate=st.sampled_from([1.0, 20.0]),
)
def test_what_always_holds(seed: int, slots: int, late: bool, kv: int, rate: float) -> None:
    requests = traffic(seed, rate=rate)
    fleet = simulated(requests, dataclasses.replace(PROFILE, kv_tokens=kv), slots=slots, late_binding=late)
    served = np.isfinite(fleet.finish)
    total = fleet.counters.sum(axis=0)
    assert sorted(fleet.ended) == list(range(len(requests))), "every request ends once"
    assert np.all(served == (requests.prompt + requests.output <= kv)), "only what can never fit fails"
    assert np.all(fleet.admitted[served] >= requests.arrival[served])
    assert np.all(fleet.first[served] > fleet.admitted[served])
    assert np.all(fleet.finish[served] >= fleet.first[served])
    assert np.all(fleet.generated[served] == requests.output[served])
    assert total[Counter.FINISHED] == served.sum()
    computed = total[Counter.PROMPT_TOKENS] - total[Counter.PROMPT_TOKENS_CACHED] + total[Counter.RECOMPUTED_TOKENS]
    assert total[Counter.PREFILL_TOKENS] == computed
    assert total[Counter.GENERATED_TOKENS] == requests.output[served].sum()
    model = PROFILE.model
    sums = [Counter.STEPS, Counter.DECODE_SEQUENCE_STEPS, Counter.KV_TOKEN_STEPS, Counter.PREFILL_TOKENS]
    work = StepWork(*(total[column] for column in (*sums, Counter.PREFILL_TOKEN_LENGTH)))
    assert total[Counter.STEP_SECONDS] == pytest.approx(model.seconds(work), rel=1e-9)
    assert not fleet.context.any(), "nothing is left in the caches"
    assert not fleet.reserved.any()


@pytest.mark.parametrize("seed", range(3))
def test_runs_in_closed_form_equal_single_steps(seed: int) -> None:
    requests = traffic(seed, rate=100.0)
    done = []
    for how in (replica.CUT, replica.STEPWISE):
        fleet = arrays(requests, Limits.of(PROFILE, late_binding=False), slots=1)
        open_slot(fleet, 0, 0.0)
        engine.run(fleet, 0.0, float(requests.arrival[-1]) + 1e-6)
        replica.advance(fleet, 0, 1e6, how)
        done.append(fleet)
    assert np.allclose(done[0].finish, done[1].finish, rtol=0, atol=1e-9)
    assert np.allclose(done[0].counters, done[1].counters, rtol=1e-12)


def test_more_replicas_share_the_work_and_a_late_one_takes_what_waits() -> None:
    requests = Requests.of(np.zeros(64), np.full(64, 100), np.full(64, 100))
    fleet = arrays(requests, Limits.of(PROFILE), slots=2)
    open_slot(fleet, 0, 0.0)
    engine.run(fleet, 0.0, 1.0)
    assert fleet.central[2] == 64 - 9, "one replica is handed eight and an eighth more"
    open_slot(fleet, 1, 1.0)
    engine.run(fleet, 1.0, 100.0)
    assert fleet.ended_count[0] == 64
    assert fleet.counters[:, Counter.FINISHED] == pytest.approx([32, 32], abs=8)


@pytest.mark.parametrize(("seed", "rate"), [(1, 3.0), (2, 20.0), (3, 45.0)])
def test_a_request_goes_where_a_search_through_all_replicas_sends_it(seed: int, rate: float) -> None:
    requests, slots = traffic(seed, count=300, rate=rate), 13
    fleet = arrays(requests, Limits.of(PROFILE), slots=slots)
    for slot in range(slots):
        open_slot(fleet, slot, 0.0)
    fleet.accepts[5] = False
    arrived, now = fleet.counters[:, Counter.ARRIVED], 0.0
    for then, coming in zip(requests.arrival, [*requests.arrival[1:], math.inf], strict=True):
        engine.run(fleet, now, float(then))
        now = min(float(then) + 1e-9, coming)
        held = fleet.queue[:, 2] + fleet.prefill[:, 2] + fleet.decoding
        takes = [slot for slot in range(slots) if fleet.accepts[slot] and held[slot] < fleet.limits[3]]
        expected = min(
            takes,
            key=lambda slot: (held[slot] * 100.0 + 0.25 * fleet.reserved[slot], fleet.clock[slot], slot),
            default=0,
        )
        before = arrived.copy()
        waiting = bool(fleet.central[2])
        engine.run(fleet, float(then), now)
        chosen = np.flatnonzero(arrived - before)
        if not waiting:
            assert list(chosen) == ([expected] if takes else [])
    assert arrived[5] == 0
    assert np.count_nonzero(arrived) == slots - 1


@settings(deadline=None, max_examples=20)
@given(count=st.integers(1, 40), seed=st.integers(0, 10_000))
def test_a_tournament_finds_what_a_search_finds(count: int, seed: int) -> None:
    dice = random.Random(seed)
    leaves = tournament.leaves_for(count)
    keys, second = np.full(leaves, math.inf), np.zeros(leaves)
    tree, winners = np.full(2 * leaves, math.inf), np.zeros(2 * leaves, dtype=np.int64)
    tournament.build_least(tree, leaves)
    tournament.build_winners(winners, leaves, keys, second)
    for _ in range(60):
        leaf = dice.randrange(count)
        keys[leaf], second[leaf] = dice.randrange(5), dice.randrange(5)
        tournament.put_least(tree, leaves, leaf, keys[leaf])
        tournament.put_winner(winners, leaves, leaf, keys, second)
        assert winners[1] == min(range(leaves), key=lambda one: (keys[one], second[one], one))
        below = [one for one in range(count) if keys[one] < 2]
        assert tournament.first_below(tree, leaves, 2.0) == (below[0] if below else -1)


def test_what_was_compiled_before_a_change_is_forgotten(tmp_path: Path) -> None:
    cache = tmp_path / "__pycache__"
    cache.mkdir()
    for name, written in (("old", 100), ("new", 300)):
        (cache / f"{name}.nbi").touch()
        os.utime(cache / f"{name}.nbi", (written, written))
    for name, text in (("inner", "from penstock_lab.simulate.compiled import inlined"), ("other", "")):
        (tmp_path / f"{name}.py").write_text(text)
        os.utime(tmp_path / f"{name}.py", (200 if text else 400, 200 if text else 400))
    assert forget_older(tmp_path) == 1
    assert [path.name for path in cache.iterdir()] == ["new.nbi"]
    assert forget_older(tmp_path, tmp_path / "other.py") == 1, "numbers of other packages are compiled in, too"


def test_who_waits_too_long_at_the_door_is_let_go() -> None:
    requests = Requests.of([0.0, 1.0, 2.0], [10, 10, 10], [10, 10, 10])
    fleet = arrays(requests, Limits.of(PROFILE), slots=1)
    engine.run(fleet, 0.0, 3.0)
    assert fleet.central[2] == 3
    assert engine.give_up(fleet, 1.5) == 2
    assert list(fleet.finish[:2]) == [math.inf, math.inf]
    open_slot(fleet, 0, 3.0)
    engine.run(fleet, 3.0, 10.0)
    assert math.isfinite(fleet.finish[2])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (([1.0, 0.0], [1, 1], [1, 1]), "ascend"),
        (([0.0], [0], [1]), "at least one"),
        (([0.0], [1, 2], [1]), "different length"),
        (([0.0], [5], [1], [5]), "fewer"),
    ],
)
def test_odd_requests_are_refused(columns: tuple[list[float], ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Requests.of(*columns)
