"""The state of a simulated fleet as flat arrays, so that the compiled engine can work on it.

Requests are rows in order of arrival. Replicas are slots that are used again once a pod is gone. A request is in
exactly one place: not yet arrived, in the central queue, in a replica's queue, being prefilled, decoding, or ended.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from penstock_contract.profile import Profile

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
NOBODY = -1


class Counter(IntEnum):
    """Columns of a replica's cumulative counters; the names of `contract.md` §3."""

    STEPS = 0
    STEP_SECONDS = 1
    DECODE_SEQUENCE_STEPS = 2
    KV_TOKEN_STEPS = 3
    PREFILL_TOKENS = 4
    PREFILL_TOKEN_LENGTH = 5
    PROMPT_TOKENS = 6
    PROMPT_TOKENS_CACHED = 7
    RECOMPUTED_TOKENS = 8
    GENERATED_TOKENS = 9
    ARRIVED = 10
    FINISHED = 11
    PREEMPTIONS = 12


@dataclass(frozen=True, slots=True)
class Requests:
    """What is asked, in order of arrival.

    Attributes:
        arrival: seconds from the start, ascending.
        prompt: prompt tokens, at least 1.
        output: tokens that will be generated, at least 1.
        cached: leading prompt tokens that need no prefill; less than `prompt`.
    """

    arrival: Floats
    prompt: Ints
    output: Ints
    cached: Ints

    def __post_init__(self) -> None:
        sizes = {len(self.arrival), len(self.prompt), len(self.output), len(self.cached)}
        if len(sizes) != 1:
            raise ValueError(f"columns of different length: {sorted(sizes)}")
        if len(self.arrival):
            if np.any(np.diff(self.arrival) < 0):
                raise ValueError("arrivals must ascend")
            if self.prompt.min() < 1 or self.output.min() < 1:
                raise ValueError("every request needs at least one prompt and one output token")
            if np.any(self.cached >= self.prompt) or self.cached.min() < 0:
                raise ValueError("cached tokens must be fewer than the prompt's")

    @classmethod
    def of(cls, arrival: Any, prompt: Any, output: Any, cached: Any = None) -> Requests:
        """From anything that numpy takes."""
        prompts = np.ascontiguousarray(prompt, dtype=np.int64)
        return cls(
            np.ascontiguousarray(arrival, dtype=np.float64),
            prompts,
            np.ascontiguousarray(output, dtype=np.int64),
            np.zeros_like(prompts) if cached is None else np.ascontiguousarray(cached, dtype=np.int64),
        )

    def __len__(self) -> int:
        return len(self.arrival)


