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
from penstock_operator.core.podview import Page, Round, page, view, wanted
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
        needing = [(key, terms.service.spec.runtime.engine) for key, terms in services if _needs(terms)]
        found = {key: (str(engine), ready) for key, engine in needing if (ready := self._ready(key))}
        self._known = {key: known for key, known in self._known.items() if key in found}
        due = self._due({key: len(ready) for key, (_, ready) in found.items()})
        pages = await self._pages([(pod, engine) for key in due for engine, ready in [found[key]] for pod in ready])
        for key in due:
            self._take(key, found[key][1], pages, window_seconds=window_seconds, now=now)
        views = {
            key: view(key, found[key][0], known, window_seconds=self._windows[key], now=now)
            for key, known in self._known.items()
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

        async def ask(pod: Manifest, engine: str) -> None:
            path = ENGINES[engine].metrics_path
            async with slots:
                samples = await self._workers.samples(pod["status"]["podIP"], wanted(engine), path=path)
            answer = None if samples is None else page(engine, samples, at=self._clock())
            if answer is not None:
                found[pod["metadata"]["uid"]] = answer

        try:
            async with asyncio.timeout(_DEADLINE_SECONDS):
                await asyncio.gather(*(ask(pod, engine) for pod, engine in asked))
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
            kept[uid] = (*(one for one in old if one.at >= now - window), *new)
        self._known[key] = Round(now, kept, frozenset(pages.keys() & kept.keys()))


def _needs(terms: Terms) -> bool:
    """Whether anything is decided of a service."""
    return terms.policy is not None and terms.policy.mode is not Mode.PAUSED
