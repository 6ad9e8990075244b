"""What a load found, as the JSON of `result.json`.

Counted are requests due in the measured span, which begins after the warm-up and ends with the arrivals. Rates divide
by that span: offered and goodput count requests by when they were due, answered requests and tokens by when they came.
A request that was refused or failed meets no objective. One that nobody waited for any longer (timed out, or given up
at the end) is in the latencies with what it had waited by then, a lower bound, and a figure that reaches into such
bounds says so. The report is not valid when requests were given up, and when the generator itself fell behind, since
its figures then say less about the endpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

import numpy as np

from penstock_contract.names import TPOT_MIN_TOKENS
from penstock_lab.load.ledger import ANSWERED, GIVEN_UP, NOT_SENT, Ledger
from penstock_lab.load.quantiles import of_histogram, of_values, wilson
from penstock_lab.load.rank import nearest_rank
from penstock_lab.load.workload import Workload

SCHEMA: Final = "penstock.load/1"
_CLIENT: Final = "client:"
_FIELDS: Final = {"ttft": "ttft", "tpot": "tpot", "itl": "longest_gap", "e2e": "e2e"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Objectives:
    """Thresholds in seconds; None for none.

    Attributes:
        ttft: to the first token.
        tpot: (last - first token) / (n - 1), of answers of 16 tokens or more; shorter ones are not judged.
        itl: every gap of an answer.
        e2e: to the end.
    """

    ttft: float | None = None
    tpot: float | None = None
    itl: float | None = None
    e2e: float | None = None

    def given(self) -> dict[str, float]:
        """Those that are set, by name."""
        return {name: value for name in _FIELDS if (value := getattr(self, name)) is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What a load is held against.

    Attributes:
        objectives: thresholds.
        most_lag: of the generator, in seconds, at the 99th percentile; beyond, the result is not valid.
    """

    objectives: Objectives = field(default_factory=Objectives)
    most_lag: float = 0.1


def result(ledger: Ledger, workload: Workload, judgement: Judgement, *, meta: Mapping[str, Any]) -> dict[str, Any]:
    """The report.

    Args:
        ledger: what became of the requests.
        workload: what was to be sent.
        judgement: thresholds.
        meta: how the load was made.
    """
    measured = (ledger.code != NOT_SENT) & (ledger.due >= ledger.warmup)
    late = of_values(ledger.lag_seconds[measured])
    behind = _behind(ledger, late["p99"], judgement.most_lag)
    problems = [*_unheard(ledger, interrupted=bool(meta.get("interrupted"))), *behind]
    span = _span(ledger, workload)
    return {
        "schema": SCHEMA,
        "meta": dict(meta) | {"measured_seconds": round(span, 3), "tokens_counted_by": _counted(ledger)},
        "valid": not problems,
        "problems": problems,
        "requests": _requests(ledger, measured),
        "rates": _rates(ledger, measured, span, judgement.objectives),
        "latency": _latency(ledger, workload, measured),
        "objectives": _attainments(ledger, measured, judgement.objectives),
        "phases": _phases(ledger, workload, measured, judgement.objectives),
        "sender": {
            "lag_seconds": late,
            "loop_lag_seconds": of_histogram(ledger.loop_lag),
            "most_in_flight": ledger.most_in_flight,
            "kept_up": not behind,
        },
        "series": series(ledger),
    }


def _span(ledger: Ledger, workload: Workload) -> float:
    """Seconds measured; less than planned when the load was interrupted."""
    unsent = ledger.sent < len(ledger.due)
    end = float(ledger.due[ledger.sent - 1]) if unsent and ledger.sent else workload.seconds
    return max(0.0, end - ledger.warmup)


def _counted(ledger: Ledger) -> dict[str, int]:
    return {kind.value: count for kind, count in ledger.counted.most_common()}


