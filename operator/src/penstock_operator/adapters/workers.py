"""Workers asked directly: how many requests one pod still has. Used for the few pods that drain, not for scaling."""

from __future__ import annotations

from collections.abc import Sequence

import aiohttp

from penstock_contract import names

_TIMEOUT = aiohttp.ClientTimeout(total=2)


class WorkerScraper:
    """Direct scrapes of worker pods."""

    def __init__(self) -> None:
        self._lazy_session: aiohttp.ClientSession | None = None

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

    async def work(self, address: str, gauges: Sequence[str], *, path: str) -> float | None:
        """Sum of the named gauges of one pod, or None when it gave no usable answer.

        Args:
            address: IP of the pod.
            gauges: metric names, for example running and waiting requests.
            path: of its metrics.
        """
        try:
            async with self._session.get(f"http://{address}:{names.HTTP_PORT}{path}") as response:
                if response.status != 200:
                    return None
                return sum_of_gauges(await response.text(), gauges)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return None


def sum_of_gauges(page: str, gauges: Sequence[str]) -> float | None:
    """Sum over all series of the named gauges of a metrics page; None when one of them is missing."""
    found = dict.fromkeys(gauges, 0.0)
    seen = set()
    for line in page.splitlines():
        if line.startswith("#"):
            continue
        name = line.partition("{")[0].partition(" ")[0]
        if name in found:
            found[name] += float(line.rsplit(" ", 1)[1])
            seen.add(name)
    return sum(found.values()) if len(seen) == len(found) else None
