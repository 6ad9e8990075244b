"""Memory from the past: what a metrics source still knows, run through `decide()` as if it had been seen tick by tick.

So a restarted operator goes on where the former one was. What the source does not know of a moment holds the count for
that moment, as it would have done live: when fewer pods or gateways were scraped than there are now, when a series is
missing, and before the service had its present spec. So what is unknown can only delay a scale-down, never cause one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from penstock_operator.core.observe import Door, Offered, at_the_door, from_view
from penstock_operator.core.ports import Series, Unavailable
from penstock_operator.core.scaling import Memory, Policy, decide
from penstock_operator.core.scaling.signals import DOOR_QUERIES, Key, View

Points = Mapping[float, float]
_NOT_KNOWN = Door(None, "the gateways' counters of that time are not known")


@dataclass(frozen=True, slots=True)
class Past:
    """Range answers on one grid.

    Attributes:
        answers: kind to points by (namespace, service).
        grid: Unix seconds, oldest first.
        window_seconds: rate window of the answers.
    """

    answers: Mapping[str, Mapping[Key, Points]]
    grid: tuple[float, ...]
    window_seconds: float

    def at(self, moment: float, key: Key) -> View:
        """What one tick at that moment would have seen of one service."""
        answers: dict[str, Mapping[Key, float] | Unavailable] = {}
        for kind, answer in self.answers.items():
            value = answer.get(key, {}).get(moment)
            answers[kind] = {} if value is None else {key: value}
        return View(answers=answers, now=moment, window_seconds=self.window_seconds)


def points_by_service(series: Sequence[Series]) -> Mapping[Key, Points]:
    """Points by (namespace, service); series without these labels are not ours."""
    return {
        (one.labels["namespace"], one.labels["inferenceservice"]): dict(one.points)
        for one in series
        if one.labels.get("namespace") and one.labels.get("inferenceservice")
    }


def recall(policy: Policy, key: Key, past: Past, *, replicas: int, since: float, gateways: int) -> Memory:
    """The memory that an operator would have now, had it watched since then.

    Args:
        policy: as it is now.
        key: (namespace, name) of the service.
        past: what is known of it.
        replicas: count asked for now, also taken for the pods that were ready then: neither is known.
        since: Unix seconds from which on the service was what it is now; what is older was another one.
        gateways: how many there are; without the counters of each, demand is not known.
    """
    # A service that is younger than what is known of it had its first count chosen by its user.
    memory = Memory(at=since) if past.grid and since >= past.grid[0] else Memory()
    for moment in past.grid:
        if moment < since:
            continue
        view = past.at(moment, key)
        seen = from_view(key, view, replicas=replicas, ready=replicas)
        if gateways:
            seen = at_the_door(seen, _door(view, key, gateways))
        _, memory = decide(policy, seen, memory, moment)
    return memory


def _door(view: View, key: Key, gateways: int) -> Door:
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
        )
    )
