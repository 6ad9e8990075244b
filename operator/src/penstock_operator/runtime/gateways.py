"""What the gateways see: requests offered and held, per service, read from each gateway once a tick.

Gateways share nothing, so their counters are added up here. A gateway that restarts begins at zero; its counters are
followed by their increases. Without any gateway the answer is None, not zero: nobody counts at the door then.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from typing import Any

import aiohttp

from penstock_contract import names
from penstock_operator.core.observe import Door, Offered
from penstock_operator.core.pods import is_ready

_TIMEOUT = aiohttp.ClientTimeout(total=2)
_HISTORY_SECONDS = 15.0
Key = tuple[str, str]


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

    arrived: float
    prompt_tokens: float
    held: float
    in_flight: float


@dataclass(slots=True)
class _Total:
    arrived: float = 0.0
    prompt_tokens: float = 0.0


class Gateways:
    """Reads `/demand` of every known gateway."""

    def __init__(self) -> None:
        self._lazy_session: aiohttp.ClientSession | None = None
        self._last: dict[tuple[str, Key], _Total] = {}
        self._totals: dict[Key, _Total] = {}
        self._history: dict[Key, deque[tuple[float, float, float]]] = {}

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
        total = self._totals.setdefault(key, _Total())
        last = self._last.get((url, key))
        arrived, tokens = seen.arrived, seen.prompt_tokens
        if last is not None:
            total.arrived += arrived - last.arrived if arrived >= last.arrived else arrived
            total.prompt_tokens += tokens - last.prompt_tokens if tokens >= last.prompt_tokens else tokens
        self._last[url, key] = _Total(arrived, tokens)

    def _offered(self, key: Key, held: float, in_flight: float, now: float) -> Offered:
        total = self._totals[key]
        history = self._history.setdefault(key, deque())
        history.append((now, total.arrived, total.prompt_tokens))
        while len(history) > 2 and history[1][0] <= now - _HISTORY_SECONDS:
            history.popleft()
        start = history[0]
        window = now - start[0]
        rates: tuple[float | None, float | None] = (None, None)
        if window > 0:
            rates = ((total.arrived - start[1]) / window, (total.prompt_tokens - start[2]) / window)
        return Offered(rates[0], rates[1], held, in_flight, window, now)

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


def _parsed(page: Any) -> dict[Key, _Seen] | None:
    """The page's numbers; None for a page that is odd in any place, since half an answer is none."""
    try:
        found = {
            (text.partition("/")[0], text.partition("/")[2]): _Seen(
                **{field.name: float(seen[field.name]) for field in fields(_Seen)}
            )
            for text, seen in page["services"].items()
        }
    except (TypeError, LookupError, ValueError, AttributeError):
        return None
    usable = all(math.isfinite(number) and number >= 0 for seen in found.values() for number in astuple(seen))
    return found if usable else None
