"""Workers asked directly: what one pod exports now, without a metrics source between.

Used for the few pods that drain, and for scaling while the metrics source is away. A worker's image is its tenant's: no
redirect is followed, no page is read beyond a bound or a deadline, no more of it is parsed than takes milliseconds, and
a page that is odd in any place is none.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from penstock_contract import names
from penstock_operator.core.ports import Sample

_TIMEOUT = aiohttp.ClientTimeout(total=2)
_LONGEST_PAGE = 4 << 20  # bytes; an engine's page has some hundred thousand
_MOST_LINES = 50_000  # of a page; an engine's has some thousand
# Of what is parsed, on the event loop: an engine has a few hundred lines of interest, of some hundred characters each.
_LONGEST_LINE = 4 << 10
_LONGEST_TEXT = 64 << 10
_MOST_KEPT = 1_000  # lines; each costs the parser some ten microseconds, however short
_MOST_ESCAPES = 1_000  # backslashes; the parser's time grows with their square


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
        found = await self.samples(address, gauges, path=path)
        if found is None or len(found) < len(gauges):
            return None
        return sum(sample.value for samples in found.values() for sample in samples)

    async def samples(
        self, address: str, wanted: Collection[str], *, path: str
    ) -> Mapping[str, Sequence[Sample]] | None:
        """The named metrics of one pod, as far as it exports them; None when it gave no usable answer.

        Args:
            address: IP of the pod.
            wanted: metric names.
            path: of its metrics.
        """
        host = f"[{address}]" if ":" in address else address
        try:
            async with self._session.get(f"http://{host}:{names.HTTP_PORT}{path}", allow_redirects=False) as response:
                page = await _read(response) if response.status == 200 else None
            return None if page is None else samples_of(page, wanted)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return None


async def _read(response: aiohttp.ClientResponse) -> str | None:
    page = bytearray()
    async for chunk in response.content.iter_any():
        page += chunk
        if len(page) > _LONGEST_PAGE:
            return None
    return page.decode()


def samples_of(page: str, wanted: Collection[str]) -> Mapping[str, Sequence[Sample]]:
    """The named metrics of a page in Prometheus' text format; what is no finite number is not there.

    Only their lines are parsed: the histograms beside them are most of a page.

    Raises:
        ValueError: one of these lines cannot be read, or there is more of them than an engine has.
    """
    text = _kept(page, wanted)
    found: dict[str, list[Sample]] = {}
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if math.isfinite(sample.value):
                    found.setdefault(sample.name, []).append(Sample(dict(sample.labels), float(sample.value)))
    except Exception as error:  # the parser lets IndexError, KeyError and others out, as the line happens to be odd
        raise ValueError(f"no metrics page: {type(error).__name__}: {error}") from error
    return found


def _kept(page: str, wanted: Collection[str]) -> str:
    """The lines of the named metrics.

    Raises:
        ValueError: there are more lines than may be looked at, or more text than may be parsed.
    """
    if page.count("\n") > _MOST_LINES:
        raise ValueError(f"a metrics page of more than {_MOST_LINES} lines")
    lines = [line for line in page.split("\n") if line.partition("{")[0].partition(" ")[0] in wanted]
    if any(len(line) > _LONGEST_LINE for line in lines):
        raise ValueError(f"a line of metrics with more than {_LONGEST_LINE} characters")
    text = "\n".join(lines) + "\n"
    if len(text) > _LONGEST_TEXT or len(lines) > _MOST_KEPT or text.count("\\") > _MOST_ESCAPES:
        raise ValueError(
            f"metrics of more than {_LONGEST_TEXT} characters, {_MOST_KEPT} lines or {_MOST_ESCAPES} escapes"
        )
    return text
