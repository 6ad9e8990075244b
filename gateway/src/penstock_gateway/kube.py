"""The API server: credentials from `kubernetes.aio`, and list+watch that survives its absence.

A watch that ends goes on from the last resourceVersion; when the server has forgotten that (410) or refuses, all is
listed again. While the server cannot be reached nothing is told: what was known stays.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config

from penstock_gateway.errors import ConfigurationError, KubeError

Object = dict[str, Any]
_LOST: Final = (aiohttp.ClientError, OSError, TimeoutError, ValueError)
_PAGE: Final = 500
_LIST_TIMEOUT: Final = aiohttp.ClientTimeout(total=30)
_WATCH_SECONDS: Final = 300  # asked of the server; it closes the watch then and we go on
_WATCH_TIMEOUT: Final = aiohttp.ClientTimeout(total=_WATCH_SECONDS + 30, sock_connect=5, sock_read=150)
_FIRST_PAUSE_SECONDS: Final = 0.2
_LAST_PAUSE_SECONDS: Final = 5.0
_log = logging.getLogger(__name__)


@asynccontextmanager
async def connect(kubeconfig: str | None) -> AsyncIterator[ApiClient]:
    """A client of the API server, by a kubeconfig file or by the pod's service account when None.

    Raises:
        ConfigurationError: neither can be read.
    """
    if kubeconfig is not None and not _is_there(kubeconfig):
        raise ConfigurationError(f"KUBECONFIG: there is no file {kubeconfig}")
    configuration = Configuration()
    try:
        if kubeconfig is None:
            load_incluster_config(client_configuration=configuration)
        else:
            await load_kube_config(config_file=kubeconfig, client_configuration=configuration)
    except (ConfigException, OSError) as error:
        where = kubeconfig or "the pod's service account"
        raise ConfigurationError(f"no cluster configuration from {where}: {error}; set KUBECONFIG") from error
    client = ApiClient(configuration)
    try:
        yield client
    finally:
        await client.close()


@dataclass(frozen=True, slots=True)
class Sink:
    """Where the objects of a collection go.

    Attributes:
        replace: all objects there are.
        apply: one is there and looks like this.
        remove: this one is gone.
    """

    replace: Callable[[Iterable[Object]], None]
    apply: Callable[[Object], None]
    remove: Callable[[Object], None]


class Reflector:
    """Follows one collection for ever.

    Args:
        client: of the API server.
        path: of the collection, such as `/api/v1/pods`.
        sink: told of everything.
        selector: label selector.

    Attributes:
        synced: set once everything was listed.
    """

    def __init__(self, client: ApiClient, path: str, sink: Sink, *, selector: str = "") -> None:
        self._client = client
        self._path = path
        self._sink = sink
        self._selector = {"labelSelector": selector} if selector else {}
        self._version = ""
        self._pause_seconds = _FIRST_PAUSE_SECONDS
        self.synced = asyncio.Event()

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            try:
                if not self._version:
                    await self._list()
                await self._watch()
            except KubeError as error:
                self._version = ""
                if error.status != 410:
                    await self._pause(error)
            except _LOST as error:
                await self._pause(error)
            except Exception as error:  # noqa: BLE001 - one object that we misread must not end the watch
                _log.exception("event=watch_failed path=%s", self._path)
                self._version = ""
                await self._pause(error)

    async def _list(self) -> None:
        found: list[Object] = []
        token = ""
        while True:
            more = {"continue": token} if token else {}
            async with self._get(_LIST_TIMEOUT, limit=str(_PAGE), **more) as response:
                page = json.loads(await response.read())
            if not isinstance(page.get("items"), list):  # a proxy's page, say; taken for empty it would forget all
                raise KubeError(response.status, f"{self._path} answered with something else than a list")
            found += page["items"]
            token = page["metadata"].get("continue") or ""
            if not token:
                break
        self._sink.replace(found)
        self._version = page["metadata"]["resourceVersion"]
        self.synced.set()
        self._recovered()

    async def _watch(self) -> None:
        query = {"watch": "1", "allowWatchBookmarks": "true", "timeoutSeconds": str(_WATCH_SECONDS)}
        async with self._get(_WATCH_TIMEOUT, resourceVersion=self._version, **query) as response:
            async for line in response.content:
                event = json.loads(line)  # a line cut short raises, and the watch goes on from the one before
                found = event["object"]
                if event["type"] == "ERROR":
                    raise KubeError(found.get("code", 500), str(found.get("message")))
                if event["type"] == "DELETED":
                    self._sink.remove(found)
                elif event["type"] != "BOOKMARK":
                    self._sink.apply(found)
                self._version = found["metadata"]["resourceVersion"]
                self._recovered()

    @asynccontextmanager
    async def _get(self, limits: aiohttp.ClientTimeout, **query: str) -> AsyncIterator[aiohttp.ClientResponse]:
        url = f"{self._path}?{urlencode(self._selector | query)}"
        request = await self._client.param_serialize("GET", url, auth_settings=["BearerToken"])
        answer = await self._client.call_api(*request, _request_timeout=limits, _preload_content=False)
        async with answer.response as response:
            if response.status >= 400:
                raise KubeError(response.status, (await response.text())[:300])
            yield response

    async def _pause(self, error: Exception) -> None:
        if self._pause_seconds == _FIRST_PAUSE_SECONDS:
            _log.warning("event=watch_interrupted path=%s error=%r", self._path, error)
        await asyncio.sleep(self._pause_seconds * random.uniform(0.8, 1.2))
        self._pause_seconds = min(2 * self._pause_seconds, _LAST_PAUSE_SECONDS)

    def _recovered(self) -> None:
        if self._pause_seconds != _FIRST_PAUSE_SECONDS:
            _log.info("event=watch_resumed path=%s", self._path)
            self._pause_seconds = _FIRST_PAUSE_SECONDS


def _is_there(kubeconfig: str) -> bool:
    return any(Path(one).is_file() for one in kubeconfig.split(os.pathsep))
