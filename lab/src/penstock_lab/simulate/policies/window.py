"""A sliding window of samples: what most rivals smooth, or stabilise, with.

A sample is inside while it is at most `seconds` old. Without a sample there is no mean and no extreme: None.
"""

from __future__ import annotations

from collections import deque


class Window:
    """(seconds, value) of the last `seconds`."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._samples: deque[tuple[float, float]] = deque()

    def add(self, now: float, value: float) -> None:
        """Take a sample in; times ascend."""
        self._samples.append((now, value))
        self.trim(now)

    def trim(self, now: float) -> None:
        """Let go of what is too old."""
        while self._samples and self._samples[0][0] < now - self.seconds:
            self._samples.popleft()

    def items(self) -> list[tuple[float, float]]:
        """(seconds, value) of those inside."""
        return list(self._samples)

    def values(self, *, since: float | None = None) -> list[float]:
        """Those inside, or of them those from a time on."""
        return [value for at, value in self._samples if since is None or at >= since]

    def mean(self, *, since: float | None = None) -> float | None:
        """Their mean; None without any."""
        values = self.values(since=since)
        return sum(values) / len(values) if values else None

    def __len__(self) -> int:
        return len(self._samples)