@dataclass(frozen=True, slots=True)
class Limits:
    """A replica as the engine needs it: coefficients in seconds, limits in tokens and sequences.

    Attributes:
        coefficients: c0, cB, cKV, cP, cPP.
        limits: KV tokens, sequences, tokens of one step, sequences a router may hand to a replica.
    """

    coefficients: Floats
    limits: Ints

    @classmethod
    def of(cls, profile: Profile, *, late_binding: bool = True) -> Limits:
        """Of a profile; with late binding a replica is handed an eighth more than it can run, else anything."""
        model = profile.model
        bound = profile.max_num_seqs + max(1, profile.max_num_seqs // 8) if late_binding else 2**40
        return cls(
            np.array([model.c0, model.cB, model.cKV, model.cP, model.cPP]),
            np.array([profile.kv_tokens, profile.max_num_seqs, profile.max_num_batched_tokens, bound], dtype=np.int64),
        )


class Arrays(NamedTuple):
    """All that the compiled engine reads and writes. Shapes: [requests], [slots], or as said.

    Attributes:
        coefficients: c0, cB, cKV, cP, cPP in seconds.
        limits: KV tokens, sequences, tokens of one step, sequences a replica is handed.
        arrival, prompt, output, cached: see `Requests`.
        admitted, first, finish, generated: see `Outcomes`.
        following: next request of the list that a request is in.
        computed: tokens of a request that prefill has done.
        clock: time up to which a replica is simulated; the start of its next step.
        run_end: end of the decode run that a replica is in, while nothing disturbs it; 0 when it is not known.
        accepts: it may be handed requests.
        due, least: the engine's tournaments over the replicas: when each has to work on, who has the least work.
        load, free_at: what the second one compares: work in output tokens, and when the step under way ends.
        iteration: decode iterations; a heap key is the iteration at whose end a request finishes.
        decoding, context, reserved: sequences, their context tokens, and tokens held by prompts in prefill.
        queue, prefill: [slots, 3] head, tail, length.
        heap_key, heap_request: [slots, sequences] binary heaps of the decoding requests.
        counters: [slots, len(Counter)].
        span: slots from this one on are empty; one number.
        central: head, tail, length of the central queue, then the next arrival.
        ended: requests in the order of their end; the first `ended_count[0]` count.
        ended_count: [2] how many have ended, and the tokens that they got.
        thresholds: seconds to the first token, and per further token, that requests are judged by.
        judged: [2, 2] cumulative: requests that met and that missed each of the thresholds.
        held: sequences that a replica is handed at most, and the ages in seconds from which a waiting request is late
            and overdue; infinity where the gateway does not pace.
        late: head, tail, length of the waiting requests that are late, then places given while one was overdue.
        beside: sequences decoded by its replica, summed over steps, when a request had its first token.
        paced: of the answers that ended since the gateway looked last, see `Pace.sums`.
    """

    coefficients: Floats
    limits: Ints
    arrival: Floats
    prompt: Ints
    output: Ints
    cached: Ints
    admitted: Floats
    first: Floats
    finish: Floats
    generated: Ints
    following: Ints
    computed: Ints
    clock: Floats
    run_end: Floats
    accepts: npt.NDArray[np.bool_]
    due: Floats
    least: Ints
    load: Floats
    free_at: Floats
    iteration: Ints
    decoding: Ints
    context: Ints
    reserved: Ints
    queue: Ints
    prefill: Ints
    heap_key: Ints
    heap_request: Ints
    counters: Floats
    span: Ints
    central: Ints
    ended: Ints
    ended_count: Ints
    thresholds: Floats
    judged: Ints
    held: Floats
    late: Ints
    beside: Floats
    paced: Floats


def arrays(requests: Requests, limits: Limits, *, slots: int, thresholds: tuple[float, float] = (2.0, 0.05)) -> Arrays:
    """A fleet without any replica, before the first arrival; the thresholds are of TTFT and TPOT in seconds."""
    count, most = len(requests), int(limits.limits[1])
    leaves = 1 << max(0, slots - 1).bit_length()
    lists = np.full((slots, 3), NOBODY, dtype=np.int64)
    lists[:, 2] = 0

    def ints(*shape: int) -> Ints:
        return np.zeros(shape, dtype=np.int64)

    return Arrays(
        coefficients=limits.coefficients,
        limits=limits.limits,
        arrival=requests.arrival,
        prompt=requests.prompt,
        output=requests.output,
        cached=requests.cached,
        admitted=np.full(count, np.nan),
        first=np.full(count, np.nan),
        finish=np.full(count, np.nan),
        generated=ints(count),
        following=np.full(count, NOBODY, dtype=np.int64),
        computed=ints(count),
        clock=np.zeros(slots),
        run_end=np.zeros(slots),
        accepts=np.zeros(slots, dtype=np.bool_),
        due=np.zeros(2 * leaves),
        least=ints(2 * leaves),
        load=np.zeros(leaves),
        free_at=np.zeros(leaves),
        iteration=ints(slots),
        decoding=ints(slots),
        context=ints(slots),
        reserved=ints(slots),
        queue=lists,
        prefill=lists.copy(),
        heap_key=ints(slots, most + 1),
        heap_request=ints(slots, most + 1),
        counters=np.zeros((slots, len(Counter))),
        span=ints(1),
        central=np.array([NOBODY, NOBODY, 0, 0], dtype=np.int64),
        ended=ints(count),
        ended_count=ints(2),
        thresholds=np.array(thresholds, dtype=np.float64),
        judged=ints(2, 2),
        held=np.full(3, np.inf),
        late=np.array([NOBODY, NOBODY, 0, 0], dtype=np.int64),
        beside=np.zeros(count),
        paced=np.zeros(5),
    )


def open_slot(a: Arrays, slot: int, now: float) -> None:
    """A new replica in an empty slot, ready for requests."""
    a.span[0] = max(int(a.span[0]), slot + 1)
    a.clock[slot] = now
    a.run_end[slot] = 0.0
    a.accepts[slot] = True
    for column in (a.iteration, a.decoding, a.context, a.reserved):
        column[slot] = 0
    a.queue[slot] = a.prefill[slot] = (NOBODY, NOBODY, 0)
    a.counters[slot] = 0.0


def waiting(a: Arrays) -> int:
    """Requests that wait at the gateway."""
    return int(a.central[2] + a.late[2])


def busy(a: Arrays, slot: int) -> int:
    """Requests in a replica."""
    return int(a.queue[slot, 2] + a.prefill[slot, 2] + a.decoding[slot])
