"""What goes wrong in a simulated world, and what is still seen of it.

A fault lasts from `start` to `end`. Faults of the metrics change what a policy is shown and nothing else; faults of
pods change the world, and the policy finds out by itself. What is absent is marked as such in `Sums.health`; its value
is 0 there, which is what a reader sees that asks no further.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from penstock_lab.simulate.policies.base import Door, Glance
from penstock_lab.simulate.scrapes import RATES, SIGNALS, Health, Page, Sums

DOOR = "door"
NO_DOOR = Door(None, None, 0.0, 0.0, 0.0, answered=False)


class Kind(StrEnum):
    """What fails. Of signals: `signals` of the fault, or all."""

    SOURCE_DOWN = "metrics source down"  # queries fail; nothing is scraped meanwhile
    EMPTY = "no series"  # queries answer with nothing
    FROZEN = "frozen"  # a cache answers with what it saw last, and says how old that is
    GAP = "scrapes missed"  # the source answers, and finds its samples ever older
    PARTIAL = "some pods not scraped"
    ZERO = "reads zero"  # fresh, and wrong
    NEGATIVE = "reads negative"  # fresh, and impossible
    RESET = "counters reset"
    DOOR_DOWN = "gateways do not answer"
    RESTART = "operator restarted"  # no tick in between, then an empty memory
    CRASH = "pods crash"  # their containers start again, requests are lost
    NODE_LOSS = "node lost"  # pods gone at once, requests with them
    NO_STARTUP = "start-up hangs"
    QUOTA = "unschedulable"  # nothing new gets accelerators


_BLIND = frozenset({Kind.SOURCE_DOWN, Kind.FROZEN, Kind.GAP})
_OF_SIGNALS = frozenset({Kind.SOURCE_DOWN, Kind.EMPTY, Kind.ZERO, Kind.NEGATIVE})


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that fails for a while.

    Attributes:
        kind: what.
        start: seconds.
        end: seconds.
        signals: names of `SIGNALS`, or `door`, that it is about; empty = all that are scraped.
        share: of the ready pods, for PARTIAL.
        count: pods, for CRASH and NODE_LOSS.
    """

    kind: Kind
    start: float
    end: float
    signals: tuple[str, ...] = ()
    share: float = 0.5
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end:
            raise ValueError(f"a fault must end after it starts, got {self.start}..{self.end}")
        unknown = set(self.signals) - {*SIGNALS, DOOR}
        if unknown:
            raise ValueError(f"no signal {', '.join(sorted(unknown))}; there are {', '.join((*SIGNALS, DOOR))}")
        if self.signals and self.kind not in _OF_SIGNALS:
            raise ValueError(f"{self.kind.value!r} is about all signals, not about {', '.join(self.signals)}")

    @property
    def blinds(self) -> bool:
        """Nothing at all is scraped meanwhile."""
        return not self.signals and (self.kind in _BLIND or self.kind is Kind.EMPTY)


@dataclass(slots=True)
class Outages:
    """Which faults there are at a time.

    Attributes:
        faults: all of them.
        active: those of now.
    """

    faults: tuple[Fault, ...]
    active: list[Fault] = field(default_factory=list)

    def next_edge(self, now: float) -> float:
        """When the next one begins or ends; infinite when none does."""
        edges = (edge for fault in self.faults for edge in (fault.start, fault.end) if edge > now)
        return min(edges, default=math.inf)

    def turn(self, now: float) -> tuple[list[Fault], list[Fault]]:
        """Those that begin and those that end now."""
        current = [fault for fault in self.faults if fault.start <= now < fault.end]
        begun = [fault for fault in current if fault not in self.active]
        ended = [fault for fault in self.active if fault not in current]
        self.active = current
        return begun, ended

    def any(self, *kinds: Kind) -> bool:
        """One of these kinds is active."""
        return any(fault.kind in kinds for fault in self.active)

    @property
    def blind(self) -> bool:
        """Nothing is scraped now."""
        return any(fault.blinds for fault in self.active)


def veiled(glance: Glance, faults: Iterable[Fault]) -> Glance:
    """What is left of a glance under the faults of the metrics that are active."""
    for fault in faults:
        if fault.kind is Kind.DOOR_DOWN:
            glance = replace(glance, door=NO_DOOR)
        elif fault.kind is Kind.SOURCE_DOWN:
            glance = _without(glance, fault.signals, Health.ERROR)
        elif fault.kind is Kind.EMPTY:
            glance = _without(glance, fault.signals, Health.EMPTY)
        elif fault.kind is Kind.ZERO:
            glance = _wrong(glance, fault.signals or (*SIGNALS, DOOR), 0.0)
        elif fault.kind is Kind.NEGATIVE:
            glance = _wrong(glance, fault.signals or tuple(SIGNALS), -1.0)
    return glance


def _without(glance: Glance, signals: Sequence[str], health: Health) -> Glance:
    """Some signals gone, or the whole source."""
    door = NO_DOOR if DOOR in signals else glance.door
    names = [name for name in signals if name != DOOR] if signals else list(SIGNALS)
    if not names:
        return replace(glance, door=door)
    seen = _written(glance.scraped, names, 0.0)
    known = {**seen.health, **dict.fromkeys(names, health)}
    if not signals:
        seen = replace(seen, reporting=0, observed_at=None, health=known)
        return replace(glance, scraped=seen, pages=[], history=(), door=door)
    pages, history = _pages(glance, names, 0.0)
    return replace(glance, scraped=replace(seen, health=known), pages=pages, history=history, door=door)


def _wrong(glance: Glance, signals: Sequence[str], value: float) -> Glance:
    """Some signals fresh and false."""
    names = [name for name in signals if name != DOOR]
    door = glance.door
    if DOOR in signals:
        door = replace(door, requests_per_second=0.0, prompt_tokens_per_second=0.0, held=0.0, in_flight=0.0)
    pages, history = _pages(glance, names, value)
    return replace(glance, scraped=_written(glance.scraped, names, value), pages=pages, history=history, door=door)


def _written(sums: Sums, names: Sequence[str], value: float) -> Sums:
    rates = sums.rates.copy()
    for name in names:
        if name in RATES:
            rates[SIGNALS[name]] = value
    return replace(
        sums,
        rates=rates,
        running=value if "running" in names else sums.running,
        waiting=value if "waiting" in names else sums.waiting,
        kv_used=value if "kv_used" in names else sums.kv_used,
    )


def _pages(glance: Glance, names: Sequence[str], value: float) -> tuple[list[Page], list[list[Page]]]:
    columns = [SIGNALS[name] for name in names]

    def written(page: Page) -> Page:
        values = page.values.copy()
        values[columns] = value
        return replace(page, values=values)

    return [written(page) for page in glance.pages], [[written(page) for page in pages] for pages in glance.history]
