"""What one tick sees: the metrics source's answers, the gateways', and while the source is away the workers' own.

Workers stand in fully only for a source that answered before and is gone: then the count follows them up and down. A
source that answers wrongly or late, or that never answered, may be the wrong address as well as a broken one, so it
leaves a mistake to be mended and nothing is removed on what the workers say; more is asked for all the same.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from penstock_operator.core.observe import observe, standing_in
from penstock_operator.core.scaling import Observation
from penstock_operator.core.scaling.signals import View
from penstock_operator.runtime.cache import Key
from penstock_operator.runtime.gateways import Doors, Gateways
from penstock_operator.runtime.measure import Measure
from penstock_operator.runtime.metrics import Metrics
from penstock_operator.runtime.rounds import Rounds
from penstock_operator.runtime.terms import Terms

Manifest = dict[str, Any]
_LOG = logging.getLogger("penstock.source")
_SAID_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Sight:
    """What one tick sees.

    Attributes:
        view: the metrics source's answers.
        doors: the gateways' answers.
        pods: the workers' own answers, by service; empty while the metrics source answers.
        trusted: they may remove replicas too.
        error: why the metrics source gives nothing at all; None when it answers.
    """

    view: View
    doors: Doors
    pods: Mapping[Key, View] = field(default_factory=dict)
    trusted: bool = False
    error: str | None = None

    def of(self, key: Key, terms: Terms, *, deployment: Manifest, pods: Sequence[Manifest]) -> Observation:
        """The observation of one service."""
        view = self.pods.get(key, self.view)
        seen = observe(
            key,
            deployment=deployment,
            pods=pods,
            view=view,
            door=self.doors.of(key),
            startup_timeout_seconds=terms.service.spec.runtime.startup_timeout_seconds,
        )
        if self.error is None:
            return seen
        if view is self.view:
            return replace(seen, source_error=self.error)
        return standing_in(seen, why=self.error, trusted=self.trusted)


class Lookout:
    """Looks once a tick."""

    def __init__(self, measure: Measure, gateways: Gateways, metrics: Metrics, rounds: Rounds | None = None) -> None:
        self._measure = measure
        self._gateways = gateways
        self._metrics = metrics
        self._rounds = rounds
        self._error: str | None = None
        self._said_at = 0.0
        self._answered = False

    async def look(self, services: Sequence[tuple[Key, Terms]], gateways: Sequence[Manifest], now: float) -> Sight:
        """Ask all at once.

        Args:
            services: all of them, with their terms.
            gateways: pods of the gateways.
            now: Unix seconds.
        """
        view, doors, pods = await asyncio.gather(
            self._measure.view(now), self._gateways.read(gateways, now), self._pods(services, now)
        )
        self._note(view.error, now)
        if view.error is None:
            return Sight(view, doors)
        return Sight(view, doors, pods, trusted=self._answered and view.gone, error=self._error)

    async def _pods(self, services: Sequence[tuple[Key, Terms]], now: float) -> Mapping[Key, View]:
        """Workers are asked from the tick on after the one at which the source gave nothing."""
        if self._rounds is None:
            return {}
        if self._error is None:
            self._rounds.forget()
            return {}
        return await self._rounds.ask(services, window_seconds=self._measure.window_seconds, now=now)

    def _note(self, error: str | None, now: float) -> None:
        """What is said of a failure changes seldom: it is written for every service."""
        self._metrics.set("metrics_source_up", float(error is None))
        if error is None:
            self._answered = True
        if error is None:
            if self._error is not None:
                _LOG.info("metrics_source_up")
            self._error = None
        elif self._error is None or (error != self._error and now - self._said_at >= _SAID_SECONDS):
            _LOG.warning("metrics_source_down detail=%r", error)
            self._error, self._said_at = error, now
