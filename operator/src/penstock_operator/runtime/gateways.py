"""What the gateways see: requests offered and held, per service, read from each gateway once a tick.

Gateways share nothing, so their counters are added up here. A gateway that restarts begins at zero; its counters are
followed by their increases. Without any gateway the answer is None, not zero: nobody counts at the door then.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

from penstock_contract import names
from penstock_operator.core.observe import Door, Offered
from penstock_operator.core.pods import is_ready
from penstock_operator.core.scaling.budget import Missed

_TIMEOUT = aiohttp.ClientTimeout(total=2)
_HISTORY_SECONDS = 15.0
Key = tuple[str, str]
_Counter = tuple[str | int, ...]
_ARRIVED: _Counter = ("arrived",)
_PROMPT_TOKENS: _Counter = ("prompt_tokens",)
_LENGTH, _OBJECTIVE = "length", "objective"


@dataclass(frozen=True, slots=True)
class Doors:
    """The gateways' answers at one tick.

    Attributes:
        present: there is a gateway at all.
        services: what they see; None when they did not all answer.
        detail: why not.
        asked: gateways that are ready, and so have to answer.
    """

    present: bool
    services: dict[Key, Offered] | None = None
    detail: str = ""
    asked: int = 0

    def of(self, key: Key) -> Door | None:
        """The answer for one service; None when there is no gateway."""
        if not self.present:
            return None
        if self.services is None:
            return Door(None, self.detail)
        return Door(self.services.get(key), "the gateway does not know the service yet")


@dataclass(frozen=True, slots=True)
class _Seen:
    """What one gateway says of one service: counters since its start, and what is there now."""

    counters: Mapping[_Counter, float]
    held: float
    in_flight: float


class Gateways:
    """Reads `/demand` of every known gateway."""

    def __init__(self) -> None:
        self._lazy_session: aiohttp.ClientSession | None = None
        self._last: dict[tuple[str, Key], Mapping[_Counter, float]] = {}
        self._totals: dict[Key, dict[_Counter, float]] = {}
        self._history: dict[Key, deque[tuple[float, dict[_Counter, float]]]] = {}

    async def close(self) -> None:
        """Close the session."""
        if self._lazy_session is not None:
            await self._lazy_session.close()

    @property
    def _session(self) -> aiohttp.ClientSession:
        """Made on first use: a session belongs to a running loop."""
        if self._lazy_session is None:
            self._lazy_session = aiohttp.ClientSession(timeout=_TIMEOUT)
        return self._lazy_session

    async def read(self, pods: Sequence[dict[str, Any]], now: float) -> Doors:
        """Offered load by service.

        A gateway that does not answer may hold requests that nobody else knows of, so a partial answer is none. One
        that is leaving, or not ready, may still hold some: it is asked too, but may be silent as long as one is ready.

        Args:
            pods: the gateways' pods, also those on their way out.
            now: Unix seconds.
        """
        running = [pod for pod in pods if pod.get("status", {}).get("phase") not in ("Succeeded", "Failed")]
        addresses = {_url(pod): is_ready(pod) and not pod["metadata"].get("deletionTimestamp") for pod in running}
        addresses.pop(None, None)
        if not running:
            return Doors(present=False)
        urls = [url for url in addresses if url is not None]
        pages = dict(zip(urls, await asyncio.gather(*(self._page(url) for url in urls)), strict=True))
        asked = sum(addresses.values())
        silent = [url for url in urls if pages[url] is None and (addresses[url] or not asked)]
        answered = {url: page for url, page in pages.items() if page is not None}
        if silent or not answered:
            why = f"gateway at {silent[0]} does not answer" if silent else "no gateway is ready"
            return Doors(present=True, detail=why, asked=asked)
        held: dict[Key, list[float]] = {}
        for url, page in answered.items():
            for key, seen in page.items():
                self._add(url, key, seen)
                sums = held.setdefault(key, [0.0, 0.0])
                sums[0] += seen.held
                sums[1] += seen.in_flight
        self._forget(set(answered), set(held))
        services = {key: self._offered(key, sums[0], sums[1], now) for key, sums in held.items()}
        return Doors(present=True, services=services, asked=asked)

    def _add(self, url: str, key: Key, seen: _Seen) -> None:
        total = self._totals.setdefault(key, {})
        last = self._last.get((url, key))
        for name, value in seen.counters.items():
            before = value if last is None else last.get(name, 0.0)
            total[name] = total.get(name, 0.0) + (value - before if value >= before else value)
        self._last[url, key] = seen.counters

    def _offered(self, key: Key, held: float, in_flight: float, now: float) -> Offered:
        total = self._totals[key]
        history = self._history.setdefault(key, deque())
        history.append((now, dict(total)))
        while len(history) > 2 and history[1][0] <= now - _HISTORY_SECONDS:
            history.popleft()
        at, start = history[0]
        window = now - at
        if window <= 0:
            return Offered(None, None, held, in_flight, window, now)
        rates = {name: (value - start.get(name, 0.0)) / window for name, value in total.items()}
        return Offered(
            rates[_ARRIVED],
            rates[_PROMPT_TOKENS],
            held,
            in_flight,
            window,
            now,
            missed=_missed(rates),
            prompt_lengths=tuple(rates[name] for name in sorted(rates) if name[0] == _LENGTH),
        )

    def _forget(self, urls: set[str], keys: set[Key]) -> None:
        self._last = {pair: value for pair, value in self._last.items() if pair[0] in urls and pair[1] in keys}
        self._totals = {key: value for key, value in self._totals.items() if key in keys}
        self._history = {key: value for key, value in self._history.items() if key in keys}

    async def _page(self, url: str) -> dict[Key, _Seen] | None:
        try:
            async with self._session.get(f"{url}/demand") as response:
                page = await response.json() if response.status == 200 else None
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return None
        return _parsed(page)


def _url(pod: dict[str, Any]) -> str | None:
    address = pod.get("status", {}).get("podIP")
    return f"http://{address}:{names.GATEWAY_ADMIN_PORT}" if address else None


def _missed(rates: Mapping[_Counter, float]) -> tuple[Missed, ...]:
    return tuple(
        Missed(
            metric=str(name[1]),
            allowed=1.0 - float(name[2]) / 100.0,
            met=rates[_OBJECTIVE, name[1], name[2], "met"],
            missed=rate,
        )
        for name, rate in rates.items()
        if name[0] == _OBJECTIVE and name[3] == "missed"
    )


def _parsed(page: Any) -> dict[Key, _Seen] | None:
    """The page's numbers; None for a page that is odd in any place, since half an answer is none."""
    try:
        found = {
            (text.partition("/")[0], text.partition("/")[2]): _Seen(
                _counters(seen), float(seen["held"]), float(seen["in_flight"])
            )
            for text, seen in page["services"].items()
        }
    except (TypeError, LookupError, ValueError, AttributeError):
        return None
    numbers = (number for seen in found.values() for number in (*seen.counters.values(), seen.held, seen.in_flight))
    return found if all(math.isfinite(number) and number >= 0 for number in numbers) else None


def _counters(seen: Mapping[str, Any]) -> dict[_Counter, float]:
    """Counters of one service; a gateway of an older version tells of no objectives and no lengths."""
    found: dict[_Counter, float] = {
        _ARRIVED: float(seen["arrived"]),
        _PROMPT_TOKENS: float(seen["prompt_tokens"]),
    }
    for bits, count in enumerate(seen.get("prompt_lengths", ())):
        found[_LENGTH, bits] = float(count)
    for item in seen.get("objectives", ()):
        for result in ("met", "missed"):
            found[_OBJECTIVE, str(item["metric"]), f"{float(item['percentile']):g}", result] = float(item[result])
    return found
