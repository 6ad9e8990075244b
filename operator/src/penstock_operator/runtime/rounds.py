"""Asks workers themselves while the metrics source is away.

Only services that are scaled are in need, and only their ready pods are asked, at the addresses that the cache knows. A
round has a deadline, so many questions at a time and so many pods at most: with more of them services take turns, whole
ones, since half a service tells nothing that may remove a replica.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from penstock_operator.adapters.workers import WorkerScraper
from penstock_operator.core import pods
from penstock_operator.core.engines import ENGINES
from penstock_operator.core.podview import METRICS, Page, Round, view
from penstock_operator.core.scaling.signals import View
from penstock_operator.core.scaling.types import LONGEST_GAP_SECONDS, Mode
from penstock_operator.runtime.cache import Cache, Key
from penstock_operator.runtime.metrics import Metrics
from penstock_operator.runtime.terms import Terms

Manifest = dict[str, Any]
MOST_PODS = 400
_AT_ONCE = 32
_DEADLINE_SECONDS = 3.0
_WINDOW_GAPS = 3.0


class Rounds:
    """The pages of the last rounds, by service."""

    def __init__(
        self,
        cache: Cache,
        workers: WorkerScraper,
        metrics: Metrics,
        *,
        clock: Callable[[], float],
        most: int = MOST_PODS,
    ) -> None:
        self._cache = cache
        self._workers = workers
        self._metrics = metrics
        self._clock = clock
        self._most = most
        self._known: dict[Key, Round] = {}
        self._windows: dict[Key, float] = {}

    def forget(self) -> None:
        """The metrics source is back: the next time everything begins anew."""
        self._known.clear()
        self._windows.clear()

    async def ask(
        self, services: Sequence[tuple[Key, Terms]], *, window_seconds: float, now: float
    ) -> Mapping[Key, View]:
        """One round, and what the pods of each service tell; services that too little is known of are left out.

        Args:
            services: all of them, with their terms.
            window_seconds: rate window; longer ones serve where rounds are far between.
            now: Unix seconds.
        """
        found = {
            key: (path, ready) for key, terms in services if (path := _path(terms)) and (ready := self._ready(key))
        }
        self._known = {key: known for key, known in self._known.items() if key in found}
        due = self._due({key: len(ready) for key, (_, ready) in found.items()})
        pages = await self._pages([(pod, path) for key in due for path, ready in [found[key]] for pod in ready])
        for key in due:
            self._take(key, found[key][1], pages, window_seconds=window_seconds, now=now)
        views = {
            key: view(key, known, window_seconds=self._windows[key], now=now) for key, known in self._known.items()
        }
        return {key: one for key, one in views.items() if one is not None}

    def _ready(self, key: Key) -> list[Manifest]:
        live = pods.live(self._cache.pods(key))
        return [pod for pod in live if pods.is_ready(pod) and pod["status"].get("podIP")]

    def _due(self, sizes: Mapping[Key, int]) -> list[Key]:
        """The services of this round: those that were asked longest ago, as many as fit."""
        order = sorted(sizes, key=lambda key: (self._known[key].at if key in self._known else 0.0, key))
        chosen, total = list[Key](), 0
        for key in order:
            if chosen and total + sizes[key] > self._most:
                break
            chosen.append(key)
            total += sizes[key]
        return chosen

    async def _pages(self, asked: Sequence[tuple[Manifest, str]]) -> dict[str, Page]:
        """Answers by the pod's uid; who does not answer in time has none."""
        slots, found = asyncio.Semaphore(_AT_ONCE), dict[str, Page]()

        async def ask(pod: Manifest, path: str) -> None:
            async with slots:
                values = await self._workers.values(pod["status"]["podIP"], METRICS, path=path)
            if values is not None:
                found[pod["metadata"]["uid"]] = Page(self._clock(), values)

        try:
            async with asyncio.timeout(_DEADLINE_SECONDS):
                await asyncio.gather(*(ask(pod, path) for pod, path in asked))
        except TimeoutError:
            pass
        self._metrics.add("pod_scrapes", len(found), "answered")
        self._metrics.add("pod_scrapes", len(asked) - len(found), "failed")
        return found

    def _take(
        self, key: Key, ready: Sequence[Manifest], pages: Mapping[str, Page], *, window_seconds: float, now: float
    ) -> None:
        before = self._known.get(key)
        gap = 0.0 if before is None else now - before.at
        window = self._windows[key] = max(window_seconds, _WINDOW_GAPS * gap)
        kept: dict[str, Sequence[Page]] = {}
        for uid in (pod["metadata"]["uid"] for pod in ready):
            old = () if before is None or gap > LONGEST_GAP_SECONDS else before.pages.get(uid, ())
            new = () if uid not in pages else (pages[uid],)
            kept[uid] = (*(page for page in old if page.at >= now - window), *new)
        self._known[key] = Round(now, kept, frozenset(pages.keys() & kept.keys()))


def _path(terms: Terms) -> str | None:
    """Where a service's workers export what decisions are made of; None where none is made, or it is not known."""
    if terms.policy is None or terms.policy.mode is Mode.PAUSED or terms.service.spec.runtime.engine != "Penstock":
        return None
    return ENGINES[terms.service.spec.runtime.engine].metrics_path