def _latency(ledger: Ledger, workload: Workload, which: Any) -> dict[str, dict[str, Any]]:
    answered, unfinished = which & (ledger.code == ANSWERED), which & ledger.unfinished
    known = answered | (unfinished & ~np.isnan(ledger.ttft))
    # What an unfinished answer's mean time per token cannot fall below, even if all that it lacks had come at once.
    asked = workload.requests.output_tokens
    paced = unfinished & ~np.isnan(ledger.ttft) & (asked >= TPOT_MIN_TOKENS)
    pace = (ledger.e2e[paced] - ledger.ttft[paced]) / (asked[paced] - 1)
    return {
        "ttft_seconds": of_values(ledger.ttft[known], unfinished=ledger.e2e[unfinished & ~known]),
        "tpot_seconds": of_values(ledger.tpot[answered], unfinished=pace),
        "itl_seconds": of_histogram(ledger.itl),
        "e2e_seconds": of_values(ledger.e2e[answered], unfinished=ledger.e2e[unfinished]),
    }


def _unheard(ledger: Ledger, *, interrupted: bool) -> list[str]:
    """What nobody waited for."""
    code = ledger.reasons.index(GIVEN_UP) if GIVEN_UP in ledger.reasons else None
    count = 0 if code is None else int((ledger.code == code).sum())
    if interrupted:
        said = f"the load was interrupted: {ledger.sent} of {len(ledger.due)} requests were sent, and {count} of these"
        return [f"{said} had not ended"]
    if not count:
        return []
    said = f"{count} requests had not ended when they were given up ({ledger.examples[GIVEN_UP]})"
    return [f"{said}: only lower bounds of their latencies are known (≥); wait longer with --drain, or send less"]


def _behind(ledger: Ledger, sent_late: float | None, most_lag: float) -> list[str]:
    """How the generator itself fell short."""
    found = []
    for late, what in ((sent_late, "requests left"), (ledger.loop_lag.quantile(0.99), "answers were read")):
        if late is not None and late > most_lag:
            found.append(
                f"the generator fell behind: {what} up to {late * 1000:.0f} ms late (p99), more than --max-lag "
                f"{most_lag * 1000:.0f} ms; send less, give it a core of its own, or share the load between processes"
            )
    for code, reason in enumerate(ledger.reasons):
        if reason.startswith(_CLIENT):
            found.append(
                f"{int((ledger.code == code).sum())} requests failed here: {reason}, {ledger.examples[reason]}"
            )
    return found


def _requests(ledger: Ledger, measured: Any) -> dict[str, Any]:
    codes = np.bincount(ledger.code[measured], minlength=len(ledger.reasons))
    failures = {
        reason: {"count": int(codes[code]), "example": ledger.examples[reason]}
        for code, reason in enumerate(ledger.reasons)
        if reason in ledger.examples and codes[code]
    }
    refused = sum(int(codes[code]) for code, reason in enumerate(ledger.reasons) if reason.startswith("refused"))
    total = int(measured.sum())
    answered = int(codes[ANSWERED])
    return {
        "sent": ledger.sent,
        "not_sent": len(ledger.due) - ledger.sent,
        "measured": total,
        "answered": answered,
        "refused": refused,
        "failed": total - answered - refused,
        "failures": failures,
    }


def _rates(ledger: Ledger, measured: Any, span: float, objectives: Objectives) -> dict[str, float | None]:
    good = ledger.code == ANSWERED
    inside = good & (ledger.ended_at >= ledger.warmup) & (ledger.ended_at < ledger.warmup + span)
    tokens = _tokens_between(ledger, ledger.warmup, ledger.warmup + span)
    met = _met_all(ledger, objectives)
    counts = {
        "offered_requests_per_second": float(measured.sum()),
        "answered_requests_per_second": float(inside.sum()),
        "output_tokens_per_second": tokens,
        "input_tokens_per_second": float(ledger.prompt_tokens[inside].sum()) or None,
        "goodput_requests_per_second": float((met & measured).sum()) if objectives.given() else None,
    }
    return {name: None if value is None or not span else round(value / span, 4) for name, value in counts.items()}


def _tokens_between(ledger: Ledger, start: float, end: float) -> float:
    """Tokens that came between two moments; of a second that is in part within, its part."""
    seconds = np.arange(len(ledger.tokens_by_second))
    inside = np.clip(np.minimum(seconds + 1, end) - np.maximum(seconds, start), 0.0, 1.0)
    return float((np.array(ledger.tokens_by_second) * inside).sum())


