"""A coalescing work queue: a key that is added many times is handed out once, and to one worker at a time.

A key added while a worker has it is handed out again afterwards. Failures come back after an exponential delay with
jitter, capped, so that a broken object costs a few requests per hour and many broken ones do not come back at once.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

FIRST_DELAY_SECONDS = 0.5
LONGEST_DELAY_SECONDS = 300.0


class WorkQueue(Generic[K]):
    """FIFO of distinct keys; belongs to one event loop."""

    def __init__(self) -> None:
        self._order: deque[K] = deque()
        self._waiting: dict[K, float] = {}
        self._active: set[K] = set()
        self._again: set[K] = set()
        self._failures: dict[K, int] = {}
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._wakeup = asyncio.Event()

    def __len__(self) -> int:
        return len(self._order)

    def add(self, key: K) -> None:
        """Ask for work on `key` as soon as a worker is free."""
        if key in self._active:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting[key] = asyncio.get_running_loop().time()
            self._order.append(key)
            self._wakeup.set()

    async def get(self) -> K:
        """The next key, which is the caller's until `done` or `failed`."""
        while not self._order:
            self._wakeup.clear()
            await self._wakeup.wait()
        key = self._order.popleft()
        del self._waiting[key]
        self._active.add(key)
        return key

    def done(self, key: K) -> None:
        """The work on `key` succeeded; a retry of an earlier failure is not needed any more."""
        self.forget(key)
        self._release(key)

    def failed(self, key: K) -> float:
        """The work on `key` failed; returns the seconds after which it comes back."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        delay = min(LONGEST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2.0 ** min(failures, 16)) * random.uniform(0.8, 1.2)
        self._release(key)
        if timer := self._timers.pop(key, None):
            timer.cancel()
        self._timers[key] = asyncio.get_running_loop().call_later(delay, self._expire, key)
        return delay

    def forget(self, key: K) -> None:
        """Drop the failures and the pending retry of a key that no longer exists."""
        self._failures.pop(key, None)
        if timer := self._timers.pop(key, None):
            timer.cancel()

    def oldest_seconds(self) -> float:
        """Age of the key that waits longest; 0 when none waits."""
        if not self._order:
            return 0.0
        return asyncio.get_running_loop().time() - self._waiting[self._order[0]]

    def _release(self, key: K) -> None:
        self._active.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def _expire(self, key: K) -> None:
        self._timers.pop(key, None)
        self.add(key)
