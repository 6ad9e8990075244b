"""Late binding by itself: order, limits, and nothing lost when claims, workers and clients come and go at random."""

from __future__ import annotations

import asyncio
import random
import time

import pytest

from penstock_gateway.affinity import Affinity, prefixes
from penstock_gateway.errors import Refusal
from penstock_gateway.pool import Pool, Ticket, Worker


def worker(uid: str, *, limit: int = 2, ready: bool = True) -> Worker:
    return Worker(uid, uid, f"http://{uid}", ready=ready, limit=limit)


def pool(*workers: Worker, seed: int = 0) -> Pool:
    made = Pool(dice=random.Random(seed))
    for one in workers:
        made.add(one)
    return made


def ticket(work: int = 10, *, choices: int = 1) -> Ticket:
    return Ticket(work, choices, time.monotonic())


async def test_the_least_work_wins_and_ties_are_drawn():
    one, other = worker("a", limit=9), worker("b", limit=9)
    line = pool(one, other)
    first = await line.acquire(ticket(100))
    rest = [await line.acquire(ticket(10)) for _ in range(3)]
    assert all(each is not first for each in rest)
    assert {(await pool(worker("a"), worker("b"), seed=seed).acquire(ticket())).uid for seed in range(20)} == {"a", "b"}


async def test_many_workers_are_drawn_from_and_the_better_of_two_is_taken():
    workers = [worker(str(number), limit=1000) for number in range(50)]
    line = pool(*workers)
    for _ in range(5000):
        await line.acquire(ticket(1))
    loads = [one.work for one in workers]
    assert sum(loads) == 5000
    assert max(loads) <= 110, "of one draw it would be near 125"
    assert min(loads) >= 90


async def test_among_many_the_only_open_one_is_found():
    workers = [worker(str(number), ready=False) for number in range(200)]
    workers[77].ready = True
    line = pool(*workers)
    assert await line.acquire(ticket()) is workers[77]


async def test_a_prompt_goes_where_its_prefix_is_unless_that_costs_more_than_it_saves():
    workers = [worker(str(number), limit=100) for number in range(6)]
    line = pool(*workers)
    prompt = list(range(3000))

    def again(tail: int) -> Ticket:
        known = prefixes([*prompt, *range(tail)])
        assert [tokens for _key, tokens in known] == [1024, 256]
        return Ticket(10, 1, time.monotonic(), known)

    warm = await line.acquire(again(1))
    for tail in range(2, 27):
        assert await line.acquire(again(tail)) is warm, "1024 tokens are worth 256 of work"
    assert await line.acquire(again(99)) is not warm
    first = worker("late", limit=100)
    line.add(first)
    moved = await line.acquire(again(100))
    assert moved is not warm, "the prefix is where it was last sent"


async def test_a_warm_worker_that_is_full_or_gone_is_not_waited_for():
    one, other = worker("a", limit=1), worker("b", limit=5)
    line = pool(one, other)
    known = prefixes("x" * 2000, units_per_token=4)
    other.leaving = True
    assert await line.acquire(Ticket(10, 1, time.monotonic(), known)) is one
    other.leaving = False
    assert await line.acquire(Ticket(10, 1, time.monotonic(), known)) is other
    line.remove("b")
    held = asyncio.create_task(line.acquire(Ticket(10, 1, time.monotonic(), known)))
    await asyncio.sleep(0)
    line.add(worker("c"))
    assert (await held).uid == "c"


def test_prefixes_are_remembered_up_to_a_number():
    memory = Affinity()
    for number in range(20_000):
        memory.remember([(number, 256)], "a")
    assert memory.find([(19_999, 256)]) == ("a", 256)
    assert memory.find([(0, 4096), (19_000, 256)]) == ("a", 256)
    assert memory.find([(0, 256)]) is None
    assert len(memory._seen) == 8192


async def test_who_comes_later_does_not_overtake():
    one = worker("a", limit=1)
    line = pool(one)
    held = ticket()
    await line.acquire(held)
    waiting = [asyncio.create_task(line.acquire(ticket())) for _ in range(3)]
    await asyncio.sleep(0)
    again = asyncio.create_task(line.acquire(ticket(), again=True))
    await asyncio.sleep(0)
    assert line.held == 4
    done = []
    for task in (again, *waiting):
        line.release(one, held, work_left=held.work)
        await asyncio.sleep(0.001)
        done.append(task.done())
    assert done == [True] * 4
    assert line.held == 0


