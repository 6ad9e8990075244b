"""The day before, for a process that has just started: asked once from the metrics source, beside the ticks.

One query for all services in slices of the day, one after the other, so that no answer is large however many services
there are. No tick waits for it: until it is there, forecasts know no season, as on a first day. What the source does
not know stays unknown. A source that does not answer is asked again for a while.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Mapping, Sequence

from penstock_operator.core.ports import Unavailable
from penstock_operator.core.scaling.season import BIN_SECONDS, DAY_SECONDS, Recollection, Season
from penstock_operator.runtime.cache import Key
from penstock_operator.runtime.measure import Measure
from penstock_operator.runtime.terms import Terms

_LOG = logging.getLogger("penstock.autoscale")
_GIVE_UP_SECONDS = 300.0
_MOST_POINTS = 200_000  # of one answer: some 6 MB
_MOST_STEPS = 240  # of one answer


class Almanac:
    """Gives the seasons of all services back, once."""

    def __init__(self, measure: Measure) -> None:
        self._measure = measure
        self._task: asyncio.Task[dict[Key, Recollection] | None] | None = None
        self._began: float | None = None
        self._done = False

    @property
    def settled(self) -> bool:
        """Whether nobody is being asked just now."""
        return self._task is None

    def once(self, services: Sequence[tuple[Key, Terms]], *, gateways: int, now: float) -> dict[str, Season]:
        """Seasons by uid of the services that are scaled; empty when they were given already, or are not there (yet).

        Args:
            services: all of them, with their terms.
            gateways: how many there are; with any, requests are as they counted them.
            now: Unix seconds.
        """
        if self._done:
            return {}
        uids = {key: terms.service.metadata.uid for key, terms in services if terms.policy}
        if self._task is None:
            self._began = now if self._began is None else self._began
            self._done = not uids or now - self._began > _GIVE_UP_SECONDS
            if not self._done:
                asked = self._ask(count=len(uids), gateways=gateways > 0, now=now)
                self._task = asyncio.create_task(asked, name="almanac")
            return {}
        if not self._task.done():
            return {}
        found, self._task = self._task.result(), None
        self._done = found is not None
        return {uids[key]: one.season(now=now) for key, one in (found or {}).items() if key in uids}

    async def _ask(self, *, count: int, gateways: bool, now: float) -> dict[Key, Recollection] | None:
        """By service; None when the source does not answer."""
        step = BIN_SECONDS * math.ceil(self._measure.window_seconds / BIN_SECONDS)
        slice_seconds = step * max(1, min(_MOST_STEPS, _MOST_POINTS // count))
        found: dict[Key, Recollection] = {}
        end = step * math.floor(now / step)
        begin = end - DAY_SECONDS + step
        while begin <= end:
            last = min(end, begin + slice_seconds - step)
            answer = await self._measure.arrivals(start=begin, end=last, step=step, gateways=gateways)
            if isinstance(answer, Unavailable):
                return None
            _note(found, answer, step)
            begin = last + step
        _LOG.info("seasons_remembered services=%d seconds_a_load=%.0f", len(found), step)
        return found


def _note(found: dict[Key, Recollection], answer: Mapping[Key, Mapping[float, float]], step: float) -> None:
    for key, points in answer.items():
        one = found.setdefault(key, Recollection())
        for at, load in points.items():
            one.note(load, end=at, seconds=step)
