"""Asks workers what requests do not tell: what a new one can run, and whether a silent one still lives.

A pod that became Ready is asked for its model card before it gets requests: that shows that it is reachable, and how
many sequences it runs at once if it is one of ours. A worker that has requests and sent no byte for a while is asked
for its health. If that goes unanswered twice, requests that wait for their first byte leave it and go elsewhere; the
streams it has begun are ended only after `_STREAMS_SECONDS` more, since a pause in the middle of an answer may end.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final

from penstock_contract import names
from penstock_gateway.errors import BrokenError, NotTakenError
from penstock_gateway.pool import DEFAULT_LIMIT, Pool, Worker
from penstock_gateway.upstream import Upstream

_TICK_SECONDS: Final = 1.0
_SILENT_SECONDS: Final = 5.0
_STREAMS_SECONDS: Final = 20.0
_MOST_UNANSWERED: Final = 2
_ANSWER_SECONDS: Final = 2.0
_GREET_PAUSE_SECONDS: Final = 0.5
_LAST_BYTES_SECONDS: Final = 1.0
SLOW_READER_SECONDS: Final = 60.0
_NO_ANSWER: Final = (NotTakenError, BrokenError, TimeoutError)
_log = logging.getLogger(__name__)


class Prober:
    """Greets new workers and watches over silent ones.

    Args:
        upstream: to the workers.
        pools: all pools there are.
    """

    def __init__(self, upstream: Upstream, pools: Callable[[], Iterable[Pool]]) -> None:
        self._upstream = upstream
        self._pools = pools
        self._tasks: set[asyncio.Task[None]] = set()
        self._asked: set[Worker] = set()
        self._unanswered: dict[Worker, tuple[int, float]] = {}

    def greet(self, pool: Pool, worker: Worker) -> None:
        """Find out what a worker can run, then let it have requests."""
        self._start(self._greet(pool, worker))

    def lost(self, worker: Worker) -> None:
        """The worker's pod is gone: what it still has is broken, after a moment for bytes on their way."""
        worker.ready = False
        self._unanswered.pop(worker, None)
        if worker.attempts:
            asyncio.get_running_loop().call_later(_LAST_BYTES_SECONDS, self._abort, worker)

    async def run(self) -> None:
        """Look after all workers, and how many requests they get, until cancelled."""
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            now = time.monotonic()
            for pool in list(self._pools()):
                pool.learn()
                for worker in pool.workers:
                    self._look(pool, worker, now)

    async def close(self) -> None:
        """Stop what is being asked."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _look(self, pool: Pool, worker: Worker, now: float) -> None:
        if not worker.attempts:
            return
        for attempt in list(worker.attempts):
            if attempt.writing_since is not None and now - attempt.writing_since > SLOW_READER_SECONDS:
                attempt.abort(slow_reader=True)
        if now - worker.heard_at <= _SILENT_SECONDS:
            self._unanswered.pop(worker, None)
        elif worker not in self._asked:
            self._asked.add(worker)
            self._start(self._examine(pool, worker))

    async def _greet(self, pool: Pool, worker: Worker) -> None:
        while worker.ready and worker.limit is None:
            try:
                worker.limit = limit_of(await self._get(worker, "/v1/models"))
            except _NO_ANSWER as error:
                _log.info("event=worker_unreachable worker=%s error=%r", worker.name, error)
                await asyncio.sleep(_GREET_PAUSE_SECONDS)
        if worker.limit is not None:
            _log.info("event=worker_open worker=%s limit=%d", worker.name, worker.limit)
            pool.serve_waiting()

    async def _examine(self, pool: Pool, worker: Worker) -> None:
        try:
            await self._get(worker, "/health")
        except _NO_ANSWER:
            self._no_answer(pool, worker)
        else:
            self._unanswered.pop(worker, None)
            worker.heard_at = time.monotonic()
        finally:
            self._asked.discard(worker)

    async def _get(self, worker: Worker, path: str) -> bytes:
        message = f"GET {path} HTTP/1.1\r\nHost: {worker.host}\r\n\r\n".encode()
        async with asyncio.timeout(_ANSWER_SECONDS):
            reply = await self._upstream.send(worker.host, names.HTTP_PORT, message)
            try:
                return await reply.read()
            finally:
                reply.close()

    def _no_answer(self, pool: Pool, worker: Worker) -> None:
        now = time.monotonic()
        count, since = self._unanswered.get(worker, (0, now))
        count += 1
        self._unanswered[worker] = (count, since)
        if count < _MOST_UNANSWERED:
            return
        if worker.limit is not None:
            worker.limit = None  # nothing new, until it answers
            self.greet(pool, worker)
        if count == _MOST_UNANSWERED:
            _log.warning("event=worker_unresponsive worker=%s in_flight=%d", worker.name, len(worker.attempts))
        self._abort(worker, streams=now - since > _STREAMS_SECONDS)

    def _abort(self, worker: Worker, *, streams: bool = True) -> None:
        for attempt in list(worker.attempts):
            if streams or not attempt.answering:
                attempt.abort()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def limit_of(models: bytes) -> int:
    """Choices that a worker may have, by its answer to `GET /v1/models`: what it runs, and an eighth more.

    The surplus waits in the worker, so that a slot that falls free is filled in the next step.
    """
    try:
        runs = json.loads(models)["data"][0]["max_num_seqs"]
    except (ValueError, LookupError, TypeError):
        return DEFAULT_LIMIT
    return runs + max(1, runs // 8) if isinstance(runs, int) and runs > 0 else DEFAULT_LIMIT
