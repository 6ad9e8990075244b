"""What a policy may see at one of its ticks, and what it answers.

Everything here could be had in a real cluster: the Deployment and its pods, scraped counters, and what the gateways
answer when asked directly. No true output lengths, no future.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from penstock_lab.simulate.scrapes import Health, Page, Sums


@dataclass(frozen=True, slots=True)
class Door:
    """What the gateways answer: rates over the last seconds, counts of now.

    Attributes:
        requests_per_second: arrivals; None before two readings.
        prompt_tokens_per_second: of the arrivals; None as above.
        held: requests that wait for a replica.
        in_flight: requests handed to one and not finished.
        window_seconds: that the rates cover.
        prompt_lengths: arrivals by the bits of their prompt's length in tokens, cumulative.
        objectives: (metric, met, missed) of ended requests, cumulative, as `penstock_gateway_objective_total` counts.
        answered: the gateways answer; else nothing of this is known, and the numbers are None or 0.
    """

    requests_per_second: float | None
    prompt_tokens_per_second: float | None
    held: float
    in_flight: float
    window_seconds: float
    objectives: tuple[tuple[str, float, float], ...] = ()
    prompt_lengths: tuple[float, ...] = ()
    answered: bool = True


@dataclass(frozen=True, slots=True)
class Glance:
    """One tick.

    Attributes:
        now: seconds from the start.
        replicas: the Deployment's count; victims that still drain are in it.
        ready: pods that serve, draining ones included.
        starting: pods on their way.
        unschedulable: pods that wait for accelerators.
        scraped: sums over the pods as of the last scrape.
        pages: the newest sample of each pod.
        window_seconds: rate window.
        door: the gateways.
        startup_seconds: measured created-to-ready of the pods so far, 90th percentile; None before the first.
        startup_p50: its median; None as above.
        starting_ages: seconds since the creation of each pod on its way that has its accelerators.
        asked: what the policy answered last: `spec.replicas` where it scales for itself; None = `replicas`.
        draining: numbers of the pods that drain; a cluster without a drain would show them as terminating.
        history: the kept samples of each pod, oldest first.
        probe: asks every ready pod right now, for those who scrape engines themselves.
    """

    now: float
    replicas: int
    ready: int
    starting: int
    unschedulable: int
    scraped: Sums
    pages: list[Page]
    window_seconds: float
    door: Door
    startup_seconds: float | None
    startup_p50: float | None = None
    starting_ages: tuple[float, ...] = ()
    asked: int | None = None
    draining: frozenset[int] = frozenset()
    history: Sequence[Sequence[Page]] = ()
    probe: Callable[[], list[Page]] = field(default=list)

    @property
    def current(self) -> int:
        """`spec.replicas` as an autoscaler without our drain would find it."""
        return self.replicas if self.asked is None else self.asked

    def health(self, signal: str) -> Health:
        """How far a scraped signal (a name of `scrapes.SIGNALS`) can be trusted."""
        missing = self.scraped.health.get(signal)
        if missing is not None:
            return missing
        if self.scraped.observed_at is None:
            return Health.EMPTY
        return Health.STALE if self.now - self.scraped.observed_at > self.window_seconds else Health.FRESH

    @property
    def serving(self) -> int:
        """Ready pods that do not drain."""
        return max(0, self.ready - len(self.draining))

    def staying(self, pages: Sequence[Page]) -> list[Page]:
        """Of some pages those whose pods do not drain."""
        return [page for page in pages if page.pod not in self.draining]


@dataclass(frozen=True, slots=True)
class Bounds:
    """The least and the most replicas a policy may ask for."""

    minimum: int = 1
    maximum: int = 100

    def clamp(self, count: float) -> int:
        """The nearest count inside."""
        return int(min(self.maximum, max(self.minimum, count)))


ANY = Bounds()


class Policy(Protocol):
    """Decides a replica count, every `period_seconds`."""

    name: str
    period_seconds: float

    def desired(self, glance: Glance) -> int:
        """Replicas that are wanted now."""
        ...
