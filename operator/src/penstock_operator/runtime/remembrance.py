"""The memory of a process that has just started: asked once from the metrics source, beside the ticks.

The first tick waits a moment for it, so that with a healthy source every decision is made with memory; a source that
hangs holds no later tick up. Until memory is there decisions are made without, which never shrinks a service. A source
that does not know is asked again for a while; after that it knows nothing of the time between.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from penstock_contract import names
from penstock_operator.core import naming, pods
from penstock_operator.core.ports import Unavailable
from penstock_operator.core.recall import Circumstances, Past, recall
from penstock_operator.core.scaling import Memory, Policy
from penstock_operator.runtime.cache import Cache, Key
from penstock_operator.runtime.measure import Measure
from penstock_operator.runtime.terms import Terms

Manifest = dict[str, Any]
_Scaled = tuple[Key, Terms, Policy]
_LOG = logging.getLogger("penstock.autoscale")
_WAIT_SECONDS = 10.0
_GIVE_UP_SECONDS = 300.0
_SECONDS = 1800.0  # longer than most windows, and what forecast and margins are learned from again
_MOST_POINTS = 120
_FEWEST_POINTS = 12
_BUDGET = 60_000  # decisions that are made again at most; each takes a tenth of a millisecond
_SLICE = 5


class Remembrance:
    """Gives the memory back, once."""

    def __init__(self, measure: Measure, cache: Cache, *, wait_seconds: float = _WAIT_SECONDS) -> None:
        self._measure = measure
        self._cache = cache
        self._wait = wait_seconds
        self._task: asyncio.Task[dict[str, Memory] | None] | None = None
        self._began: float | None = None
        self._done = False

    async def once(self, services: Sequence[tuple[Key, Terms]], *, gateways: int, now: float) -> dict[str, Memory]:
        """Memory by uid of the services that are scaled; empty when it was given already, or is not there (yet).

        Args:
            services: all of them, with their terms.
            gateways: how many there are.
            now: Unix seconds.
        """
        if self._done:
            return {}
        if self._task is None:
            scaled = [(key, terms, terms.policy) for key, terms in services if terms.policy]
            self._began = now if self._began is None else self._began
            if not scaled or now - self._began > _GIVE_UP_SECONDS:
                self._done = True
                return {}
            self._task = asyncio.create_task(self._remember(scaled, gateways, now), name="remembrance")
            await asyncio.wait({self._task}, timeout=self._wait)
            self._wait = 0.0
        if not self._task.done():
            return {}
        found, self._task = self._task.result(), None
        self._done = found is not None
        return found or {}

    async def _remember(self, scaled: Sequence[_Scaled], gateways: int, now: float) -> dict[str, Memory] | None:
        points = max(_FEWEST_POINTS, min(_MOST_POINTS, _BUDGET // len(scaled)))
        past = await self._measure.past(now=now, seconds=_SECONDS, points=points)
        if isinstance(past, Unavailable):
            return None
        found: dict[str, Memory] = {}
        for number, (key, terms, policy) in enumerate(scaled, start=1):
            try:
                found[terms.service.metadata.uid] = self._recall(key, terms, policy, past, gateways)
            except Exception:  # noqa: BLE001 - one odd object must not take the memory of the others
                _LOG.warning("not_remembered namespace=%s name=%s", *key, exc_info=True)
            if number % _SLICE == 0:
                await asyncio.sleep(0)
        span = past.grid[-1] - past.grid[0]
        _LOG.info("remembered services=%d seconds=%.0f points=%d", len(found), span, len(past.grid))
        return found

    def _recall(self, key: Key, terms: Terms, policy: Policy, past: Past, gateways: int) -> Memory:
        raw = self._cache.get(names.KIND, key)
        deployment = self._cache.get("Deployment", (key[0], naming.child_name(key[1])))
        if raw is None or deployment is None:
            return Memory()
        longest = terms.service.spec.runtime.startup_timeout_seconds
        live, replicas = pods.live(self._cache.pods(key)), int(deployment.get("spec", {}).get("replicas", 1))
        marks = pods.marks(live)
        known = Circumstances(
            replicas=replicas,
            since=_settled_at(raw, deployment),
            gateways=gateways,
            born=datetime.fromisoformat(raw["metadata"]["creationTimestamp"]).timestamp(),
            startup_seconds=pods.startup_p90(live, longest=longest),
            draining=max(0, len(marks) - max(0, len(live) - replicas)),  # the others are counted out already
            marked_at=max(marks, default=None),
        )
        return recall(policy, key, past, known)


def _settled_at(raw: Manifest, deployment: Manifest) -> float:
    """Unix seconds since when the service is what it is: created, edited last, its last rollout done."""
    times = [raw["metadata"]["creationTimestamp"]]
    times += [entry["time"] for entry in raw["metadata"].get("managedFields") or ()]
    times += [
        condition["lastUpdateTime"]
        for condition in deployment.get("status", {}).get("conditions") or ()
        if condition.get("type") == "Progressing" and condition.get("lastUpdateTime")
    ]
    return max(datetime.fromisoformat(one).timestamp() for one in times)
