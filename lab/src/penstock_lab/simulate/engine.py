"""Many replicas behind one queue, compiled: who works until when, and who is handed the next request.

The replicas are `replica.py`'s. Two tournaments say which of them has something to do next and which has the least
work; they are rebuilt at the beginning of each `run`, so that whoever changes the fleet between two runs need not know
of them, and they find what a search through all replicas in their order would.
"""

from __future__ import annotations

import math

import numpy as np

from penstock_lab.simulate.compiled import compiled, inlined
from penstock_lab.simulate.handing import hand, sequences, takes
from penstock_lab.simulate.queues import append, take
from penstock_lab.simulate.replica import CUT, LAZY, advance, end, step_end
from penstock_lab.simulate.state import NOBODY, Arrays
from penstock_lab.simulate.tournament import (
    build_least,
    build_winners,
    first_below,
    leaves_for,
    put_least,
    put_winner,
)

_QUANTUM_SECONDS = 0.02
_ROUNDING = 1e-9


@inlined
def _note(a: Arrays, slot: int, prompt_weight: float, mean_output: float) -> float:
    """Note what a replica is chosen by; before which time it need not work on."""
    count = sequences(a, slot)
    a.load[slot] = count * mean_output + prompt_weight * a.reserved[slot] if takes(a, slot) else math.inf
    a.free_at[slot] = a.clock[slot]
    if count == 0:
        return math.inf
    # A noted run ends at `run_end`, and what ends at a time has ended then.
    return float(np.nextafter(a.run_end[slot], 0.0)) if a.run_end[slot] > 0 else float(a.clock[slot])


@inlined
def _begin(a: Arrays, leaves: int, prompt_weight: float, mean_output: float) -> None:
    a.load[:leaves] = math.inf
    a.due[leaves : 2 * leaves] = math.inf
    for slot in range(a.span[0]):
        a.due[leaves + slot] = _note(a, slot, prompt_weight, mean_output)
    build_least(a.due, leaves)
    build_winners(a.least, leaves, a.load, a.free_at)


@inlined
def _changed(a: Arrays, leaves: int, slot: int, prompt_weight: float, mean_output: float) -> None:
    put_least(a.due, leaves, slot, _note(a, slot, prompt_weight, mean_output))
    put_winner(a.least, leaves, slot, a.load, a.free_at)


@inlined
def _least(a: Arrays, leaves: int, now: float) -> int:
    """The one with the least work, or NOBODY when none takes more.

    Of several it is the one that has been idle for longest, or the one whose step under way ends first. That end is
    looked for when a replica comes first without it: steps end later and later, so that nobody is passed over. A
    replica whose step under way ends a run is taken at once: it has to be advanced before its work is known.
    """
    while True:
        slot = a.least[1]
        if a.load[slot] == math.inf:
            return int(NOBODY)
        if a.free_at[slot] >= now or a.run_end[slot] == 0:
            return int(slot)
        a.free_at[slot] = step_end(a, slot, now)
        if a.free_at[slot] >= a.run_end[slot] - _ROUNDING:
            return int(slot)
        put_winner(a.least, leaves, slot, a.load, a.free_at)


@inlined
def _hand_out(a: Arrays, leaves: int, now: float, prompt_weight: float, mean_output: float) -> None:
    """Give the central queue to the replicas that may take more, each time to the one with the least work."""
    while a.central[2] or a.late[2]:
        chosen = _least(a, leaves, now)
        if chosen == NOBODY:
            return
        if a.clock[chosen] < now and sequences(a, chosen):
            advance(a, chosen, now, int(CUT))  # it may have taken from the central queue itself
        else:
            a.clock[chosen] = max(a.clock[chosen], now)
            hand(a, chosen, now)
        _changed(a, leaves, chosen, prompt_weight, mean_output)


@inlined
def _work_on(a: Arrays, leaves: int, until: float, prompt_weight: float, mean_output: float) -> None:
    """Let those work that have something to do before a time; a decode run that ends later is only noted."""
    slot = first_below(a.due, leaves, until)
    while slot != NOBODY:
        advance(a, slot, until, int(LAZY))
        _changed(a, leaves, slot, prompt_weight, mean_output)
        slot = first_below(a.due, leaves, until)


@inlined
def _settle(a: Arrays, until: float) -> None:
    """Let all work until a time, so that their counters are true."""
    for slot in range(a.span[0]):
        if a.clock[slot] < until and sequences(a, slot):
            advance(a, slot, until, int(CUT))


@compiled
def run(a: Arrays, now: float, until: float, prompt_weight: float = 0.25, mean_output: float = 100.0) -> None:
    """Let the world go from `now` to `until`: arrivals are queued, handed to replicas, and worked on.

    What ends before an arrival has ended when it is handed out; while requests wait in the central queue the world
    goes in steps of at most 20 ms, so that whoever has room first is handed the next. At `until` all counters are true
    to within the step under way.

    Args:
        a: the fleet.
        now: seconds.
        until: seconds.
        prompt_weight: what the router takes a prompt token for, in output tokens.
        mean_output: what the router takes the output of a request for, in tokens.
    """
    leaves = leaves_for(a.span[0])
    _begin(a, leaves, prompt_weight, mean_output)
    while now < until:
        coming = a.arrival[a.central[3]] if a.central[3] < len(a.arrival) else math.inf
        then = min(coming, until)
        if a.central[2] or a.late[2]:
            then = min(then, now + _QUANTUM_SECONDS)
        _work_on(a, leaves, then, prompt_weight, mean_output)
        now = then
        while a.central[3] < len(a.arrival) and a.arrival[a.central[3]] <= now < until:
            append(a.central, a.following, a.central[3])
            a.central[3] += 1
        _hand_out(a, leaves, now, prompt_weight, mean_output)
    _settle(a, until)


def give_up(a: Arrays, before: float) -> int:
    """End requests that wait for a replica and arrived before a time, as failed; their number."""
    dropped = 0
    for row in (a.late, a.central):
        while row[2] and a.arrival[row[0]] < before:
            end(a, NOBODY, take(row, a.following), np.inf)
            dropped += 1
    return dropped


def kill(a: Arrays, slot: int) -> int:
    """End whatever is in a replica as failed, and leave its slot empty; the number of requests."""
    found = [int(request) for request in a.heap_request[slot, : a.decoding[slot]]]
    for row in (a.queue[slot], a.prefill[slot]):
        while row[2]:
            found.append(int(take(row, a.following)))
    for request in found:
        end(a, NOBODY, request, np.inf)
    a.decoding[slot] = a.context[slot] = a.reserved[slot] = 0
    return len(found)
