"""What a metrics source would show of a simulated service: counters as of the last scrapes, never the truth of now.

A pod is scraped from its readiness on. Rates are per pod over its own samples inside the window and then summed, as
`sum(rate(counter[window]))` is; a pod that has only one sample in it has no rate yet. Samples are kept for longer than
the window, for the queries that look back further.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numba import njit

from penstock_lab.simulate.pods import Pod
from penstock_lab.simulate.state import Arrays, Counter, Floats

_GAUGES = 4
RUNNING, WAITING, KV_USED, QUEUED_TOKENS = (len(Counter) + number for number in range(_GAUGES))
_KEPT_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Page:
    """One scrape of one pod.

    Attributes:
        at: seconds.
        values: counters, then running, waiting, used KV tokens, and tokens that the waiting still need computed.
        pod: its number.
    """

    at: float
    values: Floats
    pod: int = 0


@dataclass(frozen=True, slots=True)
class Sums:
    """What a query over all pods gives.

    Attributes:
        rates: counters per second, by `Counter`; zeros while nobody has two samples.
        running: requests in batches.
        waiting: requests in the replicas' queues.
        kv_used: tokens in the caches.
        reporting: pods with a sample.
        observed_at: time of the newest sample; None without one.
    """

    rates: Floats
    running: float
    waiting: float
    kv_used: float
    reporting: int
    observed_at: float | None


class Scrapes:
    """The samples of one service inside the rate window."""

    def __init__(self, *, interval_seconds: float, window_seconds: float) -> None:
        self.interval_seconds = interval_seconds
        self.window_seconds = window_seconds
        self._pages: dict[int, deque[Page]] = {}
        self._sums: Sums | None = None

    def take(self, pods: list[Pod], fleet: Arrays, now: float) -> None:
        """Scrape every ready pod; a pod that is gone leaves no sample behind."""
        kept: dict[int, deque[Page]] = {}
        for pod in pods:
            if pod.ready is None:
                continue
            pages = kept[pod.number] = self._pages.get(pod.number, deque())
            pages.append(Page(now, _values(fleet, pod.slot), pod.number))
            while pages[0].at < now - max(self.window_seconds, _KEPT_SECONDS):
                pages.popleft()
        self._pages, self._sums = kept, None

    def sums(self) -> Sums:
        """Of the last scrape."""
        if self._sums is None:
            self._sums = self._summed()
        return self._sums

    def pages(self) -> list[Page]:
        """The newest sample of each pod."""
        return [pages[-1] for pages in self._pages.values()]

    def history(self) -> list[deque[Page]]:
        """All kept samples of each pod, oldest first; not to be changed."""
        return list(self._pages.values())

    def _summed(self) -> Sums:
        rates, gauges = np.zeros(len(Counter)), np.zeros(_GAUGES)
        for pages in self._pages.values():
            last = pages[-1]
            first = next(page for page in pages if page.at >= last.at - self.window_seconds)
            gauges += last.values[len(Counter) :]
            covered = last.at - first.at
            if covered > 0:
                # A series that begins inside the window is extrapolated by half an interval to both sides only.
                share = min(1.0, (covered + self.interval_seconds) / self.window_seconds)
                rates += (last.values[: len(Counter)] - first.values[: len(Counter)]) / covered * share
        newest = max((pages[-1].at for pages in self._pages.values()), default=None)
        return Sums(rates, float(gauges[0]), float(gauges[1]), float(gauges[2]), len(self._pages), newest)


def probe(pods: list[Pod], fleet: Arrays, now: float) -> list[Page]:
    """What every ready pod answers when it is asked right now, past any metrics source."""
    return [Page(now, _values(fleet, pod.slot), pod.number) for pod in pods if pod.ready is not None]


@njit(cache=True)
def _queued_tokens(a: Arrays, slot: int) -> int:
    """Tokens that the waiting requests of a replica still need computed."""
    tokens, request = 0, a.queue[slot, 0]
    for _ in range(a.queue[slot, 2]):
        tokens += a.prompt[request] + a.generated[request] - a.cached[request]
        request = a.following[request]
    return int(tokens)


def _values(fleet: Arrays, slot: int) -> Floats:
    waiting = fleet.queue[slot, 2]
    running = fleet.prefill[slot, 2] + fleet.decoding[slot]
    gauges = (running, waiting, fleet.context[slot] + fleet.reserved[slot], _queued_tokens(fleet, slot))
    return np.concatenate([fleet.counters[slot], gauges])
