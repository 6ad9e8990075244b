"""One replica: iteration-level continuous batching on the step model, compiled.

Order, as vLLM's scheduler and our worker have it: running sequences decode in every step; what is left of the step's
token budget goes to prompts in order of admission, in chunks; a waiting request is admitted when a slot and KV for its
prompt are free. A run of steps without prefill is done in closed form (the context of each sequence
grows by one token a step, so its time is quadratic in its length), which gives the same as step by step. A step that
has begun is not cut: a replica's clock may be ahead of the world's by one step.

Preemption: when the cache is full the youngest sequence goes back to the head of the queue and is computed again.
"""

from __future__ import annotations

import math

from penstock_contract.names import TPOT_MIN_TOKENS
from penstock_lab.simulate.compiled import compiled, inlined
from penstock_lab.simulate.handing import hand, takes
from penstock_lab.simulate.queues import append, prepend, rise, sink, take
from penstock_lab.simulate.state import NOBODY, Arrays, Counter

LAZY, CUT, STEPWISE = 0, 1, 2
_PACED_FROM = int(TPOT_MIN_TOKENS)
_STEPS, _SECONDS = int(Counter.STEPS), int(Counter.STEP_SECONDS)
_SUM_B, _SUM_S = int(Counter.DECODE_SEQUENCE_STEPS), int(Counter.KV_TOKEN_STEPS)
_SUM_P, _SUM_PLEN = int(Counter.PREFILL_TOKENS), int(Counter.PREFILL_TOKEN_LENGTH)
_PROMPT, _CACHED, _AGAIN = int(Counter.PROMPT_TOKENS), int(Counter.PROMPT_TOKENS_CACHED), int(Counter.RECOMPUTED_TOKENS)
_GENERATED = int(Counter.GENERATED_TOKENS)
_FINISHED, _PREEMPTED = int(Counter.FINISHED), int(Counter.PREEMPTIONS)


@inlined
def _remove(a: Arrays, slot: int, place: int) -> int:
    """Take a decoding request out of the heap of its replica."""
    keys, requests = a.heap_key[slot], a.heap_request[slot]
    request, last = requests[place], a.decoding[slot] - 1
    keys[place], requests[place] = keys[last], requests[last]
    a.decoding[slot] = last
    if place < last:
        sink(keys, requests, place, last)
        rise(keys, requests, place)
    return int(request)


@inlined
def _judge(a: Arrays, request: int, at: float) -> None:
    """Count an ended request as the gateways do: a failed one misses every objective."""
    answered = at < math.inf
    late = a.first[request] - a.arrival[request] > a.thresholds[0]
    a.judged[0, 1 if late or not answered else 0] += 1
    further = a.output[request] - 1
    if further >= _PACED_FROM - 1 or not answered:
        slow = (at - a.first[request]) / max(1, further) > a.thresholds[1]
        a.judged[1, 1 if slow or not answered else 0] += 1


@inlined
def _pace(a: Arrays, slot: int, request: int, at: float) -> None:
    """Note how long the tokens of an answer took that has just ended, beside how many sequences on average."""
    further = a.output[request] - 1  # each of them took a step
    seconds = (at - a.first[request]) / further
    beside = (a.counters[slot, _SUM_B] - a.beside[request]) / further
    a.paced[0] += 1.0
    a.paced[1] += beside
    a.paced[2] += seconds
    a.paced[3] += beside * beside
    a.paced[4] += beside * seconds


@inlined
def end(a: Arrays, slot: int, request: int, at: float) -> None:
    """Note that a request has ended, at infinity if it failed; slot: who finished it, or NOBODY."""
    a.finish[request] = at
    _judge(a, request, at)
    a.ended[a.ended_count[0]] = request
    a.ended_count[0] += 1
    a.ended_count[1] += a.generated[request]
    if slot != NOBODY:
        a.counters[slot, _FINISHED] += 1
        if at < math.inf and a.output[request] >= _PACED_FROM:
            _pace(a, slot, request, at)


