"""Prometheus behind `core.ports.MetricsSource`: whatever goes wrong becomes Unavailable with a reason.

prometheus-api-client is synchronous, has no default timeout, retries reads and raises from three families of
exceptions. So it runs in a small thread pool of its own, one client per thread, with explicit timeouts and no
retries; a deadline above it bounds what threads cannot. NaN and infinities are no numbers to act on and are dropped.
"""

from __future__ import annotations

import asyncio
import base64
import math
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import requests
from prometheus_api_client import PrometheusConnect
from urllib3.util.retry import Retry

from penstock_operator.adapters.errors import AnswerError
from penstock_operator.core.ports import Sample, Series, Unavailable

_THREADS = 4
_PATIENCE = 4  # a range answer may take so many times longer than an instant one
_EXCERPT = 120
_CREDENTIALS = (
    "what it asks for is prometheus.tokenSecretRef, prometheus.basicAuthSecretRef or prometheus.headers of the chart"
)
_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class Access:
    """What Prometheus asks of those who query it. Files are read anew for each query, so that they may be rotated.

    Attributes:
        token_file: bearer token; None = none.
        username_file: user of basic authentication; None = none.
        password_file: its password.
        ca_file: CA bundle; None = the system's.
        headers: further headers, such as `X-Scope-OrgID`.
    """

    token_file: Path | None = None
    username_file: Path | None = None
    password_file: Path | None = None
    ca_file: Path | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def authorization(self) -> dict[str, str]:
        """All headers of a query.

        Raises:
            AnswerError: a file is not there, or holds nothing that can be sent.
        """
        if self.token_file is not None:
            return {**self.headers, "Authorization": f"Bearer {_secret(self.token_file)}"}
        if self.username_file is not None and self.password_file is not None:
            pair = f"{_secret(self.username_file)}:{_secret(self.password_file)}".encode()
            return {**self.headers, "Authorization": f"Basic {base64.b64encode(pair).decode()}"}
        return dict(self.headers)


def _secret(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise AnswerError(f"cannot be asked: {path} cannot be read ({type(error).__name__})") from error
    if not text or not text.isprintable():
        raise AnswerError(f"cannot be asked: {path} is empty or holds more than one line")
    return text


def without_credentials(url: str) -> str:
    """The URL as messages may show it: they end in conditions, logs and on a public page."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


class PrometheusSource:
    """Queries against one Prometheus-compatible URL; user and password in it are used, and never said."""

    def __init__(self, url: str, *, timeout_seconds: float = 5.0, access: Access | None = None) -> None:
        self._url = url
        self._shown = without_credentials(url)
        self._timeout = timeout_seconds
        self._access = access or Access()
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
        except requests.exceptions.SSLError as error:
            return Unavailable(
                f"Prometheus at {self._shown} has a certificate that is not trusted, see prometheus.caConfigMapRef of "
                f"the chart: {self._harmless(str(error))[-_EXCERPT:]}"
            )
        except (TimeoutError, requests.exceptions.Timeout):
            return Unavailable(f"Prometheus at {self._shown} did not answer within {seconds:g} s")
        except requests.exceptions.ConnectionError:
            return Unavailable(f"Prometheus at {self._shown} cannot be reached")
        except AnswerError as error:
            return Unavailable(f"Prometheus at {self._shown} {self._harmless(str(error))}")
        except (
            requests.exceptions.RequestException,
            ValueError,
            LookupError,
            TypeError,
            AttributeError,
            OSError,
        ) as error:
            return Unavailable(f"Prometheus at {self._shown} gave no usable answer: {type(error).__name__}")

    def _harmless(self, text: str) -> str:
        """A proxy's page may quote the address that it was asked at."""
        return text.replace(self._url, self._shown)

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
            # Without `read=False` an answer that does not come in time would pass for a server that is not there.
            client = PrometheusConnect(self._url, retry=Retry(total=0, read=False))
            session = client._session  # noqa: SLF001 - the constructor offers neither a CA file nor a look at the answer
            session.hooks["response"].append(_judge)
            if self._access.ca_file is not None:
                session.verify = str(self._access.ca_file)
            self._local.client = client
        client.headers = self._access.authorization()
        return client


def _judge(response: requests.Response, **_settings: object) -> None:
    """Look at an answer before it is taken for a result.

    Raises:
        AnswerError: it is none.
    """
    if response.is_redirect:  # followed; where it ends is judged
        return
    text = " ".join(response.text[: 4 * _EXCERPT].split())
    page = text.startswith("<")
    if response.status_code != requests.codes.ok:
        said = "" if page or not text else f" ({text[:_EXCERPT]})"
        hint = f"; {_CREDENTIALS}" if response.status_code in (401, 403) else ""
        raise AnswerError(f"refused the query: HTTP {response.status_code}{said}{hint}")
    if page:
        raise AnswerError("answered with a page, not with data: it is no query API, or a login stands before it")
    if not text:
        raise AnswerError("answered with nothing: is it the URL of a query API?")


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
