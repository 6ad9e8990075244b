"""PromQL of one question to all engines at once, from the table of `core.enginemetrics`.

A text is a template with `{window}` (a PromQL duration), `{seconds}` (the same as a number) and `{stale}` (the age in
seconds from which a scrape is too old). Parts are joined by `or`, which takes a service from the first part that has
it: so a tick asks no more queries for five engines than for one.
"""

from __future__ import annotations

from penstock_operator.core.enginemetrics import METRICS, EngineMetrics, Formula, Read, Term

_BY = "by (namespace, inferenceservice)"
_BY_POD = "by (namespace, inferenceservice, pod)"
_BY_BOUND = "by (namespace, inferenceservice, le)"


def of_kind(kind: str) -> str:
    """A kind of `enginemetrics.KINDS`, by service."""
    return " or ".join(
        _formula(formula, metrics.where) for metrics in METRICS.values() for formula in metrics.kinds.get(kind, ())
    )


def age() -> str:
    """Age in seconds of the newest scrape of a service, from the timestamps of the samples themselves."""
    return " or ".join(
        f"time() - max {_BY} (timestamp({_selector(metrics.mark, metrics.where)}))" for metrics in METRICS.values()
    )


def reporting() -> str:
    """Pods of a service with a fresh scrape. Other engines may have several series in a pod, one for each rank."""
    return " or ".join(_reporting(metrics) for metrics in METRICS.values())


def buckets(metric: str, function: str) -> str:
    """Histogram of an objective's metric as the workers saw it, by service and bound.

    Args:
        metric: of an objective.
        function: `increase` or `rate`.

    Returns:
        Parts of different engines must not be mixed bound by bound, so a whole service comes from one part.
    """
    return " or on (namespace, inferenceservice) ".join(
        f"sum {_BY_BOUND} ({function}({_selector(f'{name}_bucket', metrics.where)}[{{window}}]))"
        for metrics in METRICS.values()
        for name in metrics.histograms.get(metric, ())
    )


def _reporting(metrics: EngineMetrics) -> str:
    fresh = f"time() - timestamp({_selector(metrics.mark, metrics.where)}) < {{stale}}"
    return f"count {_BY} ({fresh if metrics.engine == 'Penstock' else f'count {_BY_POD} ({fresh})'})"


def _formula(formula: Formula, where: str) -> str:
    text = _term(formula.terms[0], where)
    for term in formula.terms[1:]:
        text += f" {'-' if term.minus else '+'} {_term(term, where)}"
    if any(term.minus or term.read is Read.CHANGE for term in formula.terms):
        text = f"clamp_min({text}, 0)"
    elif len(formula.terms) > 1:
        text = f"({text})"
    if formula.over is not None:
        text += f" / {_term(formula.over, where)}"
    if formula.mean_of is not None:
        whole, count = (_term(Term(f"{formula.mean_of}_{part}"), where) for part in ("sum", "count"))
        text += f" * ({whole} / {count})"
    return text


def _term(term: Term, where: str) -> str:
    selector = _selector(term.series, ",".join(part for part in (where, term.where) if part))
    if term.read is Read.RATE:
        return f"sum {_BY} (rate({selector}[{{window}}]))"
    if term.read is Read.CHANGE:
        return f"sum {_BY} (delta({selector}[{{window}}])) / {{seconds}}"
    aggregation = {Read.VALUE: "sum", Read.MEAN: "avg", Read.COUNT: "count"}[term.read]
    return f"{aggregation} {_BY} ({selector})"


def _selector(series: str, where: str) -> str:
    return f"{series}{{{{{where}}}}}" if where else series
