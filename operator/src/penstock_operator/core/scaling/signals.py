"""From query results to signals: the queries, one per kind for the whole cluster, and what their answers mean.

An answer that is missing is Absent, never zero. The age of a signal comes from the scrape timestamps themselves,
asked in the same tick, because an instant query dresses old samples in the time of evaluation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from penstock_operator.core import enginequeries
from penstock_operator.core.enginemetrics import KINDS
from penstock_operator.core.ports import Sample, Unavailable
from penstock_operator.core.scaling.stepfit import StepRates
from penstock_operator.core.scaling.types import Signal, SignalState

Key = tuple[str, str]
_BY = "by (namespace, inferenceservice)"

QUERIES: Mapping[str, str] = {kind: enginequeries.of_kind(kind) for kind in KINDS} | {
    "age": enginequeries.age(),
    "reporting": enginequeries.reporting(),
}
# What the gateways counted, for the past: now they are asked themselves.
_G = "penstock_gateway_"
DOOR_QUERIES: Mapping[str, str] = {
    "door_arrivals": f"sum {_BY} (rate({_G}requests_arrived_total[{{window}}]))",
    "door_prompt_tokens": f"sum {_BY} (rate({_G}prompt_tokens_total[{{window}}]))",
    "door_held": f"sum {_BY} ({_G}requests_held)",
    "door_in_flight": f"sum {_BY} ({_G}requests_in_flight)",
    "door_reporting": f"count {_BY} (time() - timestamp({_G}requests_held) < {{stale}})",
}
# Scrape interval of the workers from the scrapes in a minute: works on Prometheus and on what speaks like it.
SCRAPE_INTERVAL_QUERY = '60 / max(count_over_time(up{inferenceservice!=""}[1m]))'
WINDOW_INTERVALS = 4


@dataclass(frozen=True, slots=True)
class View:
    """Answers of one tick, per kind: values by (namespace, service), or why there are none.

    Attributes:
        answers: kind to values or Unavailable.
        now: Unix seconds of the tick.
        window_seconds: rate window; also the age from which a signal is stale.
    """

    answers: Mapping[str, Mapping[Key, float] | Unavailable]
    now: float
    window_seconds: float = field(default=60.0)

    @property
    def error(self) -> str | None:
        """Why the source gave nothing at all, or None when any query was answered."""
        failures = [answer.reason for answer in self.answers.values() if isinstance(answer, Unavailable)]
        return failures[0] if failures and len(failures) == len(self.answers) else None

    @property
    def gone(self) -> bool:
        """True when nobody answered any query, not even wrongly or late."""
        return all(isinstance(answer, Unavailable) and answer.gone for answer in self.answers.values())


def queries(window_seconds: float, texts: Mapping[str, str] = QUERIES) -> dict[str, str]:
    """PromQL by kind for a rate window."""
    seconds = max(1, round(window_seconds))
    parts = {"window": f"{seconds}s", "seconds": seconds, "stale": f"{window_seconds:.0f}"}
    return {kind: text.format(**parts) for kind, text in texts.items()}


def by_service(samples: tuple[Sample, ...] | Unavailable) -> Mapping[Key, float] | Unavailable:
    """Values by (namespace, service); samples without these labels are not ours."""
    if isinstance(samples, Unavailable):
        return samples
    return {
        (sample.labels["namespace"], sample.labels["inferenceservice"]): sample.value
        for sample in samples
        if sample.labels.get("namespace") and sample.labels.get("inferenceservice")
    }


def signal(view: View, kind: str, key: Key) -> Signal:
    """The signal of one kind for one service."""
    values, ages = view.answers.get(kind), view.answers["age"]
    if values is None:
        return Signal(SignalState.ABSENT, detail="not asked")
    if isinstance(values, Unavailable):
        return Signal(SignalState.ABSENT, detail=values.reason)
    if isinstance(ages, Unavailable):
        return Signal(SignalState.ABSENT, detail=ages.reason)
    if key not in values:
        return Signal(SignalState.ABSENT, detail="no series")
    if key not in ages:
        return Signal(SignalState.ABSENT, detail="no scrape of a worker")
    value, age = values[key], ages[key]
    seen_at = view.now - age
    if value < 0:
        return Signal(SignalState.CONTRADICTORY, value, seen_at, detail=f"negative value {value:g}")
    if age > view.window_seconds:
        return Signal(SignalState.STALE, value, seen_at, detail=f"newest sample is {age:.0f} s old")
    return Signal(SignalState.FRESH, value, seen_at)


def reporting(view: View, key: Key) -> Signal:
    """Pods with a fresh scrape; no pod in the answer means none, if the query was answered."""
    values = view.answers["reporting"]
    if isinstance(values, Unavailable):
        return Signal(SignalState.ABSENT, detail=values.reason)
    return Signal(SignalState.FRESH, values.get(key, 0.0), view.now)


def generated(view: View, key: Key, *, running: Signal) -> Signal:
    """Generated tokens, contradictory when engines are at work and yet make no step or no token."""
    seen, steps = signal(view, "generated_tokens", key), signal(view, "steps", key)
    finished = signal(view, "finished", key)
    if not (seen.fresh and steps.fresh and running.fresh):
        return seen
    if steps.value == 0 and running.value > 0:
        return Signal(SignalState.CONTRADICTORY, 0.0, seen.observed_at, detail="requests run, no engine makes a step")
    if seen.value == 0 and finished.fresh and finished.value > 0:
        return Signal(SignalState.CONTRADICTORY, 0.0, seen.observed_at, detail="requests finish without any token")
    return seen


def step_rates(view: View, key: Key) -> StepRates | None:
    """The sums of the step model; None when any of them is not fresh, as with engines that do not export them."""
    kinds = ("steps", "step_seconds", "decode_sequences", "prefill_tokens", "generated_tokens")
    found = [signal(view, kind, key) for kind in kinds]
    if not all(one.fresh for one in found):
        return None
    return StepRates(*(one.value for one in found))
