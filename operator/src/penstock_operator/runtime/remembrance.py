"""The memory of a process that has just started: asked once from the metrics source, when it answers.

Until then decisions are made without memory, which never shrinks a service. A source that answers late still helps; one
that stays away for long knows nothing of that time, so after a while nobody asks any more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import datetime

from penstock_contract import names
from penstock_operator.core import naming
from penstock_operator.core.recall import Past, recall
from penstock_operator.core.scaling import Memory, Policy
from penstock_operator.runtime.cache import Cache, Key
from penstock_operator.runtime.measure import Measure
from penstock_operator.runtime.terms import Terms

_LOG = logging.getLogger("penstock.autoscale")
_GIVE_UP_SECONDS = 300.0
_LONGEST_SECONDS = 1800.0
_SLACK_SECONDS = 120.0
_MOST_POINTS = 60
_FEWEST_POINTS = 12
_BUDGET = 60_000  # decisions that are made again at most; each takes a tenth of a millisecond
_SLICE = 5


class Remembrance:
    """Gives the memory back, once."""

    def __init__(self, measure: Measure, cache: Cache) -> None:
        self._measure = measure
        self._cache = cache
        self._began: float | None = None
        self._done = False

    async def once(self, services: Sequence[tuple[Key, Terms]], *, gateways: bool, now: float) -> dict[str, Memory]:
        """Memory by uid of the services that are scaled; empty when it was given already, or is not known (yet).

        Args:
            services: all of them, with their terms.
            gateways: there are gateways.
            now: Unix seconds.
        """
        if self._done:
            return {}
        scaled = [(key, terms.service.metadata.uid, terms.policy) for key, terms in services if terms.policy]
        self._began = now if self._began is None else self._began
        self._done = not scaled or now - self._began > _GIVE_UP_SECONDS
        if self._done:
            return {}
        seconds = max(_seconds(policy) for _, _, policy in scaled)
        points = max(_FEWEST_POINTS, min(_MOST_POINTS, _BUDGET // len(scaled)))
        past = await self._measure.past(now=now, seconds=seconds, points=points)
        if not past.known:
            return {}
        self._done = True
        found: dict[str, Memory] = {}
        for number, (key, uid, policy) in enumerate(scaled, start=1):
            try:
                found[uid] = self._recall(key, policy, past, gateways=gateways)
            except Exception:  # noqa: BLE001 - one odd object must not take the memory of the others
                _LOG.warning("not_remembered namespace=%s name=%s", *key, exc_info=True)
            if number % _SLICE == 0:
                await asyncio.sleep(0)
        _LOG.info("remembered services=%d seconds=%.0f points=%d", len(found), seconds, len(past.grid))
        return found

    def _recall(self, key: Key, policy: Policy, past: Past, *, gateways: bool) -> Memory:
        raw = self._cache.get(names.KIND, key)
        deployment = self._cache.get("Deployment", (key[0], naming.child_name(key[1])))
        if raw is None or deployment is None:
            return Memory()
        replicas = int(deployment.get("spec", {}).get("replicas", 1))
        since = datetime.fromisoformat(raw["metadata"]["creationTimestamp"]).timestamp()
        return recall(policy, key, past, replicas=replicas, since=since, gateways=gateways)


def _seconds(policy: Policy) -> float:
    """How far back a service's memory reaches: its windows, and time for the averages."""
    idle = policy.idle_seconds if policy.min_replicas == 0 else 0.0
    return min(_LONGEST_SECONDS, max(policy.stabilization_seconds, idle) + _SLACK_SECONDS)
