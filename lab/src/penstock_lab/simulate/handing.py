"""Who of those that wait at the gateway is next, and which replica may have it, compiled.

As `penstock_gateway.pool` and `waiting` have it: the rules are written there, the numbers are the contract's.
"""

from __future__ import annotations

from penstock_contract.pace import LATE_TURN
from penstock_lab.simulate.compiled import inlined
from penstock_lab.simulate.queues import append, take
from penstock_lab.simulate.state import Arrays, Counter

_ARRIVED, _TURN = int(Counter.ARRIVED), int(LATE_TURN)


@inlined
def sequences(a: Arrays, slot: int) -> int:
    """That a replica has."""
    return int(a.queue[slot, 2] + a.prefill[slot, 2] + a.decoding[slot])


@inlined
def takes(a: Arrays, slot: int) -> bool:
    """It may be handed another request."""
    return bool(a.accepts[slot] and sequences(a, slot) < min(float(a.limits[3]), a.held[0]))


@inlined
def hand(a: Arrays, slot: int, now: float) -> bool:
    """Hand a replica the next request that has arrived: one in time first, a late one in its turn; False if none."""
    while a.central[2] and a.arrival[a.central[0]] < now - a.held[1]:
        append(a.late, a.following, take(a.central, a.following))
    in_time = a.central[2] > 0 and a.arrival[a.central[0]] <= now
    if not in_time and not a.late[2]:
        return False
    from_late = not in_time
    if a.late[2] and a.arrival[a.late[0]] < now - a.held[2]:
        a.late[3] += 1
        from_late = from_late or a.late[3] % _TURN == 0
    append(a.queue[slot], a.following, take(a.late if from_late else a.central, a.following))
    a.counters[slot, _ARRIVED] += 1
    return True
