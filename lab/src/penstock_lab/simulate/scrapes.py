"""What a metrics source would show of a simulated service: counters as of the last scrapes, never the truth of now.

A pod is scraped from its readiness on. Rates are per pod over its own samples inside the window and then summed, as
`sum(rate(counter[window]))` is; a pod that has only one sample in it has no rate yet, and a counter that falls was
reset. A pod whose scrape fails loses its gauges at once and its rates when its samples leave the window. Samples are
kept for longer than the window, for the queries that look back further.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from penstock_lab.simulate.compiled import compiled
from penstock_lab.simulate.pods import Pod
from penstock_lab.simulate.state import Arrays, Counter, Floats, Ints

_GAUGES, _COUNTERS = 4, len(Counter)
RUNNING, WAITING, KV_USED, QUEUED_TOKENS = (_COUNTERS + number for number in range(_GAUGES))
_KEPT_SECONDS = 300.0
_LOOKBACK_SECONDS = 300.0
RATES: Mapping[str, int] = {
    "arrivals": Counter.ARRIVED,
    "prompt_tokens": Counter.PROMPT_TOKENS,
    "generated_tokens": Counter.GENERATED_TOKENS,
    "finished": Counter.FINISHED,
    "steps": Counter.STEPS,
    "step_seconds": Counter.STEP_SECONDS,
    "decode_sequences": Counter.DECODE_SEQUENCE_STEPS,
    "prefill_tokens": Counter.PREFILL_TOKENS,
}
"""Columns of the rates, by the names of the operator's queries."""
SIGNALS: Mapping[str, int] = {**RATES, "waiting": WAITING, "running": RUNNING, "kv_used": KV_USED}


