"""The scheduler under random load: everyone finishes, in order, nothing leaks, counts add up, and it replays."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock_worker.accounting import Accounting
from penstock_worker.engine import Engine
from penstock_worker.pacing import WallClock
from penstock_worker.pages import PagePool
from penstock_worker.request import Request, Sampling, State
from penstock_worker.scheduler import Scheduler

PAGE, MAX_LEN = 4, 40


@dataclass(frozen=True)
class Arrival:
    """A request: when it comes, its size, when it is aborted (never: None)."""

    step: int
    prompt: int
    output: int
    abort_after: int | None


@dataclass(frozen=True)
class Load:
    """Limits and arrivals of one run."""

    seqs: int
    budget: int
    pages: int
    caching: bool
    alphabet: int
    arrivals: tuple[Arrival, ...]


def loads(*, aborts: bool = True) -> st.SearchStrategy[Load]:
    arrival = st.builds(
        Arrival,
        step=st.integers(0, 30),
        prompt=st.integers(1, MAX_LEN - 1),
        output=st.integers(1, 20),
        abort_after=st.none() | st.integers(0, 25) if aborts else st.none(),
    )
    return st.integers(1, 6).flatmap(
        lambda seqs: st.builds(
            Load,
            seqs=st.just(seqs),
            budget=st.integers(seqs, 64),
            pages=st.integers(MAX_LEN // PAGE, 24),
            caching=st.booleans(),
            alphabet=st.sampled_from([1, 3, 1000]),
            arrivals=st.lists(arrival, min_size=1, max_size=10).map(tuple),
        )
    )


class Device:
    """Stands where the device is, with a memory of contexts for keys and values: each must be in its pages.

    The next token follows from the ones before, whatever the batch.
    """

    def __init__(self, load: Load) -> None:
        self.alphabet = load.alphabet
        self.plans = []
        self._memory: dict[tuple[int, int], tuple[int, ...]] = {}
        self._table = [[0] * (MAX_LEN // PAGE) for _ in range(load.seqs)]

    def run(self, plan):
        self.plans.append(
            [(c.request.id, c.start, c.count, c.samples, c.page_offset, c.new_pages, c.slot) for c in plan.chunks]
        )
        assert not {chunk.request.id for chunk in plan.chunks} & set(plan.preempted)
        for chunk in plan.chunks:
            assert chunk.count > 0
            assert 0 not in chunk.new_pages
            end = chunk.page_offset + len(chunk.new_pages)
            self._table[chunk.slot][chunk.page_offset : end] = chunk.new_pages
            for position in range(chunk.start, chunk.end):
                self._memory[self._place(chunk, position)] = tuple(chunk.request.tokens[: position + 1])
        for chunk in plan.chunks:
            for position in range(chunk.end):
                assert self._memory[self._place(chunk, position)] == tuple(chunk.request.tokens[: position + 1])
        return [sum(chunk.request.tokens) % self.alphabet for chunk in plan.chunks if chunk.samples]

    def _place(self, chunk, position: int) -> tuple[int, int]:
        return self._table[chunk.slot][position // PAGE], position % PAGE


class Run:
    """One load played to its end, with the invariants checked after every step."""

    def __init__(self, load: Load) -> None:
        self.load = load
        pool = PagePool(pages=load.pages, page_size=PAGE, caching=load.caching)
        self.scheduler = Scheduler(
            pool, max_num_seqs=load.seqs, max_num_batched_tokens=load.budget, max_model_len=MAX_LEN
        )
        self.device = Device(load)
        self.accounting = Accounting()
        self.engine = Engine(self.scheduler, self.device, pacer=WallClock(), accounting=self.accounting)
        self.requests: list[Request] = []
        self.steps = 0

    def play(self) -> Run:
        todo = sorted(enumerate(self.load.arrivals), key=lambda item: item[1].step)
        aborts: list[tuple[int, str]] = []
        while todo or self.scheduler.has_work:
            while todo and (todo[0][1].step <= self.steps or not self.scheduler.has_work):
                number, arrival = todo.pop(0)
                request = self.arrive(number, arrival)
                if arrival.abort_after is not None:
                    aborts.append((self.steps + arrival.abort_after, request.id))
            for entry in [entry for entry in aborts if entry[0] <= self.steps]:
                aborts.remove(entry)
                self.engine.finish(entry[1], "abort")
                self.check()
            self.engine.step()
            self.check()
            self.steps += 1
            assert self.steps < 5000, "starvation"
        return self

    def arrive(self, number: int, arrival: Arrival) -> Request:
        tokens = [(number * 7 + at) % self.load.alphabet for at in range(arrival.prompt)]
        request = Request(f"r{number}", tokens, Sampling(max_tokens=arrival.output))
        self.requests.append(request)
        self.accounting.arrive(request)
        self.engine.add(request)
        return request

    def check(self) -> None:
        self.scheduler.check()
        order = [request.id for request in (*self.scheduler.running, *self.scheduler.waiting)]
        assert order == [request.id for request in self.requests if request.state is not State.FINISHED]
        partial = [len(r.tokens) - r.computed > 1 for r in self.scheduler.running]
        assert not any(partial[:-1]), "only the last running request may be a partial prefill"
        totals = self.accounting.totals
        pending = sum(request.uncomputed_prompt for request in self.scheduler.requests)
        assert totals.prefill_computed == (
            totals.prompt - totals.cached + totals.recomputed - totals.abandoned - pending
        )
        assert totals.generated == sum(request.output_length for request in self.requests)
        assert self.accounting.in_flight == len(self.scheduler.requests)


@given(loads())
@settings(max_examples=150, deadline=None)
def test_invariants_hold_after_every_step(load):
    run = Run(load).play()
    assert run.scheduler.pool.used == 0
    assert {request.state for request in run.requests} == {State.FINISHED}
    totals = run.accounting.totals
    assert sum(totals.finished.values()) == totals.arrived == len(load.arrivals)


@given(loads(aborts=False))
@settings(max_examples=100, deadline=None)
def test_counts_are_conserved_and_outputs_do_not_depend_on_the_batch(load):
    run = Run(load).play()
    totals = run.accounting.totals
    assert totals.prefill_computed == totals.prompt - totals.cached + totals.recomputed
    # The first output token comes from the prefill, every other one from one decode, however often it was preempted.
    assert totals.decode_sequence_steps == totals.generated - len(run.requests)
    assert totals.cached == sum(request.cached for request in run.requests)
    assert totals.preemptions == sum(request.preemptions for request in run.requests)
    for request in run.requests:
        tokens = list(request.tokens[: request.prompt_length])
        while len(tokens) < len(request.tokens):
            tokens.append(sum(tokens) % load.alphabet)
        assert request.tokens == tokens
        wanted = min(request.sampling.max_tokens, MAX_LEN - request.prompt_length)
        assert (request.output_length, request.finish_reason) == (wanted, "length")


@given(loads())
@settings(max_examples=40, deadline=None)
def test_replay_gives_the_same_plans(load):
    assert Run(load).play().device.plans == Run(load).play().device.plans


@given(loads())
@settings(max_examples=80, deadline=None)
def test_a_step_keeps_its_budgets(load):
    for plan in Run(load).play().device.plans:
        assert sum(count for _id, _start, count, *_rest in plan) <= load.budget
        assert len(plan) <= load.seqs
        assert len({slot for *_rest, slot in plan}) == len(plan)


def scheduler(*, pages: int = 24, seqs: int = 4, budget: int = 64) -> Scheduler:
    pool = PagePool(pages=pages, page_size=PAGE)
    return Scheduler(pool, max_num_seqs=seqs, max_num_batched_tokens=budget, max_model_len=MAX_LEN)


def advance(engine: Scheduler, token: int = 7) -> list[tuple[str, int, int]]:
    plan = engine.plan()
    assert plan is not None
    engine.commit(plan, [token] * sum(chunk.samples for chunk in plan.chunks))
    return [(chunk.request.id, chunk.start, chunk.count) for chunk in plan.chunks]


def request(name: str, prompt: int, *, output: int = 8, **sampling) -> Request:
    return Request(name, list(range(prompt)), Sampling(max_tokens=output, **sampling))


def test_long_prefill_is_cut_up_and_decodes_go_on_beside_it():
    engine = scheduler(budget=8)
    engine.add(request("a", 3))
    assert advance(engine) == [("a", 0, 3)]
    engine.add(request("b", 20))
    assert advance(engine) == [("a", 3, 1), ("b", 0, 7)]
    assert advance(engine) == [("a", 4, 1), ("b", 7, 7)]
    assert advance(engine) == [("a", 5, 1), ("b", 14, 6)]
    assert advance(engine) == [("a", 6, 1), ("b", 20, 1)]


def test_the_youngest_is_preempted_and_comes_back_first():
    engine = scheduler(pages=10, seqs=3)
    for name in "abc":
        engine.add(request(name, 12, output=12))  # three pages each, of ten
    engine.waiting[1].tokens[0] = 100  # no shared prefixes
    engine.waiting[2].tokens[0] = 101
    assert len(advance(engine)) == 3
    advance(engine)  # a takes the tenth page; b finds none, so c has to go
    assert [r.id for r in engine.running] == ["a", "b"]
    assert [r.id for r in engine.waiting] == ["c"]
    assert engine.waiting[0].preemptions == 1
    engine.check()


def test_work_is_counted_in_the_terms_of_the_step_model():
    engine = scheduler(budget=8)
    engine.add(request("a", 3))
    advance(engine)
    engine.add(request("b", 20))
    plan = engine.plan()
    work = plan.work
    assert (work.steps, work.decode_sequences, work.kv_tokens) == (1, 1, 4)
    assert (work.prefill_tokens, work.prefill_token_length) == (7, 7 * 20)


@pytest.mark.parametrize("state", ["waiting", "partial", "decoding", "preempted", "gone"])
def test_abort_in_every_state(state):
    engine = scheduler(pages=10, seqs=2, budget=8)
    other = request("other", 10, output=30)
    victim = request("victim", 20, output=2 if state == "gone" else 8)
    if state != "waiting":
        engine.add(victim)
        for _ in range({"partial": 1, "decoding": 4, "preempted": 4, "gone": 4}[state]):
            advance(engine)
    if state == "preempted":
        engine._preempt(engine.running.pop())
    engine.add(other)
    if state == "waiting":
        engine.add(victim)
    engine.check()
    ended = engine.finish("victim", "abort")
    assert (ended is None) == (state == "gone")
    engine.check()
    while engine.has_work:
        advance(engine)
    assert other.finish_reason == "length"
    assert engine.pool.used == 0


def test_stop_ids_end_a_request_but_not_before_min_tokens():
    engine = scheduler()
    engine.add(request("a", 3, stop_ids=frozenset({7})))
    advance(engine)
    assert not engine.has_work
    late = request("b", 3, stop_ids=frozenset({7}), min_tokens=3)
    engine.add(late)
    while engine.has_work:
        advance(engine)
    assert (late.output_length, late.finish_reason) == (3, "stop")


def test_impossible_limits_are_refused():
    pool = PagePool(pages=2, page_size=PAGE)
    with pytest.raises(ValueError, match="max_model_len"):
        Scheduler(pool, max_num_seqs=1, max_num_batched_tokens=8, max_model_len=9)
    with pytest.raises(ValueError, match="max_num_batched_tokens"):
        Scheduler(pool, max_num_seqs=9, max_num_batched_tokens=8, max_model_len=8)
    with pytest.raises(ValueError, match="no room"):
        scheduler().add(request("a", MAX_LEN))
