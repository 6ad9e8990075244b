"""What the core and the runtime need from the outside world, as Protocols that adapters implement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

Manifest = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Sample:
    """One element of an instant vector.

    Attributes:
        labels: label names to values, without `__name__`.
        value: finite number.
    """

    labels: dict[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Unavailable:
    """A query that got no usable answer. Not an empty answer: that is an empty tuple of samples.

    Attributes:
        reason: what is wrong and what to look at, for people.
        gone: nobody is there. Not so when something answers wrongly or late: that may be the wrong thing to ask.
        silent: no answer came at all, so the next question would only wait as long.
    """

    reason: str
    gone: bool = False
    silent: bool = False


@dataclass(frozen=True, slots=True)
class Series:
    """One element of a range answer.

    Attributes:
        labels: label names to values, without `__name__`.
        points: (Unix seconds, finite number), oldest first.
    """

    labels: dict[str, str]
    points: tuple[tuple[float, float], ...]


class MetricsSource(Protocol):
    """A Prometheus-compatible query API."""

    async def instant(self, query: str) -> tuple[Sample, ...] | Unavailable:
        """Evaluate `query` now; never raises."""
        ...

    async def range(self, query: str, *, start: float, end: float, step: float) -> tuple[Series, ...] | Unavailable:
        """Evaluate `query` every `step` seconds from `start` to `end` (whole Unix seconds); never raises."""
        ...


class Kube(Protocol):
    """The API server, as far as the runtime uses it. Objects are plain dictionaries."""

    async def list(self, kind: str, *, label_selector: str = "") -> list[Manifest]:
        """All objects of a kind, cluster-wide or in the watched namespaces."""
        ...

    async def get(self, kind: str, *, namespace: str, name: str) -> Manifest | None:
        """One object, or None when it does not exist."""
        ...

    async def apply(self, manifest: Manifest, *, manager: str, force: bool = True) -> Manifest:
        """Server-side apply of a whole intent; returns the live object."""
        ...

    async def apply_status(self, manifest: Manifest, *, manager: str) -> Manifest:
        """Server-side apply of the status subresource."""
        ...

    async def scale(self, *, namespace: str, name: str, replicas: int, manager: str) -> None:
        """Server-side apply of a Deployment's `/scale` with force."""
        ...

    async def annotate_pod(self, *, namespace: str, name: str, annotations: Mapping[str, str | None]) -> None:
        """Set annotations of a pod, or remove those that are None; a pod that is gone needs none."""
        ...

    async def create_event(self, event: Manifest) -> None:
        """Post an event; failures are logged, never raised."""
        ...