async def test_choices_take_a_place_each_and_a_batch_larger_than_all_still_runs():
    one = worker("a", limit=4)
    line = pool(one)
    batch = ticket(choices=100)
    assert await line.acquire(batch) is one
    assert one.outstanding == 100
    waiting = asyncio.create_task(line.acquire(ticket()))
    await asyncio.sleep(0)
    assert not waiting.done()
    line.release(one, batch, work_left=batch.work)
    assert await waiting is one
    assert one.outstanding == 1


async def test_no_worker_gets_more_than_come_in_time():
    line = pool(worker("a", limit=100), worker("b", limit=100))
    claims = [ticket() for _ in range(50)]
    line.pacer.aim(0.05)
    line.pacer.most = 16.5
    tasks = [asyncio.create_task(line.acquire(claim)) for claim in claims]
    await asyncio.sleep(0)
    assert [one.outstanding for one in line.workers] == [17, 17]
    assert line.held == 16
    line.aim(())
    assert [one.outstanding for one in line.workers] == [25, 25]
    assert await asyncio.gather(*tasks)


async def test_a_worker_at_rest_is_left_alone_until_it_has_rested():
    one, other = worker("a"), worker("b")
    line = pool(one, other)
    line.rest(one)
    assert await line.acquire(ticket()) is other
    line.rest(other)
    assert await line.acquire(ticket()) in (one, other)
    assert one.rests == 1
    for _ in range(10):
        line.rest(one)
    assert one.waking is not None
    assert one.waking.when() - asyncio.get_running_loop().time() <= 2.0


async def test_bounds_of_the_queue():
    line = pool()
    line.max_held, line.hold_seconds = 2, 0.05
    waiting = [asyncio.create_task(line.acquire(ticket())) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(Refusal) as refused:
        await line.acquire(ticket())
    assert (refused.value.status, refused.value.code) == (429, "queue_full")
    for error in await asyncio.gather(*waiting, return_exceptions=True):
        assert (error.status, error.code) == (503, "hold_timeout")
    assert line.held == 0


async def test_a_worker_handed_over_to_who_has_just_left_is_free_again():
    one = worker("a", limit=1)
    line = pool(one)
    first = ticket()
    await line.acquire(first)
    waiting = asyncio.create_task(line.acquire(ticket()))
    await asyncio.sleep(0)
    line.release(one, first, work_left=first.work)  # handed over, not taken yet
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert (one.outstanding, one.work, line.held) == (0, 0, 0)
    assert await line.acquire(ticket()) is one


class Storm:
    """Clients, workers and the operator, all of them restless."""

    most_choices = 3

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.workers = [worker(str(number), limit=self.dice.randint(1, 4)) for number in range(12)]
        self.line = pool(*self.workers[:3], seed=seed)
        self.clients: list[asyncio.Task[None]] = []
        self.served = 0

    async def client(self) -> None:
        claim = ticket(self.dice.randint(1, 50), choices=self.dice.randint(1, self.most_choices))
        again = False
        while True:
            taken = await self.line.acquire(claim, again=again)
            assert taken.outstanding < taken.limit + self.most_choices
            try:
                await asyncio.sleep(self.dice.random() / 200)
                if self.dice.random() >= 0.1:
                    taken.rests = 0
                    self.served += 1
                    return
                self.line.rest(taken)
                again = True
            finally:
                self.line.release(taken, claim, work_left=claim.work)

    def step(self, number: int) -> None:
        self.clients.append(asyncio.create_task(self.client()))
        if number % 7 == 0:
            self.dice.choice(self.clients).cancel()
        if number % 20 == 0:
            self.line.add(self.dice.choice(self.workers))
        if number % 25 == 0:
            one = self.dice.choice(self.workers)
            one.leaving = not one.leaving
            self.line.serve_waiting()
        if number % 20 == 5 and len(self.line.workers) > 1:
            self.line.remove(self.dice.choice(self.line.workers).uid)

    async def end(self) -> list[object]:
        for one in self.workers:
            one.leaving = False
        self.line.serve_waiting()
        return await asyncio.wait_for(asyncio.gather(*self.clients, return_exceptions=True), 60)


@pytest.mark.parametrize("seed", range(2))
async def test_storms_lose_nothing(seed):
    """Claims, cancellations, rests, workers that come, go and drain: in the end all places are free again."""
    storm = Storm(seed)
    for number in range(300):
        storm.step(number)
        if number % 10 == 0:
            await asyncio.sleep(0.001)
    ended = await storm.end()
    cancelled = [one for one in ended if isinstance(one, asyncio.CancelledError)]
    assert set(ended) - set(cancelled) == {None}
    assert storm.served == len(ended) - len(cancelled)
    assert [(one.outstanding, one.work) for one in storm.workers] == [(0, 0)] * len(storm.workers)
    assert storm.line.held == 0
