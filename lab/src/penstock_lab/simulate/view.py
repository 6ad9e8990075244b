"""The operator's own reading of a simulated service: its queries' answers, its signals, its observation.

What is simulated ends at the answers of the metrics source and of the gateways. From there on the operator's code
decides what is fresh, stale, absent or contradictory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from penstock_lab.simulate.policies.base import Glance
from penstock_lab.simulate.scrapes import RATES, SIGNALS, Health
from penstock_operator.core.observe import Door, Offered, at_the_door, from_view
from penstock_operator.core.ports import Unavailable
from penstock_operator.core.scaling.signals import QUERIES, Key, View
from penstock_operator.core.scaling.types import Observation

KEY: Final[Key] = ("simulated", "service")
_DOWN = Unavailable("the metrics source does not answer")
_SILENT = "the gateways do not answer"
Answer = Mapping[Key, float] | Unavailable


def view(glance: Glance) -> View:
    """The answers to the operator's queries at this tick."""
    answers: dict[str, Answer] = {name: {} for name in QUERIES} | {name: _answer(glance, name) for name in SIGNALS}
    at = glance.scraped.observed_at
    down = all(glance.scraped.health.get(name) is Health.ERROR for name in SIGNALS)
    stale = at is None or glance.now - at > glance.window_seconds
    answers["age"] = _DOWN if down else {} if at is None else {KEY: glance.now - at}
    answers["reporting"] = _DOWN if down else {} if stale else {KEY: float(glance.scraped.reporting)}
    return View(answers, glance.now, glance.window_seconds)


def observation(glance: Glance) -> Observation:
    """What the operator's policy is given at this tick."""
    seen = from_view(KEY, view(glance), replicas=glance.replicas, ready=glance.ready)
    return at_the_door(replace(seen, unschedulable=glance.unschedulable), door(glance))


def door(glance: Glance) -> Door:
    """What the gateways answered."""
    seen = glance.door
    if not seen.answered:
        return Door(None, _SILENT)
    return Door(
        Offered(
            seen.requests_per_second,
            seen.prompt_tokens_per_second,
            seen.held,
            seen.in_flight,
            seen.window_seconds,
            glance.now,
        )
    )


def _answer(glance: Glance, name: str) -> Answer:
    health = glance.scraped.health.get(name)
    if health is Health.ERROR:
        return _DOWN
    if health is Health.EMPTY or glance.scraped.observed_at is None:
        return {}
    if name in RATES:
        return {KEY: float(glance.scraped.rates[SIGNALS[name]])}
    gauges = {"running": glance.scraped.running, "waiting": glance.scraped.waiting, "kv_used": glance.scraped.kv_used}
    return {KEY: gauges[name]}
