"""Waiting times between restarts of a container, as a kubelet counts them.

The first restart is immediate, then `base`, doubling up to thirty times `base` (10 s and 5 min in a kubelet); a
container that ran for longer than twice the maximum starts anew.
"""

from __future__ import annotations

from typing import Final

_MAXIMUM_FACTOR: Final = 30.0


class Backoff:
    """The back-off of one container."""

    def __init__(self, base_seconds: float) -> None:
        self._base = base_seconds
        self._maximum = base_seconds * _MAXIMUM_FACTOR
        self._next: float | None = None

    def after(self, ran_seconds: float) -> float:
        """Return how long to wait after a run of this length."""
        if self._next is None or ran_seconds > 2 * self._maximum:
            self._next = self._base
            return 0.0
        delay, self._next = self._next, min(2 * self._next, self._maximum)
        return delay