def _met(ledger: Ledger, metric: str, threshold: float) -> tuple[Any, Any]:
    """Which requests meet an objective, and which are judged by it at all."""
    values = getattr(ledger, _FIELDS[metric])
    answered = ledger.code == ANSWERED
    judged = ~answered | ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return answered & (values <= threshold), judged


def _met_all(ledger: Ledger, objectives: Objectives) -> Any:
    met = ledger.code == ANSWERED
    for metric, threshold in objectives.given().items():
        good, judged = _met(ledger, metric, threshold)
        met = met & (good | ~judged)
    return met


def _attainments(ledger: Ledger, measured: Any, objectives: Objectives) -> dict[str, Any]:
    found = {}
    for metric, threshold in objectives.given().items():
        good, judged = _met(ledger, metric, threshold)
        counts = int((good & measured).sum()), int((judged & measured).sum())
        found[metric] = {"threshold_seconds": threshold} | _share(*counts)
    if found:
        found["all"] = _share(int((_met_all(ledger, objectives) & measured).sum()), int(measured.sum()))
    return found


def _share(met: int, of: int) -> dict[str, Any]:
    low, high = wilson(met, of)
    attainment = round(met / of, 6) if of else None
    return {"met": met, "of": of, "attainment": attainment, "low": round(low, 6), "high": round(high, 6)}


def _phases(ledger: Ledger, workload: Workload, measured: Any, objectives: Objectives) -> list[dict[str, Any]]:
    found, start = [], 0.0
    for phase in workload.phases:
        end = start + phase.seconds
        within = measured & (ledger.due >= start) & (ledger.due < end)
        latency = _latency(ledger, workload, within)
        found.append(
            {
                "name": phase.name,
                "start_seconds": start,
                "end_seconds": end,
                "requests": int(within.sum()),
                "answered": int((within & (ledger.code == ANSWERED)).sum()),
                "ttft_seconds": latency["ttft_seconds"],
                "tpot_seconds": latency["tpot_seconds"],
                "objectives": _attainments(ledger, within, objectives),
            }
        )
        start = end
    return found


def series(ledger: Ledger) -> dict[str, list[Any]]:
    """Figures per second of the load, warm-up and drain included; TTFT by the second in which requests were due."""
    sent = ledger.code != NOT_SENT
    due = ledger.due[sent].astype(np.int64)
    ended = np.maximum(0, ledger.ended_at[sent]).astype(np.int64)
    count = int(max(due.max(initial=-1), ended.max(initial=-1), len(ledger.tokens_by_second) - 1)) + 1
    good = ledger.code[sent] == ANSWERED
    by_second = {
        "sent": np.bincount(due, minlength=count),
        "answered": np.bincount(ended[good], minlength=count),
        "failed": np.bincount(ended[~good], minlength=count),
    }
    over = np.cumsum(by_second["sent"]) - np.cumsum(by_second["answered"] + by_second["failed"])
    tokens = ledger.tokens_by_second + [0] * (count - len(ledger.tokens_by_second))
    found: dict[str, list[Any]] = {"second": list(range(count))}
    found |= {name: values.tolist() for name, values in by_second.items()}
    found |= {"in_flight": over.tolist(), "output_tokens": tokens}
    return found | _ttft_by_second(due, ledger.ttft_so_far[sent], count)


def _ttft_by_second(due: Any, ttft: Any, count: int) -> dict[str, list[float | None]]:
    edges = np.searchsorted(due, np.arange(count + 1))
    found: dict[str, list[float | None]] = {"ttft_p50_seconds": [], "ttft_p99_seconds": []}
    for start, end in pairwise(edges):
        values = ttft[start:end]
        values = np.sort(values[~np.isnan(values)])
        for key, share in (("ttft_p50_seconds", 0.5), ("ttft_p99_seconds", 0.99)):
            rank = nearest_rank(share, len(values))
            found[key].append(round(float(values[rank - 1]), 6) if len(values) else None)
    return found
