"""More or fewer requests at the same clock: whole copies, each moved by some seconds, and a thinned one.

What would come before the beginning is mirrored at it: cut off there it would all come at once, as a burst that the
trace does not have and that no policy could have seen coming.
"""

from __future__ import annotations

import numpy as np

from penstock_lab.simulate.state import Ints, Requests

_JITTER_SECONDS = 30.0


def scaled(requests: Requests, scale: float, *, seed: int) -> Requests:
    """A trace at another rate.

    Args:
        requests: the trace.
        scale: requests for each of the trace.
        seed: of the draws.
    """
    if scale == 1.0:
        return requests
    dice = np.random.default_rng(seed)
    chosen: list[Ints] = [np.arange(len(requests)) for _ in range(int(scale))]
    chosen.append(np.flatnonzero(dice.random(len(requests)) < scale - int(scale)))
    moved = [
        np.abs(requests.arrival[rows] + (dice.uniform(-1, 1, len(rows)) * _JITTER_SECONDS if number else 0.0))
        for number, rows in enumerate(chosen)
    ]
    arrival, rows = np.concatenate(moved), np.concatenate(chosen)
    order = np.argsort(arrival, kind="stable")
    picked = rows[order]
    return Requests(arrival[order], requests.prompt[picked], requests.output[picked], requests.cached[picked])
