"""What the workers' own pages tell while the metrics source is away, as answers to the questions it is asked.

Rates come from these pages alone, never from a page and an older answer of the source. As there, a counter that falls
began again at zero, and a pod that misses a round keeps its rate while two of its pages are inside the window, but not
its gauges. A pod reports when it answered the last round *and* has a rate: of one that does not, nothing is known, and
nothing is removed then. Until the pages span half a window, and while nobody answers, there is no view at all.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from penstock_operator.core.scaling.signals import COUNTERS, GAUGES, Key, View

METRICS = (*COUNTERS.values(), *GAUGES.values())
_LEAST_SHARE = 0.5  # of the window


@dataclass(frozen=True, slots=True)
class Page:
    """What one pod answered.

    Attributes:
        at: Unix seconds of the answer.
        values: by metric name, summed over the pod's series.
    """

    at: float
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Round:
    """What is known of a service's pods after they were asked.

    Attributes:
        at: Unix seconds of the last round.
        pages: of each pod, oldest first.
        answered: pods that answered the last round.
    """

    at: float
    pages: Mapping[str, Sequence[Page]]
    answered: frozenset[str]


def view(key: Key, seen: Round, *, window_seconds: float, now: float) -> View | None:
    """Answers for one service, as the metrics source would have given them; None before there are enough pages.

    Args:
        key: (namespace, name) of the service.
        seen: what its pods said.
        window_seconds: pages older than that do not count.
        now: Unix seconds.
    """
    inside = {pod: [page for page in pages if page.at >= seen.at - window_seconds] for pod, pages in seen.pages.items()}
    rated = {pod: pages for pod, pages in inside.items() if len(pages) > 1 and pages[-1].at > pages[0].at}
    span = max((pages[-1].at - pages[0].at for pages in rated.values()), default=0.0)
    reporting = [rated[pod] for pod in sorted(seen.answered & rated.keys())]
    if span < _LEAST_SHARE * window_seconds or not reporting:
        return None
    found: dict[str, float] = {"age": max(0.0, now - seen.at), "reporting": float(len(reporting))}
    for kind, name in COUNTERS.items():
        if all(name in page.values for pages in rated.values() for page in pages):
            found[kind] = sum(_rate(pages, name) for pages in rated.values())
    for kind, name in GAUGES.items():
        if all(name in pages[-1].values for pages in reporting):
            found[kind] = sum(pages[-1].values[name] for pages in reporting)
    kinds = (*COUNTERS, *GAUGES, "age", "reporting")
    answers = {kind: {key: found[kind]} if kind in found else {} for kind in kinds}
    return View(answers, now, window_seconds=span)


def _rate(pages: Sequence[Page], name: str) -> float:
    """Growth per second from the first to the last page."""
    grown = 0.0
    for before, after in itertools.pairwise(page.values[name] for page in pages):
        grown += after - before if after >= before else after
    return grown / (pages[-1].at - pages[0].at)
