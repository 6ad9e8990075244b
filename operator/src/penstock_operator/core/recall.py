"""Memory from the past: what a metrics source still knows, run through `decide()` as if it had been seen tick by tick.

So a restarted operator goes on where the former one was, also with a drain that it had begun. What the source does not
know of a moment holds the count for that moment, as it would have done live: when fewer pods or gateways were scraped
than there are now, when a series is missing, and before the service had its present spec. So what is unknown can only
delay a scale-down, never cause one.

What was learned (demand, capacity, forecast, the margins of the error budget) outlives an edit, so it comes from the
time before the present spec too, with the replicas that reported then; what was recommended does not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from penstock_operator.core.observe import Door, Offered, at_the_door, from_view
from penstock_operator.core.ports import Series, Unavailable
from penstock_operator.core.scaling import Memory, Policy, decide
from penstock_operator.core.scaling.budget import Missed
from penstock_operator.core.scaling.signals import DOOR_QUERIES, Key, View

Points = Mapping[float, float]
Judged = Mapping[tuple[str, float], Mapping[str, Points]]  # by metric and percentile: points by result
VERDICTS_QUERY = (
    "sum by (namespace, inferenceservice, metric, percentile, result) "
    "(rate(penstock_gateway_objective_total[{window}]))"
)
_NOT_KNOWN = Door(None, "the gateways' counters of that time are not known")


@dataclass(frozen=True, slots=True)
class Past:
    """Range answers on one grid.

    Attributes:
        answers: kind to points by (namespace, service).
        grid: Unix seconds, oldest first.
        window_seconds: rate window of the answers.
        judged: requests per second that met or missed an objective, by service.
    """

    answers: Mapping[str, Mapping[Key, Points]]
    grid: tuple[float, ...]
    window_seconds: float
    judged: Mapping[Key, Judged] = field(default_factory=dict)

    def at(self, moment: float, key: Key) -> View:
        """What one tick at that moment would have seen of one service."""
        answers: dict[str, Mapping[Key, float] | Unavailable] = {}
        for kind, answer in self.answers.items():
            value = answer.get(key, {}).get(moment)
            answers[kind] = {} if value is None else {key: value}
        return View(answers=answers, now=moment, window_seconds=self.window_seconds)

    def missed(self, moment: float, key: Key) -> tuple[Missed, ...]:
        """What the gateways judged of one service then."""
        return tuple(
            Missed(metric, 1.0 - percentile / 100.0, points["met"].get(moment, 0.0), points["missed"].get(moment, 0.0))
            for (metric, percentile), points in self.judged.get(key, {}).items()
        )


def points_by_service(series: Sequence[Series]) -> Mapping[Key, Points]:
    """Points by (namespace, service); series without these labels are not ours."""
    return {
        (one.labels["namespace"], one.labels["inferenceservice"]): dict(one.points)
        for one in series
        if one.labels.get("namespace") and one.labels.get("inferenceservice")
    }


def judged_by_service(series: Sequence[Series]) -> Mapping[Key, Judged]:
    """Points of `VERDICTS_QUERY`; series without their labels are not ours."""
    found: dict[Key, dict[tuple[str, float], dict[str, Points]]] = {}
    for one in series:
        key = (one.labels.get("namespace", ""), one.labels.get("inferenceservice", ""))
        result, percentile = one.labels.get("result"), one.labels.get("percentile", "")
        if all(key) and result in ("met", "missed") and percentile.replace(".", "", 1).isdecimal():
            about = (one.labels.get("metric", ""), float(percentile))
            found.setdefault(key, {}).setdefault(about, {"met": {}, "missed": {}})[result] = dict(one.points)
    return found


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What is known of a service beside its past series.

    Attributes:
        replicas: count asked for now, also taken for the pods that were ready since `since`: neither is known.
        since: Unix seconds from which on the service was what it is now.
        gateways: how many there are; without the counters of each, demand is not known.
        born: Unix seconds of its creation; what is older was a namesake. None = `since`.
        startup_seconds: from creation to readiness of its pods; None = not known.
        draining: pods that are marked to go.
        marked_at: Unix seconds of the last of these marks; None without one.
    """

    replicas: int
    since: float
    gateways: int
    born: float | None = None
    startup_seconds: float | None = None
    draining: int = 0
    marked_at: float | None = None


def recall(policy: Policy, key: Key, past: Past, known: Circumstances) -> Memory:
    """The memory that an operator would have now, had it watched since then.

    Args:
        policy: as it is now.
        key: (namespace, name) of the service.
        past: what its series tell.
        known: what else is known of it.
    """
    memory = Memory()
    if past.grid and known.since >= past.grid[0]:
        # A service that is younger than what is known of it had its first count chosen by its user.
        learned = _learned(policy, key, past, known)
        memory = replace(learned, recommendations=(), idle_since=None, at=learned.at or known.since)
    marked = known.marked_at if known.marked_at is not None and known.marked_at >= known.since else None
    for moment in (*past.grid, math.inf):
        if marked is not None and marked < moment:
            # Whoever marked them knew the whole window then: only what came later may call them back.
            settled = ((marked, known.replicas - known.draining),)
            memory, marked = replace(memory, recommendations=settled), None
        if known.since <= moment < math.inf:
            memory = _lived(policy, key, past, known, memory, moment=moment, replicas=known.replicas)
    return memory


def _learned(policy: Policy, key: Key, past: Past, known: Circumstances) -> Memory:
    """Memory of the time before the present spec, in which so many replicas served as reported."""
    memory, reporting = Memory(), past.answers.get("reporting", {}).get(key, {})
    for moment in past.grid:
        if known.born is not None and known.born <= moment < known.since and reporting.get(moment):
            count = int(reporting[moment])
            memory = _lived(policy, key, past, known, memory, moment=moment, replicas=count)
    return memory


def _lived(
    policy: Policy, key: Key, past: Past, known: Circumstances, memory: Memory, *, moment: float, replicas: int
) -> Memory:
    """Memory after one moment more."""
    view = past.at(moment, key)
    seen = from_view(key, view, replicas=replicas, ready=replicas)
    seen = replace(seen, startup_seconds=known.startup_seconds)
    if known.gateways:
        seen = at_the_door(seen, _door(view, key, known.gateways, past.missed(moment, key)))
    return decide(policy, seen, memory, moment)[1]


def _door(view: View, key: Key, gateways: int, missed: tuple[Missed, ...]) -> Door:
    found: dict[str, float] = {}
    for kind in DOOR_QUERIES:
        answer = view.answers[kind]
        if isinstance(answer, Unavailable) or key not in answer:
            return _NOT_KNOWN
        found[kind] = answer[key]
    if found["door_reporting"] < gateways:
        return _NOT_KNOWN
    return Door(
        Offered(
            requests_per_second=found["door_arrivals"],
            prompt_tokens_per_second=found["door_prompt_tokens"],
            held=found["door_held"],
            in_flight=found["door_in_flight"],
            window_seconds=view.window_seconds,
            at=view.now,
            missed=missed,
        )
    )
