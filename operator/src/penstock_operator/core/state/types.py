"""The state page as types; field names are those of the JSON, except for what Python reserves.

A number that is not known is None, never 0, and no number is NaN or infinite: `to_json` sees to it. Times are Unix
seconds. Every view (web page, `penstock explain`, the demo) reads this and nothing else.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from typing import Any

from penstock_operator.core.state.ring import Point

Number = float | None
_RENAMED = {"before": "from", "after": "to"}
_DIGITS = 6
_AS_THEY_ARE = (str, int, bool, type(None))


@dataclass(frozen=True, slots=True)
class Replicas:
    """Replica counts: decided, asked of the Deployment, and what became of it.

    Ready ones, starting ones, failing ones (they crash, or their image cannot be pulled) and those without a node are
    together what lives. Draining ones may still be ready; ready and not draining ones are `serving`.
    """

    desired: int | None
    asked: int | None
    ready: int
    starting: int
    draining: int
    unschedulable: int
    min: int | None
    max: int | None
    serving: int = 0
    failing: int = 0


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked of the service and what it gives; in tokens, generated ones. `kv_use` is a share of the cache."""

    offered_requests_per_second: Number = None
    offered_tokens_per_second: Number = None
    served_tokens_per_second: Number = None
    tokens_per_request: Number = None
    running: Number = None
    waiting: Number = None
    held: Number = None
    in_flight: Number = None
    kv_use: Number = None


@dataclass(frozen=True, slots=True)
class Capacity:
    """What one replica carries, and how that is known: Target, StepModel, FirstToken, Observed or Unknown."""

    tokens_per_second_per_replica: Number = None
    source: str = "Unknown"


@dataclass(frozen=True, slots=True)
class Prospect:
    """What a count would mean: need (backlog included) over count, and the predicted share of requests in the SLA."""

    replicas: int
    utilisation: Number
    attainment: Number


@dataclass(frozen=True, slots=True)
class ObjectiveState:
    """An objective and what was measured over its window; a value above 120 s reads 120.

    Where gateways judge, refused and failed requests count as missed in `attainment`; they have no latency, so `value`
    is of the others. `why_unknown` is empty when it was measured.
    """

    metric: str
    percentile: str
    threshold_seconds: float
    window_seconds: int
    value_seconds: Number
    attainment: Number
    error_budget_left: Number
    why_unknown: str = ""


@dataclass(frozen=True, slots=True)
class SignalReport:
    """One input of the decision."""

    name: str
    state: str
    value: Number
    age_seconds: Number
    detail: str


@dataclass(frozen=True, slots=True)
class Costs:
    """What the replicas that hold accelerators cost."""

    per_hour: Number
    per_million_tokens: Number
    currency: str


@dataclass(frozen=True, slots=True)
class DecisionReport:
    """What the last tick decided."""

    at: float
    replicas: int
    act: bool
    reason: str
    limited_by: str
    message: str


@dataclass(frozen=True, slots=True)
class Change:
    """A decision that differed from the one before; `before` and `after` are `from` and `to` in JSON.

    `act` is False when it was advice only.
    """

    at: float
    before: int
    after: int
    reason: str
    message: str
    act: bool = True


@dataclass(frozen=True, slots=True)
class ConditionReport:
    """A condition of the resource."""

    type: str
    status: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class ServiceState:
    """Everything that is shown of one service.

    Attributes:
        mode: Auto, Advise, Paused, or Manual with a fixed count; empty when the spec cannot be read.
        emulated: name of the device profile that its workers emulate; None for real devices.
        needed_replicas: what load and backlog ask for, as a fraction.
        predictions: for one replica less, the decided count and one more.
        cost: None without a price.
        decision: None with a fixed count, and before the first.
        decisions: the last changes, newest first.
        history: (at, offered tokens/s, capacity tokens/s of what serves, desired, ready, draining, TTFT, TPOT,
            held + waiting, served tokens/s), oldest first; latencies are the 95th percentile of the last scrapes, in
            seconds.
    """

    namespace: str
    name: str
    model: str
    engine: str
    mode: str
    emulated: str | None
    replicas: Replicas
    load: Load
    capacity: Capacity
    needed_replicas: Number
    predictions: tuple[Prospect, ...]
    objectives: tuple[ObjectiveState, ...]
    signals: tuple[SignalReport, ...]
    cost: Costs | None
    decision: DecisionReport | None
    decisions: tuple[Change, ...]
    history: tuple[Point, ...]
    conditions: tuple[ConditionReport, ...]


@dataclass(frozen=True, slots=True)
class MetricsSourceState:
    """Whether the metrics source answered the last tick; None before the first."""

    ok: bool | None
    detail: str


@dataclass(frozen=True, slots=True)
class State:
    """The page, made at `at`; the last tick of the autoscaler began at `ticked_at`, None before the first."""

    version: str
    at: float
    tick_seconds: float
    metrics_source: MetricsSourceState
    services: tuple[ServiceState, ...]
    ticked_at: Number = None

    def to_json(self) -> dict[str, Any]:
        """As a JSON object without NaN and infinities."""
        plain: dict[str, Any] = _plain(self)
        return plain


def _plain(value: Any) -> Any:
    kind = type(value)
    if kind in _AS_THEY_ARE:
        return value
    if kind is float:
        return _short(value)
    if kind is tuple:
        return [_plain(item) for item in value]
    if is_dataclass(kind):
        return {shown: _plain(getattr(value, name)) for name, shown in _names(kind)}
    return value


@cache
def _names(kind: type) -> tuple[tuple[str, str], ...]:
    """Fields of a type and what they are called in JSON."""
    return tuple((one.name, _RENAMED.get(one.name, one.name)) for one in fields(kind))


def _short(number: float) -> float | int | None:
    """Six digits; of large numbers (times) three after the point; whole numbers without a point."""
    if not math.isfinite(number):
        return None
    if number.is_integer():
        return int(number)
    return round(number, 3) if abs(number) >= 1000 else float(f"{number:.{_DIGITS}g}")
