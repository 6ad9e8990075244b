import asyncio
import random

import pytest

from penstock_operator.runtime import queue as module
from penstock_operator.runtime.queue import FIRST_DELAY_SECONDS, LONGEST_DELAY_SECONDS, WorkQueue

DEADLINE_SECONDS = 60.0


async def taken(queue: WorkQueue[str]) -> str:
    return await asyncio.wait_for(queue.get(), DEADLINE_SECONDS)


async def test_keys_come_once_and_in_order() -> None:
    queue: WorkQueue[str] = WorkQueue()
    for key in "abacab":
        queue.add(key)
    assert len(queue) == 3
    assert [await taken(queue) for _ in range(3)] == ["a", "b", "c"]


async def test_a_waiting_worker_wakes_up() -> None:
    queue: WorkQueue[str] = WorkQueue()
    workers = [asyncio.create_task(taken(queue)) for _ in range(3)]
    await asyncio.sleep(0)
    for key in "abc":
        queue.add(key)
    assert sorted(await asyncio.gather(*workers)) == ["a", "b", "c"]


async def test_a_key_in_work_is_handed_out_again_only_afterwards() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    await taken(queue)
    queue.add("a")
    queue.add("a")
    assert len(queue) == 0
    queue.done("a")
    assert len(queue) == 1
    await taken(queue)
    queue.done("a")
    assert len(queue) == 0


async def test_a_key_dirtied_while_it_fails_comes_back_at_once_and_only_once() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    await taken(queue)
    queue.add("a")
    queue.failed("a")
    assert await taken(queue) == "a"
    queue.done("a")
    assert not queue._timers, "a retry that is not needed any more"


async def test_no_key_is_ever_with_two_workers_and_none_is_lost() -> None:
    queue: WorkQueue[int] = WorkQueue()
    dice = random.Random(7)
    versions, seen, active, caught_up = [0] * 5, [0] * 5, set(), asyncio.Event()

    async def work() -> None:
        while True:
            key = await queue.get()
            assert key not in active
            active.add(key)
            seen[key] = versions[key]
            for _ in range(dice.randrange(4)):
                await asyncio.sleep(0)
            active.remove(key)
            queue.done(key)
            if all_added and seen == versions:
                caught_up.set()

    all_added = False
    workers = [asyncio.create_task(work()) for _ in range(4)]
    for _ in range(2000):
        key = dice.randrange(5)
        versions[key] += 1
        queue.add(key)
        if dice.random() < 0.3:
            await asyncio.sleep(0)
    all_added = True
    versions[0] += 1
    queue.add(0)
    await asyncio.wait_for(caught_up.wait(), DEADLINE_SECONDS)
    for worker in workers:
        assert not worker.done(), worker.exception()
        worker.cancel()


async def test_delays_grow_to_a_cap_with_jitter() -> None:
    queue: WorkQueue[str] = WorkQueue()
    delays = [queue.failed("a") for _ in range(40)]
    for index, delay in enumerate(delays):
        expected = min(LONGEST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2.0**index)
        assert 0.8 * expected <= delay <= 1.2 * expected
    assert len(set(delays[-10:])) > 1
    assert len(queue._timers) == 1
    queue.forget("a")


async def test_success_starts_over() -> None:
    queue: WorkQueue[str] = WorkQueue()
    for _ in range(10):
        queue.failed("a")
    queue.done("a")
    assert queue.failed("a") <= 1.2 * FIRST_DELAY_SECONDS
    queue.forget("a")


async def test_a_failed_key_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_DELAY_SECONDS", 0.01)
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    await taken(queue)
    queue.failed("a")
    assert len(queue) == 0
    assert await taken(queue) == "a"


async def test_one_failing_key_does_not_delay_the_others() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.failed("bad")
    queue.add("good")
    assert await taken(queue) == "good"
    queue.forget("bad")


async def test_what_is_forgotten_does_not_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_DELAY_SECONDS", 0.0)
    queue: WorkQueue[str] = WorkQueue()
    queue.failed("gone")
    queue.failed("gone")
    queue.forget("gone")
    queue.forget("never known")
    queue.failed("kept")
    assert await taken(queue) == "kept"
    assert len(queue) == 0


async def test_nothing_is_left_of_keys_that_come_and_go() -> None:
    queue: WorkQueue[int] = WorkQueue()
    for key in range(1000):
        queue.add(key)
        await queue.get()
        queue.add(key)
        queue.failed(key)
        queue.forget(key)
        await queue.get()
        queue.done(key)
    state = (queue._order, queue._waiting, queue._active, queue._again, queue._failures, queue._timers)
    assert not any(state)


async def test_the_age_is_that_of_the_key_that_waits_longest() -> None:
    queue: WorkQueue[str] = WorkQueue()
    loop = asyncio.get_running_loop()
    assert queue.oldest_seconds() == 0
    queue.add("a")
    queue._waiting["a"] = loop.time() - 100
    queue.add("b")
    queue.add("a")
    assert queue.oldest_seconds() >= 100
    await taken(queue)
    assert queue.oldest_seconds() < 100
