"""The gateways of a simulated service: what they count of its requests, and how many of them they hand on.

They hold requests as the real ones do when `paced`: no more sequences for a replica than their time per token allows,
by the same `penstock_contract.pace`, and first those whose first token can still be in time.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from penstock_contract.names import PROMPT_LENGTH_BITS
from penstock_contract.pace import LATE_SHARE, OVERDUE_SHARE, Pace
from penstock_lab.simulate.policies.base import Door
from penstock_lab.simulate.state import Arrays, Ints, Requests, waiting

_WINDOW_SECONDS = 15.0
_HOLD_SECONDS = 120.0  # `routing.holdTimeoutSeconds` unless a service says otherwise
_JUDGED = ("TTFT", "TPOT")


class Gateways:
    """What the gateways know.

    Args:
        fleet: all of it; the thresholds are those that are aimed at.
        requests: that will come.
        paced: hold requests so that the thresholds can be kept.
    """

    def __init__(self, fleet: Arrays, requests: Requests, *, paced: bool) -> None:
        self._fleet = fleet
        self._requests = requests
        self._prompts: Ints = np.concatenate([[0], np.cumsum(requests.prompt)])
        self._seen: deque[tuple[float, int, int]] = deque()
        self._lengths: Ints = np.zeros(PROMPT_LENGTH_BITS, dtype=np.int64)
        self._pace = Pace() if paced else None
        self._learned_at = 0.0
        if paced:
            fleet.held[1:] = LATE_SHARE * fleet.thresholds[0], OVERDUE_SHARE * _HOLD_SECONDS

    @property
    def mean_output(self) -> float:
        """Mean output tokens of what has ended."""
        ended, tokens = self._fleet.ended_count
        return max(1.0, float(tokens) / max(1, int(ended)))

    @property
    def objectives(self) -> tuple[tuple[str, float, float], ...]:
        """(metric, met, missed) so far."""
        judged = self._fleet.judged
        return tuple((name, float(judged[row, 0]), float(judged[row, 1])) for row, name in enumerate(_JUDGED))

    def learn(self, now: float) -> None:
        """Draw from the answers that ended how many sequences a replica is handed."""
        if self._pace is None:
            return
        fleet = self._fleet
        count, sequences, seconds, squares, products = fleet.paced.tolist()
        self._pace.sums = (count, sequences, seconds, squares, products)
        self._pace.fold(now - self._learned_at)
        fleet.paced[:], self._learned_at = 0.0, now
        fleet.held[0] = self._pace.most(float(fleet.thresholds[1]))

    def door(self, now: float) -> Door:
        """What they answer when they are asked."""
        arrived, seen = int(self._fleet.central[3]), self._seen
        seen.append((now, arrived, int(self._prompts[arrived])))
        while len(seen) > 2 and seen[1][0] <= now - _WINDOW_SECONDS:
            seen.popleft()
        start, window = seen[0], now - seen[0][0]
        rates: tuple[float | None, float | None] = (None, None)
        if window > 0:
            rates = ((arrived - start[1]) / window, (int(self._prompts[arrived]) - start[2]) / window)
        held = float(waiting(self._fleet))
        in_flight = arrived - held - float(self._fleet.ended_count[0])
        return Door(rates[0], rates[1], held, in_flight, window, self.objectives, self._prompt_lengths(arrived))

    def _prompt_lengths(self, arrived: int) -> tuple[float, ...]:
        """Arrivals so far by the bits of their prompt's length."""
        new = self._requests.prompt[int(self._lengths.sum()) : arrived]
        bits = np.minimum(PROMPT_LENGTH_BITS - 1, np.frexp(new.astype(np.float64))[1])
        self._lengths += np.bincount(bits, minlength=PROMPT_LENGTH_BITS)
        return tuple(self._lengths.tolist())
