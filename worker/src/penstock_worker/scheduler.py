"""What to compute next: one token budget for prefill chunks and decodes alike.

There is no prefill or decode phase. Every running request wants to compute the tokens it knows and has not computed
(one for a decode, a prompt's rest for a prefill); requests are served first come first served until the step's token
budget, the slots or the pages are used up (the rule of vLLM v1's scheduler). When a running request finds no page,
the youngest running request is put back to the head of the queue and recomputed later. Neither clock nor torch is
known here: the same calls give the same plans.

Invariants: running, then waiting, is in order of arrival; hence the oldest request is never preempted for another and
always advances. At most the last planned request is a partial prefill. Aborts happen between steps only.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from penstock_contract.step import StepWork
from penstock_worker.pages import PagePool
from penstock_worker.request import FinishReason, Request, State


@dataclass(frozen=True, slots=True)
class Chunk:
    """One request's share of a step: compute tokens [start, start + count).

    Attributes:
        request: whose tokens.
        slot: its row of device state.
        start: tokens computed before.
        count: tokens to compute.
        samples: whether the chunk reaches the last known token, so that the next one is sampled.
        page_offset: where in the request's block table `new_pages` begin.
        new_pages: pages the device has not been told of yet.
        decodes: 1 if the chunk's last token is an output token computed for the first time, else 0.
        recomputes: tokens that were computed before a preemption.
    """

    request: Request
    slot: int
    start: int
    count: int
    samples: bool
    page_offset: int
    new_pages: tuple[int, ...]
    decodes: int
    recomputes: int

    @property
    def end(self) -> int:
        """Context length after the chunk."""
        return self.start + self.count


@dataclass(frozen=True, slots=True)
class StepPlan:
    """The chunks of one engine iteration, its work in the terms of the step model, and the requests put back."""

    chunks: tuple[Chunk, ...]
    work: StepWork
    recomputed: int
    cached: int
    preempted: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Emission:
    """A token sampled for a request, and how the request ended if it did."""

    request: Request
    token: int
    finish_reason: FinishReason | None


class Scheduler:
    """Plans steps over a page pool.

    Args:
        pool: KV pages; must hold at least one request of `max_model_len`.
        max_num_seqs: most requests running at once.
        max_num_batched_tokens: token budget of a step, at least `max_num_seqs`.
        max_model_len: most tokens of prompt and output of a request.
    """

    def __init__(self, pool: PagePool, *, max_num_seqs: int, max_num_batched_tokens: int, max_model_len: int) -> None:
        if max_num_batched_tokens < max_num_seqs:
            raise ValueError("max_num_batched_tokens must be at least max_num_seqs")
        if pool.pages * pool.page_size < max_model_len:
            raise ValueError("the page pool must hold one request of max_model_len")
        self.pool = pool
        self.waiting: deque[Request] = deque()
        self.running: list[Request] = []
        self._budget = max_num_batched_tokens
        self._max_model_len = max_model_len
        self.max_num_seqs = max_num_seqs
        self._slots = list(range(max_num_seqs - 1, -1, -1))
        self._requests: dict[str, Request] = {}

    @property
    def has_work(self) -> bool:
        """Whether a request waits or runs."""
        return bool(self._requests)

    @property
    def requests(self) -> tuple[Request, ...]:
        """All requests in the engine."""
        return tuple(self._requests.values())

    def add(self, request: Request) -> None:
        """Queue a request that fits `max_model_len`."""
        if request.prompt_length >= self._max_model_len:
            raise ValueError(f"prompt of {request.prompt_length} tokens leaves no room in {self._max_model_len}")
        self._requests[request.id] = request
        self.waiting.append(request)

    def finish(self, request_id: str, reason: FinishReason) -> Request | None:
        """End a request from outside (abort, stop string); None if it is gone already."""
        request = self._requests.get(request_id)
        if request is None:
            return None
        if request.state is State.WAITING:
            self.waiting.remove(request)
        else:
            self.running.remove(request)
        self._retire(request, reason)
        return request

    def plan(self) -> StepPlan | None:
        """Choose the next step's chunks; None when there is nothing to do."""
        chunks: list[Chunk] = []
        preempted: list[str] = []
        cached = 0
        budget = self._budget
        for request in tuple(self.running):
            if request.state is not State.RUNNING or not budget:
                break  # this one and all after it were put back, or the budget is spent
            count = min(len(request.tokens) - request.computed, budget)
            pages = self._grow(request, count, preempted)
            if pages is None:
                break
            chunks.append(_chunk(request, count, pages))
            budget -= count
        while self.waiting and self._slots and budget and not preempted:
            admitted = self._admit(self.waiting[0], budget)
            if admitted is None:
                break
            chunk, hits = admitted
            chunks.append(chunk)
            cached += hits
            budget -= chunk.count
        if not chunks:
            return None
        return StepPlan(tuple(chunks), _work(chunks), sum(c.recomputes for c in chunks), cached, tuple(preempted))

    def commit(self, plan: StepPlan, tokens: Sequence[int]) -> list[Emission]:
        """Take over a computed step.

        Args:
            plan: the last plan.
            tokens: one sampled token for each chunk with `samples`, in order.

        Returns:
            What each of those requests got.
        """
        emissions = []
        sampled = iter(tokens)
        for chunk in plan.chunks:
            request = chunk.request
            request.computed = chunk.end
            request.reached = max(request.reached, chunk.end)
            self._index_full_pages(request)
            if chunk.samples:
                emissions.append(self._append(request, next(sampled)))
        finished = [emission.request for emission in emissions if emission.finish_reason is not None]
        if finished:
            self.running = [request for request in self.running if request.finish_reason is None]
            for request in finished:
                self._retire(request, request.finish_reason)
        return emissions

    def check(self) -> None:
        """Assert the invariants of the page pool and of the queues.

        Raises:
            AssertionError: an invariant is broken.
        """
        self.pool.check([request.pages for request in self._requests.values()])
        assert len(self.running) + len(self.waiting) == len(self._requests)
        assert all(request.state is State.RUNNING and request.slot >= 0 for request in self.running)
        assert all(not request.pages and request.slot < 0 for request in self.waiting)
        slots = [request.slot for request in self.running]
        assert len({*slots, *self._slots}) == len(slots) + len(self._slots)

    def _append(self, request: Request, token: int) -> Emission:
        request.tokens.append(token)
        sampling = request.sampling
        if token in sampling.stop_ids and request.output_length >= sampling.min_tokens:
            request.finish_reason = "stop"
        elif request.output_length >= sampling.max_tokens or len(request.tokens) >= self._max_model_len:
            request.finish_reason = "length"
        return Emission(request, token, request.finish_reason)

    def _grow(self, request: Request, count: int, preempted: list[str]) -> list[int] | None:
        """Pages for `count` more tokens, preempting from the youngest on; None if that is the request itself."""
        need = self.pool.pages_for(request.computed + count) - len(request.pages)
        if need <= 0:
            return []
        while (pages := self.pool.allocate(need)) is None:
            victim = self.running.pop()
            self._preempt(victim)
            preempted.append(victim.id)
            if victim is request:
                return None
        request.pages.extend(pages)
        return pages

    def _admit(self, request: Request, budget: int) -> tuple[Chunk, int] | None:
        """Start the head of the queue; its chunk and the prompt tokens the cache saved, or None if no page is free."""
        # The last token is always computed, since its logits are needed.
        hits, chain = self.pool.match(request.tokens, limit=len(request.tokens) - 1)
        computed = len(hits) * self.pool.page_size
        count = min(len(request.tokens) - computed, budget)
        pages = self.pool.allocate(self.pool.pages_for(computed + count) - len(hits))
        if pages is None:
            self.pool.release(hits)
            return None
        self.waiting.popleft()
        request.state = State.RUNNING
        request.slot = self._slots.pop()
        request.pages, request.chain, request.computed = hits + pages, chain, computed
        saved = max(0, min(computed, request.prompt_length) - request.reached)
        request.cached += saved
        request.reached = max(request.reached, computed)
        self.running.append(request)
        return _chunk(request, count, request.pages), saved

    def _preempt(self, request: Request) -> None:
        self._let_go(request)
        request.state = State.WAITING
        request.computed = 0
        request.preemptions += 1
        self.waiting.appendleft(request)

    def _retire(self, request: Request, reason: FinishReason | None) -> None:
        if request.state is State.RUNNING:
            self._let_go(request)
        request.state = State.FINISHED
        request.finish_reason = reason
        del self._requests[request.id]

    def _let_go(self, request: Request) -> None:
        self.pool.release(request.pages)
        request.pages, request.chain = [], []
        self._slots.append(request.slot)
        request.slot = -1

    def _index_full_pages(self, request: Request) -> None:
        size = self.pool.page_size
        for number in range(len(request.chain), request.computed // size):
            parent = request.chain[-1] if request.chain else 0
            tokens = request.tokens[number * size : (number + 1) * size]
            request.chain.append(self.pool.register(request.pages[number], parent=parent, tokens=tokens))


def _chunk(request: Request, count: int, new_pages: Sequence[int]) -> Chunk:
    start, end = request.computed, request.computed + count
    return Chunk(
        request=request,
        slot=request.slot,
        start=start,
        count=count,
        samples=end == len(request.tokens),
        page_offset=len(request.pages) - len(new_pages),
        new_pages=tuple(new_pages),
        decodes=max(0, end - max(start, request.reached, request.prompt_length)),
        recomputes=max(0, min(end, request.reached) - start),
    )


def _work(chunks: Sequence[Chunk]) -> StepWork:
    """Sums of the step model: what is not a first-time output token is prefill, recomputation included."""
    decodes = context = prefill = prefill_length = 0
    for chunk in chunks:
        prompt = chunk.count - chunk.decodes
        decodes += chunk.decodes
        context += chunk.end * chunk.decodes
        prefill += prompt
        prefill_length += prompt * max(chunk.request.prompt_length, chunk.request.reached)
    return StepWork(
        steps=1,
        decode_sequences=decodes,
        kv_tokens=context,
        prefill_tokens=prefill,
        prefill_token_length=prefill_length,
    )