@inlined
def _finish_due(a: Arrays, slot: int, at: float) -> None:
    """End the requests whose last token came with the present iteration."""
    while a.decoding[slot] and a.heap_key[slot, 0] <= a.iteration[slot]:
        request = _remove(a, slot, 0)
        a.generated[request] = a.output[request]
        a.context[slot] -= a.prompt[request] + a.output[request]
        end(a, slot, request, at)


@inlined
def _pull(a: Arrays, slot: int) -> None:
    """Take from the central queue what the replica may be handed; nothing that arrives after its clock."""
    while takes(a, slot) and hand(a, slot, a.clock[slot]):
        pass


@inlined
def _admit(a: Arrays, slot: int, now: float) -> None:
    """Move waiting requests into prefill while a sequence slot and KV for their tokens are free."""
    queue, prefill = a.queue[slot], a.prefill[slot]
    while queue[2] and a.decoding[slot] + prefill[2] < a.limits[1]:
        request = queue[0]
        tokens = a.prompt[request] + a.generated[request]
        if a.prompt[request] + a.output[request] > a.limits[0]:  # can never be held
            take(queue, a.following)
            end(a, slot, request, math.inf)
            continue
        if a.context[slot] + a.reserved[slot] + tokens + a.decoding[slot] > a.limits[0]:
            return
        take(queue, a.following)
        again = not math.isnan(a.admitted[request])
        if again:
            a.computed[request] = 0
            a.counters[slot, _AGAIN] += tokens
        else:
            a.admitted[request] = now
            a.computed[request] = a.cached[request]
            a.counters[slot, _PROMPT] += a.prompt[request]
            a.counters[slot, _CACHED] += a.cached[request]
        a.reserved[slot] += tokens
        append(prefill, a.following, request)


@inlined
def _mixed_step(a: Arrays, slot: int) -> None:
    """One step that computes prompt tokens beside the decoding sequences."""
    prefill, row, c = a.prefill[slot], a.counters[slot], a.coefficients
    budget = max(1, a.limits[2] - a.decoding[slot])
    tokens, weighted, done = 0, 0.0, 0
    request = prefill[0]
    for _ in range(prefill[2]):
        whole = a.prompt[request] + a.generated[request]
        part = min(whole - a.computed[request], budget - tokens)
        a.computed[request] += part
        tokens += part
        weighted += float(part) * whole
        if a.computed[request] < whole:
            break
        done += 1
        if tokens >= budget:
            break
        request = a.following[request]
    decoding, context = a.decoding[slot], a.context[slot]
    seconds = c[0] + c[1] * decoding + c[2] * context + c[3] * tokens + c[4] * weighted
    a.clock[slot] += seconds
    a.iteration[slot] += 1
    a.context[slot] += decoding
    row[_STEPS] += 1
    row[_SECONDS] += seconds
    row[_SUM_B] += decoding
    row[_SUM_S] += context
    row[_SUM_P] += tokens
    row[_SUM_PLEN] += weighted
    row[_GENERATED] += decoding
    _finish_due(a, slot, a.clock[slot])
    for _ in range(done):
        _begin_decoding(a, slot, take(prefill, a.following))


@inlined
def _begin_decoding(a: Arrays, slot: int, request: int) -> None:
    """The end of a prompt's prefill gives its next token."""
    now = a.clock[slot]
    a.reserved[slot] -= a.prompt[request] + a.generated[request]
    if math.isnan(a.first[request]):
        a.first[request] = now
        a.beside[request] = a.counters[slot, _SUM_B]
    a.generated[request] += 1
    a.counters[slot, _GENERATED] += 1
    left = a.output[request] - a.generated[request]
    if left == 0:
        end(a, slot, request, now)
        return
    place = a.decoding[slot]
    a.heap_key[slot, place] = a.iteration[slot] + left
    a.heap_request[slot, place] = request
    a.decoding[slot] += 1
    rise(a.heap_key[slot], a.heap_request[slot], place)
    a.context[slot] += a.prompt[request] + a.generated[request]