class Health(StrEnum):
    """How far a scraped signal can be had."""

    FRESH = "Fresh"
    STALE = "Stale"
    EMPTY = "Empty"  # the source answers, and has no series
    ERROR = "Error"  # the source does not answer


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
        rates: counters per second, by `Counter`; zeros while nobody has two samples, and `health` says so.
        running: requests in batches.
        waiting: requests in the replicas' queues.
        kv_used: tokens in the caches.
        reporting: pods with a sample.
        observed_at: time of the newest sample; None without one.
        health: of the signals (names of `SIGNALS`) that cannot be had; their values are 0.
    """

    rates: Floats
    running: float
    waiting: float
    kv_used: float
    reporting: int
    observed_at: float | None
    health: Mapping[str, Health] = field(default_factory=dict)


class Scrapes:
    """The samples of one service inside the rate window."""

    def __init__(self, *, interval_seconds: float, window_seconds: float) -> None:
        self.interval_seconds = interval_seconds
        self.window_seconds = window_seconds
        self._pages: dict[int, deque[Page]] = {}
        self._sums: Sums | None = None
        self._round = self._now = -np.inf
        self._bases: dict[int, Floats] = {}

    def take(self, pods: Sequence[Pod], fleet: Arrays, now: float, lost: frozenset[int] = frozenset()) -> None:
        """Scrape every ready pod; a pod that is gone leaves no sample behind.

        Args:
            pods: that there are.
            fleet: what they count.
            now: seconds.
            lost: numbers of those whose scrape fails.
        """
        kept: dict[int, deque[Page]] = {}
        ready = [pod for pod in pods if pod.ready is not None]
        for pod, values in zip(ready, _values(fleet, ready), strict=True):
            if pod.number in lost:
                if pod.number in self._pages:
                    kept[pod.number] = self._pages[pod.number]
                continue
            pages = kept[pod.number] = self._pages.get(pod.number, deque())
            base = self._bases.get(pod.number)
            if base is not None:
                values[: len(Counter)] -= base
            pages.append(Page(now, values, pod.number))
            while pages[0].at < now - max(self.window_seconds, _KEPT_SECONDS):
                pages.popleft()
        self._pages, self._sums, self._round, self._now = kept, None, now, now

    def miss(self, now: float) -> None:
        """A round that did not take place: what there is grows older."""
        self._now, self._sums = now, None

    def reset(self, pods: Sequence[Pod], fleet: Arrays) -> None:
        """The counters of every ready pod begin again at zero, as after a restart of what exports them."""
        for pod in pods:
            if pod.ready is not None:
                self._bases[pod.number] = fleet.counters[pod.slot].copy()

    def forget(self, pod: Pod) -> None:
        """The counters of a pod whose container starts again are at zero by themselves."""
        self._bases.pop(pod.number, None)

    def sums(self) -> Sums:
        """Of the last scrape."""
        if self._sums is None:
            self._sums = self._summed()
        return self._sums

    def pages(self) -> list[Page]:
        """The newest sample of each pod that was scraped in the last round."""
        return [pages[-1] for pages in self._pages.values() if pages[-1].at == self._round]

    def history(self) -> list[deque[Page]]:
        """All kept samples of each pod, oldest first; not to be changed."""
        return list(self._pages.values())

    def _summed(self) -> Sums:
        rates, gauges = np.zeros(len(Counter)), np.zeros(_GAUGES)
        rated, reporting = 0, 0
        for pages in self._pages.values():
            last = pages[-1]
            if last.at == self._round and last.at >= self._now - _LOOKBACK_SECONDS:
                gauges += last.values[len(Counter) :]
                reporting += 1
            inside = [page for page in pages if page.at >= self._now - self.window_seconds]
            if len(inside) > 1:
                # A series that begins inside the window is extrapolated by half an interval to both sides only.
                covered = last.at - inside[0].at
                share = min(1.0, (covered + self.interval_seconds) / self.window_seconds)
                rates += _grown(inside) / covered * share
                rated += 1
        health = {} if rated else dict.fromkeys(RATES, Health.EMPTY)
        if not reporting:
            health |= dict.fromkeys(SIGNALS.keys() - RATES.keys(), Health.EMPTY)
        observed = self._round if reporting else None
        return Sums(rates, float(gauges[0]), float(gauges[1]), float(gauges[2]), reporting, observed, health)


def probe(pods: list[Pod], fleet: Arrays, now: float) -> list[Page]:
    """What every ready pod answers when it is asked right now, past any metrics source."""
    ready = [pod for pod in pods if pod.ready is not None]
    return [Page(now, values, pod.number) for pod, values in zip(ready, _values(fleet, ready), strict=True)]


def _grown(pages: Sequence[Page]) -> Floats:
    """What the counters grew by from the first to the last sample; one that falls began again at zero."""
    size = len(Counter)
    growth = pages[-1].values[:size] - pages[0].values[:size]
    for before, after in itertools.pairwise(pages):
        fallen = after.values[:size] < before.values[:size]
        if fallen.any():
            growth[fallen] += before.values[:size][fallen]
    return growth


@compiled
def _read(a: Arrays, slots: Ints, values: Floats) -> None:
    for row in range(len(slots)):
        slot = slots[row]
        for column in range(_COUNTERS):
            values[row, column] = a.counters[slot, column]
        values[row, RUNNING] = a.prefill[slot, 2] + a.decoding[slot]
        values[row, WAITING] = a.queue[slot, 2]
        values[row, KV_USED] = a.context[slot] + a.reserved[slot]
        tokens, request = 0, a.queue[slot, 0]
        for _ in range(a.queue[slot, 2]):
            tokens += a.prompt[request] + a.generated[request] - a.cached[request]
            request = a.following[request]
        values[row, QUEUED_TOKENS] = tokens


def _values(fleet: Arrays, pods: Sequence[Pod]) -> Floats:
    """[pods, columns of a page] of now."""
    values = np.empty((len(pods), _COUNTERS + _GAUGES))
    _read(fleet, np.array([pod.slot for pod in pods], dtype=np.int64), values)
    return values
