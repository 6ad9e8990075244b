"""Prometheus behind `core.ports.MetricsSource`: whatever goes wrong becomes Unavailable with a reason.

prometheus-api-client is synchronous, has no default timeout, retries reads and raises from three families of
exceptions. So it runs in a small thread pool of its own, one client per thread, with explicit timeouts and no
retries; a deadline above it bounds what threads cannot. NaN and infinities are no numbers to act on and are dropped.
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import requests
from prometheus_api_client import PrometheusApiClientException, PrometheusConnect
from urllib3.util.retry import Retry

from penstock_operator.core.ports import Sample, Series, Unavailable

_THREADS = 4
_PATIENCE = 4  # a range answer may take so many times longer than an instant one
_Answer = TypeVar("_Answer")


def without_credentials(url: str) -> str:
    """The URL as messages may show it: they end in conditions, logs and on a public page."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


class PrometheusSource:
    """Queries against one Prometheus-compatible URL; user and password in it are used, and never said."""

    def __init__(
        self, url: str, *, timeout_seconds: float = 5.0, token_file: Path | None = None, ca_file: Path | None = None
    ) -> None:
        self._url = url
        self._shown = without_credentials(url)
        self._timeout = timeout_seconds
        self._token_file = token_file
        self._ca_file = ca_file
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="prometheus")
        self._local = threading.local()

    def close(self) -> None:
        """Give up on running queries and free the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def instant(self, query: str) -> tuple[Sample, ...] | Unavailable:
        """Evaluate `query` now; never raises."""
        return await self._answer(lambda: self._ask(query), seconds=self._timeout)

    async def range(self, query: str, *, start: float, end: float, step: float) -> tuple[Series, ...] | Unavailable:
        """Evaluate `query` every `step` seconds from `start` to `end` (whole Unix seconds); never raises."""
        seconds = _PATIENCE * self._timeout
        return await self._answer(lambda: self._ask_range(query, start, end, step, seconds), seconds=seconds)

    async def _answer(self, ask: Callable[[], _Answer | Unavailable], *, seconds: float) -> _Answer | Unavailable:
        loop = asyncio.get_running_loop()
        try:
            return await asyncio.wait_for(loop.run_in_executor(self._pool, ask), timeout=seconds + 1)
        except requests.exceptions.ConnectionError:
            return Unavailable(f"Prometheus at {self._shown} cannot be reached")
        except (TimeoutError, requests.exceptions.Timeout):
            return Unavailable(f"Prometheus at {self._shown} did not answer within {seconds:.0f} s")
        except PrometheusApiClientException as error:
            return Unavailable(f"Prometheus at {self._shown} refused the query: {self._harmless(error)}")
        except (
            requests.exceptions.RequestException,
            ValueError,
            LookupError,
            TypeError,
            AttributeError,
            OSError,
        ) as error:
            return Unavailable(f"Prometheus at {self._shown} gave no usable answer: {type(error).__name__}")

    def _harmless(self, error: Exception) -> str:
        """What was answered, in short; a proxy's page may quote the address that it was asked at."""
        return str(error).replace(self._url, self._shown)[:200]

    def _ask(self, query: str) -> tuple[Sample, ...] | Unavailable:
        result = self._client().custom_query(query, timeout=(2, self._timeout))
        if not isinstance(result, list):
            return Unavailable(f"Prometheus at {self._shown} answered with something else than a vector")
        samples = (_sample(item) for item in result)
        return tuple(sample for sample in samples if sample is not None)

    def _ask_range(
        self, query: str, start: float, end: float, step: float, seconds: float
    ) -> tuple[Series, ...] | Unavailable:
        bounds = (datetime.fromtimestamp(start, UTC), datetime.fromtimestamp(end, UTC))
        result = self._client().custom_query_range(query, *bounds, f"{step:g}", timeout=(2, seconds))
        if not isinstance(result, list):
            return Unavailable(f"Prometheus at {self._shown} answered with something else than a matrix")
        return tuple(Series(_labels(item), _points(item["values"])) for item in result if "values" in item)

    def _client(self) -> PrometheusConnect:
        client = getattr(self._local, "client", None)
        if client is None:
            client = PrometheusConnect(self._url, retry=Retry(total=0))
            if self._ca_file is not None:
                client._session.verify = str(self._ca_file)  # noqa: SLF001 - the constructor offers no CA file
            self._local.client = client
        if self._token_file is not None:
            client.headers = {"Authorization": f"Bearer {self._token_file.read_text(encoding='utf-8').strip()}"}
        return client


def _sample(item: Any) -> Sample | None:
    if "histogram" in item:  # one that a worker exports must not spoil the answer for all the others
        return None
    value = float(item["value"][1])
    if not math.isfinite(value):
        return None
    return Sample(labels=_labels(item), value=value)


def _points(values: Any) -> tuple[tuple[float, float], ...]:
    points = ((float(at), float(text)) for at, text in values)
    return tuple(point for point in points if math.isfinite(point[1]))


def _labels(item: Any) -> dict[str, str]:
    return {str(key): str(text) for key, text in item.get("metric", {}).items() if key != "__name__"}
