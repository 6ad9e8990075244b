"""Linked lists and heaps on arrays, compiled: the queues of the engine.

A list is a row (head, tail, length) with the next of each request in `following`; a heap is a pair of columns, ordered
by key. Nothing is checked: taking from an empty list is the caller's mistake.
"""

from __future__ import annotations

from typing import Any

from penstock_lab.simulate.compiled import compiled, inlined
from penstock_lab.simulate.state import NOBODY


@compiled
def append(row: Any, following: Any, request: int) -> None:
    """Put a request at the end of a list."""
    following[request] = NOBODY
    if row[2] == 0:
        row[0] = request
    else:
        following[row[1]] = request
    row[1] = request
    row[2] += 1


@inlined
def prepend(row: Any, following: Any, request: int) -> None:
    """Put a request at the head of a list."""
    following[request] = row[0] if row[2] else NOBODY
    if row[2] == 0:
        row[1] = request
    row[0] = request
    row[2] += 1


@compiled
def take(row: Any, following: Any) -> int:
    """The head of a list, taken off."""
    request = row[0]
    row[0] = following[request]
    row[2] -= 1
    if row[2] == 0:
        row[1] = NOBODY
    return int(request)


@inlined
def rise(keys: Any, requests: Any, place: int) -> None:
    """Move an element of a heap up to its place."""
    while place > 0:
        above = (place - 1) // 2
        if keys[above] <= keys[place]:
            return
        keys[above], keys[place] = keys[place], keys[above]
        requests[above], requests[place] = requests[place], requests[above]
        place = above


@inlined
def sink(keys: Any, requests: Any, place: int, size: int) -> None:
    """Move an element of a heap down to its place."""
    while True:
        least = place
        for below in (2 * place + 1, 2 * place + 2):
            if below < size and keys[below] < keys[least]:
                least = below
        if least == place:
            return
        keys[least], keys[place] = keys[place], keys[least]
        requests[least], requests[place] = requests[place], requests[least]
        place = least
