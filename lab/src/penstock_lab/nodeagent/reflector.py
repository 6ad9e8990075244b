"""List and watch without gaps: after any loss of the connection or of history the consumer's view is made whole.

A broken or closed watch goes on from the last resourceVersion; when the server has forgotten that (410), or refuses
for another reason, everything is listed again and delivered as one `Listing`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from penstock_lab.kube import UNREACHABLE, Kube, KubeError, Resource

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

_LOG: Final = logging.getLogger(__name__)
_FIRST_RETRY_SECONDS: Final = 0.1
_LAST_RETRY_SECONDS: Final = 3.0


@dataclass(frozen=True, slots=True)
class Listing:
    """All objects that there are; whatever is not among them is gone."""

    objects: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Change:
    """One object was added or modified, or is gone."""

    gone: bool
    object: dict[str, Any]


class Reflector:
    """Follows one collection for ever."""

    def __init__(self, kube: Kube, resource: Resource, **selectors: str) -> None:
        self._kube = kube
        self._resource = resource
        self._selectors = selectors
        self._version = ""
        self._delay = _FIRST_RETRY_SECONDS

    async def follow(self) -> AsyncGenerator[Listing | Change]:
        """Yield what there is and then what happens, across all interruptions."""
        while True:
            try:
                if not self._version:
                    yield await self._list()
                async with contextlib.aclosing(self._watch()) as changes:
                    async for change in changes:
                        yield change
                self._delay = _FIRST_RETRY_SECONDS
            except KubeError as error:
                self._version = ""
                if error.status != 410:
                    await self._pause(error)
            except UNREACHABLE as error:
                await self._pause(error)

    async def _list(self) -> Listing:
        found = await self._kube.list(self._resource, **self._selectors)
        self._version = found["metadata"]["resourceVersion"]
        return Listing(found["items"])

    async def _watch(self) -> AsyncGenerator[Change]:
        stream = self._kube.watch(self._resource, resource_version=self._version, **self._selectors)
        async with contextlib.aclosing(stream) as events:
            async for kind, found in events:
                self._version = found["metadata"]["resourceVersion"]
                self._delay = _FIRST_RETRY_SECONDS
                if kind != "BOOKMARK":
                    yield Change(gone=kind == "DELETED", object=found)

    async def _pause(self, error: Exception) -> None:
        if self._delay == _FIRST_RETRY_SECONDS:
            _LOG.warning("watch.interrupted resource=%s error=%r", self._resource.plural, error)
        await asyncio.sleep(self._delay)
        self._delay = min(2 * self._delay, _LAST_RETRY_SECONDS)
