"""What doctor asks Prometheus: whether it answers, and whether each needed series is there, fresh and rightly labelled.

A query without an answer leaves its question open: what is not known is neither missing nor fine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from penstock_operator.adapters.prometheus import Access, PrometheusSource, without_credentials
from penstock_operator.core import scrapes
from penstock_operator.core.checkup import Level, Result, ok
from penstock_operator.core.enginemetrics import METRICS
from penstock_operator.core.ports import Sample, Unavailable
from penstock_operator.core.scaling.signals import SCRAPE_INTERVAL_QUERY, WINDOW_INTERVALS, by_service, queries

Manifest = dict[str, Any]
Key = tuple[str, str]
_W, _G = "penstock_worker_", "penstock_gateway_"
# What a decision is made of. Counters by reason have no series before the first, so `finished` is not asked.
_ASKED = ("arrivals", "prompt_tokens", "generated_tokens", "steps", "waiting", "running")
NEEDED: Mapping[str, tuple[str, ...]] = {
    engine: tuple(
        dict.fromkeys(name for kind in _ASKED for one in metrics.kinds.get(kind, ())[:1] for name in one.series())
    )
    for engine, metrics in METRICS.items()
}
_BY = "by (namespace, inferenceservice)"
_RENAMED = f'count({_G}requests_arrived_total{{exported_inferenceservice!=""}})'
_UNCLAIMED = f"count {_BY} ({_W}requests_waiting) unless count {_BY} (up)"
_DOUBLED = f"count by (namespace, pod) ({_W}requests_waiting) > 1"
_ARRIVED, _JUDGED = f"{_G}requests_arrived_total", f"{_G}objective_total"
_USUAL_INTERVAL_SECONDS = 15.0
_CHECK = "check --prometheus-url; the options --prometheus-token-file, -ca-file and -header take what it may ask for"
_GIVE = "give --prometheus-url"


@dataclass(frozen=True, slots=True)
class Address:
    """Where Prometheus is, and what it asks for.

    Attributes:
        url: query API.
        access: what it asks for.
        given: whether the caller gave the URL, rather than the operator's settings.
    """

    url: str
    access: Access = field(default_factory=Access)
    given: bool = False


@dataclass(frozen=True, slots=True)
class Expected:
    """What should be there.

    Attributes:
        services: all InferenceServices.
        ready: ready pods by service.
        gateways: ready pods of the gateways.
        theirs: whether the operator itself gets answers.
    """

    services: Sequence[Manifest]
    ready: Mapping[Key, int]
    gateways: int
    theirs: bool


async def prometheus(address: Address, expected: Expected) -> list[Result]:
    """One result per question."""
    source = PrometheusSource(address.url, access=address.access)
    try:
        answer = await source.instant("vector(1)")
        if isinstance(answer, Unavailable):
            return [_unreachable(answer.reason, address, expected)]
        return [
            ok("prometheus", f"answers at {without_credentials(address.url)}"),
            *await Questions(source, expected).all(),
        ]
    finally:
        source.close()


def _unreachable(reason: str, address: Address, expected: Expected) -> Result:
    if expected.theirs:
        text = f"{reason} from here, though the operator reaches it"
        fix = _CHECK if address.given else f"run it inside the cluster, or {_GIVE}"
        return Result(Level.WARN, "prometheus", text, fix)
    fix = _CHECK if address.given else f"{_GIVE}; see prometheus.url of the chart"
    return Result(Level.FAIL, "prometheus", reason, f"start it, or {fix}")


class Questions:
    """The questions about series; `_silent` collects why some have no answer."""

    def __init__(self, source: PrometheusSource, expected: Expected) -> None:
        self._source = source
        self._expected = expected
        self._silent: list[str] = []

    async def all(self) -> list[Result]:
        """Ask them."""
        found: list[Result] = []
        interval = await self._ask(SCRAPE_INTERVAL_QUERY)
        seconds = max(0.1, interval[0].value) if interval else None
        if interval is not None and any(self._expected.ready.get(key) for key in self._engines()):
            found.append(scrapes.interval(seconds))
        window = WINDOW_INTERVALS * (seconds or _USUAL_INTERVAL_SECONDS)
        for engine in dict.fromkeys(self._engines().values()):
            found += await self._workers(engine, window)
        found += [
            scrapes.unmodelled(_key(service), engine)
            for service in self._expected.services
            if _learns(service)
            and (engine := self._engines()[_key(service)]) in METRICS
            and "steps" not in METRICS[engine].kinds
        ]
        found += await self._gateways(window)
        found += await self._labels()
        if self._silent:
            found.insert(0, scrapes.unanswered(self._silent, theirs=self._expected.theirs))
        return found

    def _engines(self) -> dict[Key, str]:
        return {_key(one): one["spec"].get("runtime", {}).get("engine", "Penstock") for one in self._expected.services}

    async def _ask(self, query: str) -> tuple[Sample, ...] | None:
        """None without an answer."""
        answer = await self._source.instant(query)
        if isinstance(answer, Unavailable):
            self._silent.append(answer.reason)
            return None
        return answer

    async def _by_service(self, query: str) -> Mapping[Key, float] | None:
        answer = await self._ask(query)
        return None if answer is None else _values(answer)

    async def _workers(self, engine: str, window: float) -> list[Result]:
        """Of the services of one engine."""
        keys, needed = [key for key, one in self._engines().items() if one == engine], NEEDED.get(engine, ())
        present = await asyncio.gather(*(self._by_service(f"count {_BY} ({name})") for name in needed))
        texts = queries(window)
        age, fresh = await self._by_service(texts["age"]), await self._by_service(texts["reporting"])
        known = age is not None and fresh is not None and None not in present
        found = []
        for key in keys:
            missing = [n for n, one in zip(needed, present, strict=True) if one is not None and key not in one]
            ready = self._expected.ready.get(key, 0)
            seen = scrapes.Series(ready, tuple(missing), int((fresh or {}).get(key, 0)), (age or {}).get(key))
            if known or missing or not ready:
                found.append(scrapes.series(key, seen, window_seconds=window, engine=engine))
        return found

    async def _gateways(self, window: float) -> list[Result]:
        """Of the gateways all that is asked is of services which they should know, so none without a service."""
        if not self._expected.gateways or not self._expected.services:
            return []
        arrived = await self._ask(f"count({_ARRIVED})")
        age = await self._ask(f"time() - max(timestamp({_ARRIVED}))")
        pods = await self._ask(f"count(count by (instance) (time() - timestamp({_ARRIVED}) < {window:.0f}))")
        judged = await self._by_service(f"count {_BY} ({_JUDGED})")
        if arrived is None or age is None or pods is None or judged is None:
            return []
        promised = [_key(one) for one in self._expected.services if _judged_at_the_door(one)]
        seen = scrapes.Series(
            ready=self._expected.gateways,
            missing=() if arrived else (_ARRIVED,),
            reporting=int(pods[0].value) if pods else 0,
            age_seconds=age[0].value if age else None,
        )
        unjudged = ["/".join(key) for key in promised if key not in judged]
        return [scrapes.gateways(seen, unjudged=unjudged, window_seconds=window)]

    async def _labels(self) -> list[Result]:
        renamed, unclaimed, doubled = await asyncio.gather(*(self._ask(t) for t in (_RENAMED, _UNCLAIMED, _DOUBLED)))
        found = scrapes.labels(
            renamed=int(renamed[0].value) if renamed else 0,
            unclaimed=[_said(sample.labels, "inferenceservice") for sample in unclaimed or ()],
            doubled=[_said(sample.labels, "pod") for sample in doubled or ()],
        )
        known = renamed is not None and unclaimed is not None and doubled is not None
        return [one for one in found if known or one.level is not Level.OK]


def _learns(service: Manifest) -> bool:
    """Whether what its replicas carry has to be learned."""
    scaling = service["spec"].get("scaling")
    return scaling is not None and "tokensPerSecond" not in (scaling.get("targets") or {})


def _judged_at_the_door(service: Manifest) -> bool:
    """Whether an objective is one that gateways count: gaps between tokens only workers see."""
    objectives = (service["spec"].get("sla") or {}).get("objectives") or []
    return any(one.get("metric") != "ITL" for one in objectives)


def _key(service: Manifest) -> Key:
    return service["metadata"]["namespace"], service["metadata"]["name"]


def _values(samples: tuple[Sample, ...]) -> Mapping[Key, float]:
    found = by_service(samples)
    return {} if isinstance(found, Unavailable) else found


def _said(labels: Mapping[str, str], name: str) -> str:
    return f"{labels.get('namespace', '?')}/{labels.get(name, '?')}"
