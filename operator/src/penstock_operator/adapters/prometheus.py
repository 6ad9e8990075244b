"""Prometheus behind `core.ports.MetricsSource`: whatever goes wrong becomes Unavailable with a reason.

prometheus-api-client is synchronous, has no default timeout, retries reads and raises from three families of
exceptions. So it runs in a small thread pool of its own, one client per thread, with explicit timeouts and no
retries; a deadline above it bounds what threads cannot. Bodies are read against a deadline too: a thread that waits
for one that never ends would be lost. NaN and infinities are no numbers to act on and are dropped. Every reason says
what to look at, since it ends in conditions and events.
"""

from __future__ import annotations

import asyncio
import base64
import math
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import requests
import urllib3
from prometheus_api_client import PrometheusConnect
from urllib3.util.retry import Retry

from penstock_operator.adapters.errors import AnswerError
from penstock_operator.core.ports import Sample, Series, Unavailable

_THREADS = 4
_PATIENCE = 4  # a range answer may take so many times longer than an instant one
_EXCERPT = 120
_LONGEST_BODY = 64 << 20  # bytes
_CREDENTIALS = (
    "what it asks for is prometheus.tokenSecretRef, prometheus.basicAuthSecretRef or prometheus.headers of the chart"
)
_URL = "prometheus.url of the chart"
_NO_API = f"is {_URL} that of a query API?"
_HINTS = {401: f"; {_CREDENTIALS}", 403: f"; {_CREDENTIALS}", 404: f"; {_NO_API}", 405: f"; {_NO_API}"}
_NOBODY = (502, 503, 504)
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

    def bundle(self) -> str | None:
        """The CA bundle as a path, if there is to be one.

        Raises:
            AnswerError: the file is not there.
        """
        if self.ca_file is not None and not self.ca_file.is_file():
            raise AnswerError(f"cannot be asked: {self.ca_file} is no file; see prometheus.caConfigMapRef of the chart")
        return None if self.ca_file is None else str(self.ca_file)

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
        text = f"cannot be asked: {path} cannot be read ({type(error).__name__})"
        raise AnswerError(f"{text}; {_CREDENTIALS}") from error
    if not text or not text.isprintable():
        raise AnswerError(f"cannot be asked: {path} is empty or holds more than one line; {_CREDENTIALS}")
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
        except requests.exceptions.ConnectionError:  # ConnectTimeout is one too
            text = f"Prometheus at {self._shown} cannot be reached: does it run, and is {_URL} right?"
            return Unavailable(text, gone=True, silent=True)
        except (TimeoutError, requests.exceptions.Timeout):
            return self._late(seconds)
        except AnswerError as error:
            return Unavailable(f"Prometheus at {self._shown} {self._harmless(str(error))}", gone=error.gone)
        except (
            requests.exceptions.RequestException,
            ValueError,
            LookupError,
            TypeError,
            AttributeError,
            OSError,
        ) as error:
            return Unavailable(f"Prometheus at {self._shown} gave no usable answer ({type(error).__name__}); {_NO_API}")

    def _late(self, seconds: float) -> Unavailable:
        text = f"did not answer within {seconds:g} s: see its load, and what stands before it; else mend {_URL}"
        return Unavailable(f"Prometheus at {self._shown} {text}", silent=True)

    def _harmless(self, text: str) -> str:
        """A proxy's page may quote the address that it was asked at."""
        return text.replace(self._url, self._shown)

    def _ask(self, query: str) -> tuple[Sample, ...] | Unavailable:
        result = self._client().custom_query(query, timeout=(2, self._timeout))
        if not isinstance(result, list):
            return Unavailable(f"Prometheus at {self._shown} answered with something else than a vector; {_NO_API}")
        samples = (_sample(item) for item in result)
        return tuple(sample for sample in samples if sample is not None)

    def _ask_range(
        self, query: str, start: float, end: float, step: float, seconds: float
    ) -> tuple[Series, ...] | Unavailable:
        bounds = (datetime.fromtimestamp(start, UTC), datetime.fromtimestamp(end, UTC))
        result = self._client().custom_query_range(query, *bounds, f"{step:g}", timeout=(2, seconds))
        if not isinstance(result, list):
            return Unavailable(f"Prometheus at {self._shown} answered with something else than a matrix; {_NO_API}")
        return tuple(Series(_labels(item), _points(item["values"])) for item in result if "values" in item)

    def _client(self) -> PrometheusConnect:
        client = getattr(self._local, "client", None)
        if client is None:
            # Without `read=False` an answer that does not come in time would pass for a server that is not there.
            client = PrometheusConnect(self._url, retry=Retry(total=0, read=False))
            session = client._session  # noqa: SLF001 - the constructor offers neither a CA file nor a look at the answer
            session.hooks["response"].append(_judge)
            session.verify = self._access.bundle() or True
            self._local.client = client
        client.headers = self._access.authorization()
        return client


def _judge(response: requests.Response, *, timeout: tuple[float, float], **_settings: object) -> None:
    """Look at an answer before it is taken for a result.

    Raises:
        AnswerError: it is none.
        requests.RequestException: it did not come in time, or not to its end.
    """
    _read(response, seconds=timeout[1])
    if response.is_redirect:  # followed; where it ends is judged
        return
    text = " ".join(response.text[: 4 * _EXCERPT].split())
    page = text.startswith("<")
    status = response.status_code
    if status != requests.codes.ok:
        said = "" if page or not text else f" ({text[:_EXCERPT]})"
        raise AnswerError(f"refused the query: HTTP {status}{said}{_HINTS.get(status, '')}", gone=status in _NOBODY)
    if page:
        raise AnswerError(
            f"answered with a page, not with data: it is no query API, or a login stands before it; see {_URL}"
        )
    if not text:
        raise AnswerError(f"answered with nothing; {_NO_API}")


def _read(response: requests.Response, *, seconds: float) -> None:
    """Read the body to its end, or close the connection."""
    try:
        body = _body(response, until=time.monotonic() + seconds)
    except urllib3.exceptions.HTTPError as error:
        response.close()
        late = isinstance(error, urllib3.exceptions.ReadTimeoutError)
        raise (requests.exceptions.ReadTimeout if late else requests.exceptions.ChunkedEncodingError) from error
    except (requests.exceptions.ReadTimeout, AnswerError):
        response.close()
        raise
    response._content = body  # noqa: SLF001 - requests itself knows no deadline for a body
    response._content_consumed = True  # type: ignore[attr-defined]  # noqa: SLF001 - the same


def _body(response: requests.Response, *, until: float) -> bytes:
    """The body, against a deadline: the timeout of the socket begins anew with every byte."""
    body = bytearray()
    while piece := response.raw.read1(decode_content=True):
        body += piece
        if time.monotonic() > until:
            raise requests.exceptions.ReadTimeout
        if len(body) > _LONGEST_BODY:
            raise AnswerError(f"answered with more than {_LONGEST_BODY >> 20} MiB; {_NO_API}")
    return bytes(body)


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
