"""What the workers' own pages tell while the metrics source is away, as answers to the questions it is asked.

The questions are those of `core.enginemetrics`, worked out here on pages instead of by PromQL. Rates come from these
pages alone, never from a page and an older answer of the source. As there, a counter that falls began again at zero,
and a pod that misses a round keeps its rates while two of its pages are inside the window, but not its gauges. A pod
reports when it answered the last round *and* has rates: of one that does not, nothing is known, and nothing is removed
then. Until the pages span half a window, and while nobody answers, there is no view at all.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from penstock_operator.core.enginemetrics import METRICS, Formula, Read, Term
from penstock_operator.core.ports import Sample
from penstock_operator.core.scaling.signals import QUERIES, Key, View

_LEAST_SHARE = 0.5  # of the window
_MATCHER = re.compile(r'(\w+)(=~|!~|!=|=)"([^"]*)"')


@dataclass(frozen=True, slots=True)
class Sum:
    """Over the series that a term selects: their total, and how many there are."""

    total: float
    count: int


@dataclass(frozen=True, slots=True)
class Page:
    """What one pod answered.

    Attributes:
        at: Unix seconds of the answer.
        sums: by series name and label matchers; what the page does not have is missing.
    """

    at: float
    sums: Mapping[tuple[str, str], Sum]


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


@cache
def wanted(engine: str) -> frozenset[str]:
    """Names of all series of an engine that questions are about."""
    return frozenset(name for name, _ in _selected(engine))


def page(engine: str, found: Mapping[str, Sequence[Sample]], *, at: float) -> Page | None:
    """A pod's samples as far as questions are about them; None for a page without the engine's mark.

    Args:
        engine: value of `runtime.engine`.
        found: samples by series name.
        at: Unix seconds of the answer.
    """
    sums, metrics = {}, METRICS[engine]
    for name, where in _selected(engine):
        chosen = [sample.value for sample in found.get(name, ()) if _matches(sample.labels, where)]
        if chosen:
            sums[name, where] = Sum(sum(chosen), len(chosen))
    return Page(at, sums) if (metrics.mark, metrics.where) in sums else None


def view(key: Key, engine: str, seen: Round, *, window_seconds: float, now: float) -> View | None:
    """Answers for one service, as the metrics source would have given them; None before there are enough pages.

    Args:
        key: (namespace, name) of the service.
        engine: that it runs.
        seen: what its pods said.
        window_seconds: pages older than that do not count.
        now: Unix seconds.
    """
    inside = {pod: [one for one in pages if one.at >= seen.at - window_seconds] for pod, pages in seen.pages.items()}
    rated = {pod: pages for pod, pages in inside.items() if len(pages) > 1 and pages[-1].at > pages[0].at}
    span = max((pages[-1].at - pages[0].at for pages in rated.values()), default=0.0)
    reporting = sorted(seen.answered & rated.keys())
    if span < _LEAST_SHARE * window_seconds or not reporting:
        return None
    metrics = METRICS[engine]
    reader = _Reader(metrics.where, tuple(rated.values()), tuple(rated[pod][-1] for pod in reporting))
    found: dict[str, float] = {"age": max(0.0, now - seen.at), "reporting": float(len(reporting))}
    for kind, formulas in metrics.kinds.items():
        value = next((value for formula in formulas if (value := reader.formula(formula)) is not None), None)
        if value is not None:
            found[kind] = value
    answers = {kind: {key: found[kind]} if kind in found else {} for kind in QUERIES}
    return View(answers, now, window_seconds=span)


@dataclass(frozen=True, slots=True)
class _Reader:
    """Works formulas out.

    Attributes:
        where: matchers that all series meet.
        rated: the pages of each pod that has rates.
        newest: the last page of each pod that reports.
    """

    where: str
    rated: Sequence[Sequence[Page]]
    newest: Sequence[Page]

    def formula(self, formula: Formula) -> float | None:
        values = [self._term(term) for term in formula.terms]
        factors = [1.0]
        if formula.over is not None:
            factors.append(_ratio(1.0, self._term(formula.over)))
        if formula.mean_of is not None:
            whole, count = (self._term(Term(f"{formula.mean_of}_{part}")) for part in ("sum", "count"))
            factors.append(_ratio(whole, count))
        known = [value for value in values if value is not None]
        if len(known) < len(values) or not all(math.isfinite(factor) for factor in factors):
            return None
        total = sum(-value if term.minus else value for term, value in zip(formula.terms, known, strict=True))
        if any(term.minus or term.read is Read.CHANGE for term in formula.terms):
            total = max(0.0, total)
        for factor in factors:
            total *= factor
        return total

    def _term(self, term: Term) -> float | None:
        name = (term.series, _where(self.where, term.where))
        if term.read in (Read.RATE, Read.CHANGE):
            having = [pages for pages in self.rated if name in pages[-1].sums]
            read = _growth if term.read is Read.RATE else _change
            return sum(read(pages, name) / (pages[-1].at - pages[0].at) for pages in having) if having else None
        sums = [page.sums[name] for page in self.newest if name in page.sums]
        if not sums:
            return None
        total, count = sum(one.total for one in sums), sum(one.count for one in sums)
        return {Read.VALUE: total, Read.MEAN: total / count, Read.COUNT: float(count)}[term.read]


def _growth(pages: Sequence[Page], name: tuple[str, str]) -> float:
    """Of a counter, which begins at zero with its first increase."""
    values = [page.sums[name].total if name in page.sums else 0.0 for page in pages]
    return sum(after - before if after >= before else after for before, after in itertools.pairwise(values))


def _change(pages: Sequence[Page], name: tuple[str, str]) -> float:
    first = pages[0].sums.get(name)
    return pages[-1].sums[name].total - (0.0 if first is None else first.total)


def _ratio(above: float | None, below: float | None) -> float:
    """NaN where it has no value, as in PromQL."""
    return above / below if above is not None and below else math.nan


@cache
def _selected(engine: str) -> frozenset[tuple[str, str]]:
    """Series name and matchers of everything that formulas ask for."""
    metrics = METRICS[engine]
    found = {(metrics.mark, metrics.where)}
    for formula in (formula for formulas in metrics.kinds.values() for formula in formulas):
        terms = [*formula.terms, *([formula.over] if formula.over is not None else [])]
        if formula.mean_of is not None:
            terms += [Term(f"{formula.mean_of}_{part}") for part in ("sum", "count")]
        found |= {(term.series, _where(metrics.where, term.where)) for term in terms}
    return frozenset(found)


def _where(*parts: str) -> str:
    return ",".join(part for part in parts if part)


def _matches(labels: Mapping[str, str], where: str) -> bool:
    for label, operator, text in _MATCHER.findall(where):
        value = labels.get(label, "")
        same = re.fullmatch(text, value) is not None if "~" in operator else value == text
        if same is operator.startswith("!"):
            return False
    return True
