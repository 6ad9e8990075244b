"""One tick's questions to the metrics source: the signals of all services, and now and then their latency histograms.

The number of queries does not depend on the number of services: one per kind for the signals, and for latencies one
per metric and window of the SLA, of at most MOST_WINDOWS windows. The scrape interval, and with it the rate window, is
asked from the source itself.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Iterable, Mapping

from penstock_operator.core.ports import MetricsSource, Sample, Unavailable
from penstock_operator.core.recall import Past, points_by_service
from penstock_operator.core.scaling.signals import (
    DOOR_QUERIES,
    QUERIES,
    SCRAPE_INTERVAL_QUERY,
    WINDOW_INTERVALS,
    Key,
    View,
    by_service,
    queries,
)
from penstock_operator.core.sla import Attainment, Objective, fraction_within, quantile

_DEFAULT_INTERVAL_SECONDS = 15.0
MOST_WINDOWS = 6
HISTOGRAMS: Mapping[str, str] = {
    "TTFT": "penstock_worker_time_to_first_token_seconds",
    "TPOT": "penstock_worker_time_per_output_token_seconds",
    "ITL": "penstock_worker_inter_token_latency_seconds",
    "QueueWait": "penstock_worker_queue_wait_seconds",
    "E2E": "penstock_worker_e2e_seconds",
}
AT_THE_DOOR: Mapping[str, str] = {
    "TTFT": "penstock_gateway_time_to_first_token_seconds",
    "TPOT": "penstock_gateway_time_per_output_token_seconds",
    "QueueWait": "penstock_gateway_queue_wait_seconds",
    "E2E": "penstock_gateway_e2e_seconds",
}
Buckets = Mapping[Key, Mapping[float, float]]


class Measure:
    """Asks a metrics source."""

    def __init__(self, source: MetricsSource) -> None:
        self._source = source
        self._interval = _DEFAULT_INTERVAL_SECONDS

    @property
    def window_seconds(self) -> float:
        """The rate window, from the scrape interval as far as it is known."""
        return WINDOW_INTERVALS * self._interval

    async def view(self, now: float) -> View:
        """Answers for all services."""
        await self._discover_interval()
        window = self.window_seconds
        texts = queries(window)
        answers = await asyncio.gather(*(self._source.instant(text) for text in texts.values()))
        return View(
            answers={kind: by_service(answer) for kind, answer in zip(texts, answers, strict=True)},
            now=now,
            window_seconds=window,
        )

    async def past(self, *, now: float, seconds: float, points: int) -> Past:
        """What a tick would have seen at about `points` moments of the last `seconds`, for all services."""
        await self._discover_interval()
        window = self.window_seconds
        step = float(max(1, math.ceil(seconds / points)))
        end = float(math.floor(now))
        start = end - step * math.floor(seconds / step)
        texts = queries(window, {**QUERIES, **DOOR_QUERIES})
        # One after the other: a range answer for many services is large.
        answers = {
            kind: points_by_service(await self._source.range(text, start=start, end=end, step=step))
            for kind, text in texts.items()
        }
        grid = tuple(start + number * step for number in range(round((end - start) / step) + 1))
        return Past(answers=answers, grid=grid, window_seconds=window)

    async def _discover_interval(self) -> None:
        answer = await self._source.instant(SCRAPE_INTERVAL_QUERY)
        if isinstance(answer, Unavailable) or not answer:
            return
        # A target younger than a minute counts too few scrapes, so only ever believe the shortest interval of late.
        self._interval = min(self._interval * 1.1, max(0.5, answer[0].value))

    async def histograms(self, wanted: Iterable[tuple[str, int]]) -> dict[tuple[str, int], Buckets | Unavailable]:
        """Cumulative buckets by (objective metric, window in seconds), for all services.

        Of more than MOST_WINDOWS different windows the rarest are not measured, so that no tenant can make the tick
        long for everybody. What the gateways measured is what clients saw, so it goes before what the workers measured.
        """
        wanted = list(wanted)
        common = {window for window, _ in Counter(window for _, window in wanted).most_common(MOST_WINDOWS)}
        pairs = sorted({pair for pair in wanted if pair[1] in common})
        asked = [(pair, table[pair[0]]) for table in (HISTOGRAMS, AT_THE_DOOR) for pair in pairs if pair[0] in table]
        texts = [
            f"sum by (namespace, inferenceservice, le) (increase({name}_bucket[{window}s]))"
            for (_, window), name in asked
        ]
        answers = await asyncio.gather(*(self._source.instant(text) for text in texts))
        found: dict[tuple[str, int], Buckets | Unavailable] = {}
        for (pair, _), answer in zip(asked, answers, strict=True):
            found[pair] = _merged(found.get(pair), _buckets(answer))
        return found


def _merged(workers: Buckets | Unavailable | None, gateways: Buckets | Unavailable) -> Buckets | Unavailable:
    """Where the gateways saw requests, theirs; a table that could not be had leaves the other."""
    if workers is None or isinstance(workers, Unavailable):
        return gateways
    if isinstance(gateways, Unavailable):
        return workers
    return {**workers, **{key: seen for key, seen in gateways.items() if seen.get(math.inf)}}


def _buckets(answer: tuple[Sample, ...] | Unavailable) -> Buckets | Unavailable:
    if isinstance(answer, Unavailable):
        return answer
    found: dict[Key, dict[float, float]] = {}
    for sample in answer:
        labels, bound = sample.labels, _bound(sample.labels.get("le", ""))
        if labels.get("namespace") and labels.get("inferenceservice") and bound is not None:
            buckets = found.setdefault((labels["namespace"], labels["inferenceservice"]), {})
            buckets[bound] = buckets.get(bound, 0.0) + sample.value  # "1" and "1.0" are one bound
    return found


def _bound(text: str) -> float | None:
    """Upper bound of a bucket; None for a label that holds none: workers may export whatever they like."""
    try:
        bound = float(text)
    except ValueError:
        return None
    return bound if bound > -math.inf else None


def attainment(
    key: Key,
    objectives: Iterable[Objective],
    histograms: Mapping[tuple[str, int], Buckets | Unavailable],
    *,
    window_seconds: int,
) -> list[Attainment] | None:
    """Attainment of a service's objectives; None when no histogram of it could be had."""
    found: list[Attainment] = []
    for objective in objectives:
        buckets = histograms.get((objective.metric, window_seconds))
        if buckets is None or isinstance(buckets, Unavailable):
            return None
        seen = buckets.get(key, {})
        share = fraction_within(seen, objective.threshold_seconds)
        found.append(Attainment(objective, share, quantile(seen, objective.percentile)))
    return found
