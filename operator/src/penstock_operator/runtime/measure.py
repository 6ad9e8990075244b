"""One tick's questions to the metrics source: the signals of all services, and now and then their latency histograms.

The number of queries does not depend on the number of services: one per kind for the signals, and for latencies one
per metric and window of the SLA, of at most MOST_WINDOWS windows at a time: of more, the rarer ones take turns. The
scrape interval, and with it the rate window, is asked from the source itself.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from penstock_operator.core import enginequeries
from penstock_operator.core.enginemetrics import PENSTOCK
from penstock_operator.core.ports import MetricsSource, Sample, Unavailable
from penstock_operator.core.recall import VERDICTS_QUERY, Past, judged_by_service, points_by_service
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
_IN_TURN = 2  # of these, for the windows that are not among the most common
HISTOGRAMS: Mapping[str, str] = {metric: names[0] for metric, names in PENSTOCK.histograms.items()}
AT_THE_DOOR: Mapping[str, str] = {
    "TTFT": "penstock_gateway_time_to_first_token_seconds",
    "TPOT": "penstock_gateway_time_per_output_token_seconds",
    "QueueWait": "penstock_gateway_queue_wait_seconds",
    "E2E": "penstock_gateway_e2e_seconds",
}
OF_WORKERS: Mapping[str, str] = {metric: enginequeries.buckets(metric, "increase") for metric in HISTOGRAMS}
OF_GATEWAYS: Mapping[str, str] = {
    metric: f"sum by (namespace, inferenceservice, le) (increase({name}_bucket[{{window}}]))"
    for metric, name in AT_THE_DOOR.items()
}
Buckets = Mapping[Key, Mapping[float, float]]
Verdicts = Mapping[Key, Mapping[tuple[str, float], tuple[float, float]]]


class Turns:
    """Which windows are measured this time: the most common ones always, the others one after the other.

    So no tenant can make the tick long for everybody, and none goes unmeasured.
    """

    def __init__(self) -> None:
        self._next = 0

    def due(self, wanted: Iterable[int]) -> set[int]:
        """At most MOST_WINDOWS of the windows.

        Args:
            wanted: seconds of the window of each objective.
        """
        counts = Counter(wanted)
        ranked = sorted(counts, key=lambda window: (-counts[window], window))
        if len(ranked) <= MOST_WINDOWS:
            return set(ranked)
        always, rest = ranked[: MOST_WINDOWS - _IN_TURN], sorted(ranked[MOST_WINDOWS - _IN_TURN :])
        first = self._next % len(rest)
        self._next = first + _IN_TURN
        return {*always, *(rest + rest)[first : first + _IN_TURN]}


class Measure:
    """Asks a metrics source."""

    def __init__(self, source: MetricsSource) -> None:
        self._source = source
        self._interval = _DEFAULT_INTERVAL_SECONDS
        self._of_histograms, self._of_verdicts = Turns(), Turns()
        self._histograms: dict[tuple[str, int], Buckets | Unavailable] = {}
        self._judged: dict[int, Verdicts | Unavailable] = {}

    @property
    def window_seconds(self) -> float:
        """The rate window, from the scrape interval as far as it is known."""
        return WINDOW_INTERVALS * self._interval

    async def view(self, now: float) -> View:
        """Answers for all services; where the first question found nobody, or took too long, the others are spared."""
        failure = await self._discover_interval()
        window = self.window_seconds
        texts = queries(window)
        answers: Sequence[tuple[Sample, ...] | Unavailable]
        if failure is not None and failure.silent:
            answers = [failure] * len(texts)
        else:
            answers = await asyncio.gather(*(self._source.instant(text) for text in texts.values()))
        return View(
            answers={kind: by_service(answer) for kind, answer in zip(texts, answers, strict=True)},
            now=now,
            window_seconds=window,
        )

    async def past(self, *, now: float, seconds: float, points: int) -> Past | Unavailable:
        """What a tick would have seen at moments of the last `seconds`, for all services; or why nobody knows.

        The moments are no further apart than the rate window, so that no request falls between two of them. With more
        than `points` of them the past is cut short instead.
        """
        await self._discover_interval()
        window = self.window_seconds
        step = float(max(1, min(math.ceil(seconds / points), math.floor(window))))
        end = float(math.floor(now))
        start = end - step * min(points, math.floor(seconds / step))
        answers: dict[str, Mapping[Key, Mapping[float, float]]] = {}
        # One after the other: a range answer for many services is large.
        for kind, text in queries(window, {**QUERIES, **DOOR_QUERIES}).items():
            answer = await self._source.range(text, start=start, end=end, step=step)
            if isinstance(answer, Unavailable):
                return answer
            answers[kind] = points_by_service(answer)
        (text,) = queries(window, {"judged": VERDICTS_QUERY}).values()
        verdicts = await self._source.range(text, start=start, end=end, step=step)
        judged = {} if isinstance(verdicts, Unavailable) else judged_by_service(verdicts)
        grid = tuple(start + number * step for number in range(round((end - start) / step) + 1))
        return Past(answers=answers, grid=grid, window_seconds=window, judged=judged)

    async def arrivals(
        self, *, start: float, end: float, step: float, gateways: bool
    ) -> Mapping[Key, Mapping[float, float]] | Unavailable:
        """Requests per second of all services, each the mean of the `step` seconds before its time.

        Args:
            start: Unix seconds.
            end: Unix seconds.
            step: seconds, at least a rate window.
            gateways: as these counted them, not the workers.
        """
        kind, texts = ("door_arrivals", DOOR_QUERIES) if gateways else ("arrivals", QUERIES)
        answer = await self._source.range(queries(step, texts)[kind], start=start, end=end, step=step)
        return answer if isinstance(answer, Unavailable) else points_by_service(answer)

    async def _discover_interval(self) -> Unavailable | None:
        answer = await self._source.instant(SCRAPE_INTERVAL_QUERY)
        if isinstance(answer, Unavailable):
            return answer
        if not answer:
            return None
        # A target younger than a minute counts too few scrapes, so only ever believe the shortest interval of late.
        self._interval = min(self._interval * 1.1, max(0.5, answer[0].value))
        return None

    async def histograms(self, wanted: Iterable[tuple[str, int]]) -> dict[tuple[str, int], Buckets | Unavailable]:
        """Cumulative buckets by (objective metric, window in seconds), for all services.

        Of a window whose turn it is not, what it had the last time. What the gateways measured is what clients saw, so
        it goes before what the workers measured.
        """
        every = list(wanted)
        windows = self._of_histograms.due(window for _, window in every)
        pairs = sorted({pair for pair in every if pair[1] in windows})
        asked = [
            (pair, text.format(window=f"{pair[1]}s"))
            for table in (OF_WORKERS, OF_GATEWAYS)
            for pair in pairs
            if (text := table.get(pair[0]))
        ]
        answers = await asyncio.gather(*(self._source.instant(text) for _, text in asked))
        found: dict[tuple[str, int], Buckets | Unavailable] = {}
        for (pair, _), answer in zip(asked, answers, strict=True):
            found[pair] = _merged(found.get(pair), _buckets(answer))
        kept = {pair: seen for pair, seen in self._histograms.items() if pair in set(every)}
        self._histograms = kept | found
        return dict(self._histograms)

    async def judged(self, wanted: Iterable[tuple[str, int]]) -> dict[int, Verdicts | Unavailable]:
        """(met, missed) as the gateways counted them, by window, service and (objective metric, percentile).

        They count what no histogram of answers holds: requests that were refused, failed or timed out are missed.
        """
        every = [window for _, window in wanted]
        windows = sorted(self._of_verdicts.due(every))
        texts = [
            "sum by (namespace, inferenceservice, metric, percentile, result) "
            f"(increase(penstock_gateway_objective_total[{window}s]))"
            for window in windows
        ]
        answers = await asyncio.gather(*(self._source.instant(text) for text in texts))
        found = {window: _verdicts(answer) for window, answer in zip(windows, answers, strict=True)}
        kept = {window: seen for window, seen in self._judged.items() if window in set(every)}
        self._judged = kept | found
        return dict(self._judged)


def _verdicts(answer: tuple[Sample, ...] | Unavailable) -> Verdicts | Unavailable:
    if isinstance(answer, Unavailable):
        return answer
    found: dict[Key, dict[tuple[str, float], tuple[float, float]]] = {}
    for sample in answer:
        labels, percentile = sample.labels, _bound(sample.labels.get("percentile", ""))
        key = (labels.get("namespace", ""), labels.get("inferenceservice", ""))
        if all(key) and percentile is not None:
            counts = found.setdefault(key, {})
            met, missed = counts.get((labels.get("metric", ""), percentile), (0.0, 0.0))
            if labels.get("result") == "met":
                met += sample.value
            elif labels.get("result") == "missed":
                missed += sample.value
            counts[labels.get("metric", ""), percentile] = (met, missed)
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
    judged: Mapping[int, Verdicts | Unavailable] = MappingProxyType({}),
) -> list[Attainment] | None:
    """Attainment of a service's objectives; None when neither counts nor a histogram of one could be had.

    Args:
        key: the service.
        objectives: its own.
        histograms: answers of `Measure.histograms`.
        window_seconds: of its SLA.
        judged: answers of `Measure.judged`; where the gateways judged requests, their counts stand.
    """
    verdicts = judged.get(window_seconds)
    counts = {} if verdicts is None or isinstance(verdicts, Unavailable) else verdicts.get(key, {})
    found: list[Attainment] = []
    for objective in objectives:
        buckets = histograms.get((objective.metric, window_seconds))
        met, missed = counts.get((objective.metric, objective.percentile), (0.0, 0.0))
        if met + missed <= 0 and (buckets is None or isinstance(buckets, Unavailable)):
            return None
        seen = {} if buckets is None or isinstance(buckets, Unavailable) else buckets.get(key, {})
        share = fraction_within(seen, objective.threshold_seconds) if met + missed <= 0 else met / (met + missed)
        found.append(Attainment(objective, share, quantile(seen, objective.percentile)))
    return found
