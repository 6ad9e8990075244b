"""Memory from the past: what a metrics source still knows, run through `decide()` as if it had been seen tick by tick.

So a restarted operator goes on where the former one was. What the source does not know of a moment holds the count for
that moment, as it would have done live, so a gap in the past can only delay a scale-down, never cause one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from penstock_operator.core.observe import Door, Offered, at_the_door, from_view
from penstock_operator.core.ports import Series, Unavailable
from penstock_operator.core.scaling import Memory, Policy, decide
from penstock_operator.core.scaling.signals import Key, View

Points = Mapping[float, float]
_NOT_KNOWN = Door(None, "the gateways' counters of that time are not known")


@dataclass(frozen=True, slots=True)
class Past:
    """Range answers on one grid.

    Attributes:
        answers: kind to points by (namespace, service), or why there are none.
        grid: Unix seconds, oldest first.
        window_seconds: rate window of the answers.
    """

    answers: Mapping[str, Mapping[Key, Points] | Unavailable]
    grid: tuple[float, ...]
    window_seconds: float

    @property
    def known(self) -> bool:
        """Whether anything was answered at all."""
        return any(not isinstance(answer, Unavailable) for answer in self.answers.values())

    def at(self, moment: float, key: Key) -> View:
        """What one tick at that moment would have seen of one service."""
        answers: dict[str, Mapping[Key, float] | Unavailable] = {}
        for kind, answer in self.answers.items():
            if isinstance(answer, Unavailable):
                answers[kind] = answer
            else:
                value = answer.get(key, {}).get(moment)
                answers[kind] = {} if value is None else {key: value}
        return View(answers=answers, now=moment, window_seconds=self.window_seconds)


def points_by_service(series: Sequence[Series] | Unavailable) -> Mapping[Key, Points] | Unavailable:
    """Points by (namespace, service); series without these labels are not ours."""
    if isinstance(series, Unavailable):
        return series
    return {
        (one.labels["namespace"], one.labels["inferenceservice"]): dict(one.points)
        for one in series
        if one.labels.get("namespace") and one.labels.get("inferenceservice")
    }


def recall(policy: Policy, key: Key, past: Past, *, replicas: int, since: float, gateways: bool) -> Memory:
    """The memory that an operator would have now, had it watched since then.

    Args:
        policy: as it is now.
        key: (namespace, name) of the service.
        past: what is known of it.
        replicas: count asked for now; what was asked for then is not known.
        since: Unix seconds of the creation of the service: what is older was a namesake.
        gateways: there are gateways, so without their counters demand is not known.
    """
    memory = Memory()
    for moment in past.grid:
        if moment < since:
            continue
        view = past.at(moment, key)
        reporting = view.answers["reporting"]
        ready = 0 if isinstance(reporting, Unavailable) else int(reporting.get(key, 0.0))
        seen = from_view(key, view, replicas=replicas, ready=ready)
        if gateways:
            seen = at_the_door(seen, _door(view, key))
        _, memory = decide(policy, seen, memory, moment)
    return memory


def _door(view: View, key: Key) -> Door:
    values: list[float] = []
    for kind in ("door_arrivals", "door_prompt_tokens", "door_held", "door_in_flight"):
        answer = view.answers[kind]
        if isinstance(answer, Unavailable) or key not in answer:
            return _NOT_KNOWN
        values.append(answer[key])
    return Door(Offered(*values, window_seconds=view.window_seconds, at=view.now))