@inlined
def _steps_until(base: float, growth: float, seconds: float) -> int:
    """Least k with k*base + growth*k(k-1)/2 >= seconds, at least 1."""
    if growth <= 0:
        steps = seconds / base
    else:
        b = base - growth / 2
        steps = (-b + math.sqrt(b * b + 2 * growth * seconds)) / growth
    whole = max(1, math.ceil(steps - 1e-9))
    while whole > 1 and (whole - 1) * base + growth * (whole - 1) * (whole - 2) / 2 >= seconds:
        whole -= 1
    while whole * base + growth * whole * (whole - 1) / 2 < seconds:
        whole += 1
    return int(whole)


@inlined
def _decode_run(a: Arrays, slot: int, until: float, how: int) -> bool:
    """Pure decode steps until one finishes, the cache is full, or `until` is reached; False when nothing was done."""
    c, row = a.coefficients, a.counters[slot]
    sequences, context = a.decoding[slot], a.context[slot]
    base = c[0] + c[1] * sequences + c[2] * context
    growth = c[2] * sequences
    room = (a.limits[0] - context - a.reserved[slot]) // sequences
    steps = 1 if how == STEPWISE else min(a.heap_key[slot, 0] - a.iteration[slot], max(1, room))
    end = a.clock[slot] + steps * base + growth * steps * (steps - 1) / 2
    if end > until and how != STEPWISE:
        if how == LAZY:
            a.run_end[slot] = end
            return False
        steps = min(steps, _steps_until(base, growth, until - a.clock[slot]))
    grown = steps * context + sequences * (steps * (steps - 1) // 2)
    seconds = steps * (c[0] + c[1] * sequences) + c[2] * grown
    a.clock[slot] += seconds
    a.iteration[slot] += steps
    a.context[slot] += sequences * steps
    row[_STEPS] += steps
    row[_SECONDS] += seconds
    row[_SUM_B] += steps * sequences
    row[_SUM_S] += grown
    row[_GENERATED] += steps * sequences
    _finish_due(a, slot, a.clock[slot])
    return True


@inlined
def step_end(a: Arrays, slot: int, at: float) -> float:
    """When the step that is under way at a time ends, within a decode run that is noted."""
    c, sequences = a.coefficients, a.decoding[slot]
    base = c[0] + c[1] * sequences + c[2] * a.context[slot]
    growth = c[2] * sequences
    steps = _steps_until(base, growth, at - a.clock[slot])
    return float(a.clock[slot] + steps * base + growth * steps * (steps - 1) / 2)


@inlined
def _preempt(a: Arrays, slot: int) -> None:
    """Send the youngest sequences back while the cache could not take the next step."""
    while a.decoding[slot] > 1 and a.context[slot] + a.reserved[slot] + a.decoding[slot] > a.limits[0]:
        place = 0
        for other in range(1, a.decoding[slot]):
            if a.heap_request[slot, other] > a.heap_request[slot, place]:
                place = other
        left = a.heap_key[slot, place] - a.iteration[slot]
        request = _remove(a, slot, place)
        a.generated[request] = a.output[request] - left
        a.context[slot] -= a.prompt[request] + a.generated[request]
        a.counters[slot, _PREEMPTED] += 1
        prepend(a.queue[slot], a.following, request)


@inlined
def work(a: Arrays, slot: int, until: float, how: int) -> bool:
    """The next step of a replica, or run of steps; False when nothing was done."""
    _preempt(a, slot)
    _admit(a, slot, a.clock[slot])
    if a.prefill[slot, 2]:
        _mixed_step(a, slot)
        return True
    if a.decoding[slot]:
        return _decode_run(a, slot, until, how)
    return bool(a.queue[slot, 2] > 0)


@compiled
def advance(a: Arrays, slot: int, until: float, how: int) -> None:
    """Let one replica work until its clock is at `until` or later, or until it has nothing to do.

    Args:
        a: the fleet.
        slot: the replica.
        until: seconds.
        how: LAZY leaves a decode run that ends later as it is, with its end noted: nothing happens before; CUT ends it
            at the step that is under way at `until`; STEPWISE does every step by itself, to check the closed form.
    """
    a.run_end[slot] = 0.0
    while a.clock[slot] < until:
        _pull(a, slot)
        if not work(a, slot, until, how):
            return
