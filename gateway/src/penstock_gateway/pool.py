"""The workers of one service and the requests that wait for one of them.

Requests are bound late: a worker gets at most as many as it can run (and a few, so that a free slot is filled at the
next step), and no more than its tokens come in time with, where that is an objective (`penstock_contract.pace`). The
rest waits here (`waiting`) and goes to whichever worker frees up or becomes ready first. New replicas therefore help
requests that arrived before them. The choice falls on the worker with the least
outstanding work; among many, on the better of two drawn at random, which is nearly as good and keeps gateways that
know nothing of each other from running after the same worker. A worker that has the prompt's prefix in its cache is
preferred by the work that this saves.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from penstock_contract.pace import LATE_SHARE
from penstock_gateway.affinity import Affinity, Prefix
from penstock_gateway.errors import Refusal, hold_timeout, queue_full, service_deleted
from penstock_gateway.pacing import Pacer
from penstock_gateway.sla import Objective, longest_wait, tightest
from penstock_gateway.waiting import Waiting

DEFAULT_LIMIT: Final = 256
# A prompt token takes a quarter of the time of an output token, by the step models of the reference replicas at
# half their batch (a tenth to two fifths).
PROMPT_TOKENS_PER_WORK: Final = 4
_DRAW_FROM: Final = 8
_DRAWS: Final = 3
_FIRST_REST_SECONDS: Final = 0.1
_LAST_REST_SECONDS: Final = 2.0
_MOST_DOUBLINGS: Final = 8


@dataclass(eq=False, slots=True)
class Worker:
    """One worker pod as the gateway sees it.

    Attributes:
        uid: of the pod.
        name: of the pod.
        host: its address.
        ready: the pod is Ready.
        leaving: it drains or is being deleted: it gets nothing new.
        limit: most choices it gets at a time; None until it was asked what it can run.
        outstanding: choices it has.
        work: outstanding work, see `Ticket`.
        choice_seconds: outstanding choices, summed over time.
        summed_at: until when.
        heard_at: when its last byte came.
        attempts: requests it has; each can be aborted.
        rests: times in a row that it did not take a request.
        waking: ends its rest; None unless it rests.
    """

    uid: str
    name: str
    host: str
    ready: bool = False
    leaving: bool = False
    limit: int | None = None
    outstanding: int = 0
    work: int = 0
    choice_seconds: float = 0.0
    summed_at: float = 0.0
    heard_at: float = 0.0
    attempts: set[Any] = field(default_factory=set)
    rests: int = 0
    waking: asyncio.TimerHandle | None = None


@dataclass(eq=False, slots=True)
class Ticket:
    """A request's claim to a worker.

    Attributes:
        work: tokens to generate and a share of those to read, a measure of time on a worker.
        choices: sequences it will run.
        arrived: when the request came.
        prefixes: of its prompt.
        since: its worker's `choice_seconds` and `summed_at` when it got it.
        beside: choices that its worker had on average while it had it, its own among them.
    """

    work: int
    choices: int
    arrived: float
    prefixes: tuple[Prefix, ...] = ()
    future: asyncio.Future[Worker] | None = None
    since: tuple[float, float] = (0.0, 0.0)
    beside: float = 0.0


class Pool:
    """Workers and held requests of one service; belongs to the event loop.

    Args:
        clock: monotonic seconds.
        dice: draws workers and breaks ties.

    Attributes:
        max_held: most requests that wait.
        pacer: how many choices a worker gets so that tokens come in time.
        closed: nobody gets a worker; what they are told instead, or None.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, dice: random.Random | None = None) -> None:
        self.max_held = 1000
        self._clock = clock
        self._dice = dice or random.Random()
        self._workers: dict[str, Worker] = {}
        self._all: list[Worker] = []
        self._affinity = Affinity()
        self._waiting: Waiting[Ticket] = Waiting()
        self.pacer = Pacer(self._clock())
        self.closed: Callable[[], Refusal] | None = None

    @property
    def workers(self) -> list[Worker]:
        """All workers, whatever their state."""
        return self._all

    @property
    def held(self) -> int:
        """Requests that wait."""
        return len(self._waiting)

    @property
    def oldest_held_seconds(self) -> float:
        """Age of the oldest held request."""
        oldest = self._waiting.oldest
        return 0.0 if oldest is None else self._clock() - oldest

    @property
    def hold_seconds(self) -> float:
        """Longest time from arrival that a request waits."""
        return self._waiting.hold_seconds

    @hold_seconds.setter
    def hold_seconds(self, seconds: float) -> None:
        self._waiting.hold_seconds = seconds

    def aim(self, objectives: Sequence[Objective]) -> None:
        """Hold requests so that these can be met."""
        wait = longest_wait(objectives)
        self._waiting.late_seconds = math.inf if wait is None else LATE_SHARE * wait
        self.pacer.aim(tightest(objectives, "TPOT", "ITL"))
        self.serve_waiting()

    def learn(self) -> None:
        """Take in what answers say of the workers; to be called every second or so."""
        if self.pacer.learn(self._clock()):
            self.serve_waiting()

    def get(self, uid: str) -> Worker | None:
        """A worker by the uid of its pod."""
        return self._workers.get(uid)

    def add(self, worker: Worker) -> None:
        """Take in a worker."""
        self._workers[worker.uid] = worker
        self._all = list(self._workers.values())
        self.serve_waiting()

    def remove(self, uid: str) -> Worker | None:
        """Forget a worker; requests it has are not touched."""
        worker = self._workers.pop(uid, None)
        self._all = list(self._workers.values())
        return worker

    def close(self, refusal: Callable[[], Refusal] = service_deleted) -> None:
        """Send home everybody who waits and who comes: the service is gone, or the gateway goes."""
        self.closed = refusal
        for ticket in self._waiting:
            if ticket.future is not None and not ticket.future.done():
                ticket.future.set_exception(refusal())

    async def acquire(self, ticket: Ticket, *, again: bool = False) -> Worker:
        """A worker for the ticket, reserved; it must be released.

        Args:
            ticket: the claim.
            again: it had a worker that did not take it; it goes to the head of the queue.

        Raises:
            Refusal: 429, too many wait; 503, it waited too long; 404, the service is gone.
        """
        if self.closed is not None:
            raise self.closed()
        if again and self._clock() - ticket.arrived >= self.hold_seconds:
            raise hold_timeout(self.hold_seconds)
        if again or not self._waiting:
            worker = self._pick(ticket)
            if worker is not None:
                return self._reserve(worker, ticket)
        if len(self._waiting) >= self.max_held and not again:
            raise queue_full(len(self._waiting))
        return await self._wait(ticket, first=again)

    def release(self, worker: Worker, ticket: Ticket, *, work_left: int) -> None:
        """The worker is done with the ticket; `work_left` of its work was not counted down yet."""
        self._sum(worker)
        choice_seconds, summed_at = ticket.since
        seconds = worker.summed_at - summed_at
        ticket.beside = (worker.choice_seconds - choice_seconds) / seconds if seconds > 0.0 else worker.outstanding
        worker.outstanding -= ticket.choices
        worker.work = worker.work - work_left if worker.outstanding else 0
        if self._waiting:
            self.serve_waiting()

    def rest(self, worker: Worker) -> None:
        """The worker did not take a request: leave it alone for a moment, longer each time."""
        seconds = min(_FIRST_REST_SECONDS * 2 ** min(worker.rests, _MOST_DOUBLINGS), _LAST_REST_SECONDS)
        worker.rests += 1
        if worker.waking is not None:
            worker.waking.cancel()
        worker.waking = asyncio.get_running_loop().call_later(seconds, self._wake, worker)

    def serve_waiting(self) -> None:
        """Hand workers to those who wait, as far as they go; to be called when a worker may have become open."""
        while self._waiting:
            now = self._clock()
            ticket = self._waiting.next(now)
            worker = self._pick(ticket)
            if worker is None:
                return
            self._waiting.served(ticket, now)
            if ticket.future is not None and not ticket.future.done():
                ticket.future.set_result(self._reserve(worker, ticket))

    def _wake(self, worker: Worker) -> None:
        worker.waking = None
        self.serve_waiting()

    async def _wait(self, ticket: Ticket, *, first: bool) -> Worker:
        future: asyncio.Future[Worker] = asyncio.get_running_loop().create_future()
        ticket.future = future
        self._waiting.append(ticket, first=first)
        try:
            async with asyncio.timeout(ticket.arrived + self.hold_seconds - self._clock()):
                return await future
        except BaseException as error:
            if future.done() and not future.cancelled() and future.exception() is None:
                self.release(future.result(), ticket, work_left=ticket.work)  # handed over a moment too late
            if isinstance(error, TimeoutError):
                raise hold_timeout(self.hold_seconds) from error
            raise
        finally:
            ticket.future = None
            self._waiting.discard(ticket)

    def _sum(self, worker: Worker) -> None:
        now = self._clock()
        worker.choice_seconds += worker.outstanding * (now - worker.summed_at)
        worker.summed_at = now

    def _reserve(self, worker: Worker, ticket: Ticket) -> Worker:
        self._sum(worker)
        ticket.since = (worker.choice_seconds, worker.summed_at)
        worker.outstanding += ticket.choices
        worker.work += ticket.work
        if ticket.prefixes:
            self._affinity.remember(ticket.prefixes, worker.uid)
        return worker

    def _pick(self, ticket: Ticket) -> Worker | None:
        """The worker that will have done the ticket first, as far as can be known; None if all are taken."""
        best = self._least()
        if best is None or not ticket.prefixes:
            return best
        known = self._affinity.find(ticket.prefixes)
        if known is not None:
            uid, tokens = known
            warm = self._workers.get(uid)
            if warm is not None and self._open(warm) and warm.work <= best.work + tokens // PROMPT_TOKENS_PER_WORK:
                return warm
        return best

    def _least(self) -> Worker | None:
        if len(self._all) > _DRAW_FROM:
            for _ in range(_DRAWS):
                drawn = [worker for worker in self._dice.sample(self._all, 2) if self._open(worker)]
                if drawn:
                    return min(drawn, key=lambda worker: worker.work)
        candidates = [worker for worker in self._all if self._open(worker)]
        if len(candidates) <= 1:
            return candidates[0] if candidates else None
        return min(candidates, key=lambda worker: (worker.work, self._dice.random()))

    def _open(self, worker: Worker) -> bool:
        return (
            worker.ready
            and not worker.leaving
            and worker.limit is not None
            and worker.outstanding < worker.limit
            and worker.outstanding < self.pacer.most
            and worker.waking is None
        )
