"""What the operator says of itself: readiness, its own histograms, and how long its event loop keeps one waiting."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

_PROBES_PER_SECOND = 10


@dataclass(frozen=True, slots=True)
class Scrape:
    """One look at `/metrics`.

    Attributes:
        seconds: until the last byte.
        size: bytes.
        series: samples in it.
        histograms: name to (bound to cumulative count), for those without labels.
        sums: name to (sum, count).
    """

    seconds: float
    size: int
    series: int
    histograms: dict[str, dict[float, float]]
    sums: dict[str, tuple[float, float]]


class Endpoints:
    """The operator's HTTP endpoints."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._url = url
        self._session = session

    async def ready(self) -> bool:
        """Whether `/readyz` says so."""
        try:
            async with self._session.get(f"{self._url}/readyz") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    async def scrape(self) -> Scrape:
        """Fetch and read `/metrics`."""
        began = time.monotonic()
        async with self._session.get(f"{self._url}/metrics") as answer:
            text = await answer.text()
        seconds = time.monotonic() - began
        lines = [line for line in text.splitlines() if line and not line.startswith("#")]
        # Only the histograms are of interest: reading 10^5 gauges would take longer than the whole rest.
        own = "\n".join(line for line in lines if "_seconds_" in line and "inferenceservice=" not in line)
        histograms: dict[str, dict[float, float]] = {}
        values: dict[str, float] = {}
        for family in text_string_to_metric_families(own + "\n"):
            for sample in family.samples:
                if "le" in sample.labels:
                    name = sample.name.removesuffix("_bucket")
                    histograms.setdefault(name, {})[float(sample.labels["le"])] = sample.value
                else:
                    values[sample.name] = sample.value
        sums = {name: (values.get(f"{name}_sum", 0.0), values.get(f"{name}_count", 0.0)) for name in histograms}
        return Scrape(seconds, len(text), len(lines), histograms, sums)

    async def lag(self, seconds: float) -> list[float]:
        """Answer times of `/livez`, which does no work, asked ten times a second: the loop's lag, in seconds."""
        found = []
        end = time.monotonic() + seconds
        while (began := time.monotonic()) < end:
            async with self._session.get(f"{self._url}/livez") as answer:
                await answer.read()
            found.append(time.monotonic() - began)
            await asyncio.sleep(max(0.0, 1 / _PROBES_PER_SECOND - found[-1]))
        return found


def quantile(values: Sequence[float], fraction: float) -> float:
    """The value below which a fraction lies, nearest rank."""
    return sorted(values)[max(0, math.ceil(fraction * len(values)) - 1)] if values else math.nan


def spent(before: Scrape, after: Scrape, name: str) -> dict[str, float]:
    """Count, mean and the bounds of the buckets that hold p50 and p99 of what a histogram got between two scrapes."""
    counts = {bound: count - before.histograms[name][bound] for bound, count in sorted(after.histograms[name].items())}
    total = counts[math.inf]
    seconds = after.sums[name][0] - before.sums[name][0]

    def bound(fraction: float) -> float:
        return next((upper for upper, count in counts.items() if total and count >= fraction * total), math.nan)

    return {"count": total, "mean": seconds / total if total else math.nan, "p50": bound(0.5), "p99": bound(0.99)}
