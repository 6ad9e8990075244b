"""What the operator says of one service, read from its `/state.json`: the one source of everything the demo shows.

A number that the operator does not know is None here, never 0. Numbers that the page must have (replica counts, its
time) are checked where they are read, so that nothing behind this module meets a surprise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import aiohttp

from penstock_lab.demo.errors import StateError

STATE_PATH = "/state.json"
_TIMEOUT_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Replicas:
    """Counts of one service's replicas.

    Attributes:
        desired: decided.
        ready: of the pods that stay or drain; one that was told to end is not among them.
        starting: not ready yet.
        draining: marked to go or ending; those that only drain are ready too.
        held: that hold their accelerators, from scheduled to gone.
        least: lower bound.
        most: upper bound.
    """

    desired: int
    ready: int
    starting: int
    draining: int
    held: int
    least: int
    most: int

    @property
    def serving(self) -> int:
        """Ready and meant to stay."""
        return max(0, min(self.ready, self.held - self.starting - self.draining))


@dataclass(frozen=True, slots=True)
class Load:
    """Tokens/s are generated tokens; `waiting` is in the workers' queues, `held` at the gateways."""

    offered_tokens_per_second: float | None
    served_tokens_per_second: float | None
    running: float | None
    waiting: float | None
    held: float | None

    @property
    def queued(self) -> float | None:
        """Requests held and waiting; None when neither is known."""
        known = [value for value in (self.held, self.waiting) if value is not None]
        return sum(known) if known else None


@dataclass(frozen=True, slots=True)
class Objective:
    """One objective: `percentile` percent of requests within `threshold_seconds`.

    Attributes:
        metric: TTFT, TPOT, …
        percentile: as in the resource, `99` or `99.9`.
        threshold_seconds: what is asked.
        value_seconds: that percentile as the gateways measured it over the objective's window.
        attainment: share (0 to 1) of requests that met it.
        budget_left: share of the error budget; negative when overspent.
    """

    metric: str
    percentile: str
    threshold_seconds: float
    value_seconds: float | None = None
    attainment: float | None = None
    budget_left: float | None = None

    @property
    def name(self) -> str:
        """As in `TTFT p99`."""
        return f"{self.metric} p{self.percentile}"

    @property
    def asked(self) -> float:
        """Share of requests that must meet it."""
        return float(self.percentile) / 100


@dataclass(frozen=True, slots=True)
class Change:
    """A decision that changed the count.

    Attributes:
        at: seconds since the epoch.
        before: replicas.
        after: replicas.
        reason: machine-readable, such as `OfferedLoad`.
        message: the numbers it was made from.
    """

    at: float
    before: int
    after: int
    reason: str
    message: str

    @property
    def sentence(self) -> str:
        """The whole of it, as in the event of the decision."""
        return f"{self.before} -> {self.after} replicas ({self.reason}): {self.message}"


@dataclass(frozen=True, slots=True)
class State:
    """One service at one time, seconds since the epoch."""

    at: float
    replicas: Replicas
    load: Load
    capacity_per_replica: float | None
    objectives: tuple[Objective, ...]
    cost_per_hour: float | None
    cost_per_million_tokens: float | None
    currency: str
    decision: str
    changes: tuple[Change, ...]

    @property
    def capacity_tokens_per_second(self) -> float | None:
        """Of all ready replicas that stay; one that drains takes no new requests."""
        one = self.capacity_per_replica
        return None if one is None else one * self.replicas.serving

    @property
    def utilisation(self) -> float | None:
        """Offered load over the capacity of what is ready."""
        offered, capacity = self.load.offered_tokens_per_second, self.capacity_tokens_per_second
        return None if offered is None or not capacity else offered / capacity


def parse(page: Any, *, namespace: str, name: str, replica_price: float) -> State:
    """The state of one service.

    Args:
        page: decoded `/state.json`.
        namespace: of the service.
        name: of the service.
        replica_price: of one replica for an hour: the cost per hour over it is what is held. 0 when unknown; then
            pods that were told to end are not counted.

    Raises:
        StateError: the service is not on the page, or the page has another shape; the message names the field.
    """
    try:
        found = [one for one in page["services"] if (one["namespace"], one["name"]) == (namespace, name)]
        if not found:
            raise StateError(f"{STATE_PATH}: no service {namespace}/{name} yet")
        return _state(found[0], at=float(page["at"]), replica_price=replica_price)
    except (KeyError, TypeError, ValueError) as error:
        raise StateError(f"{STATE_PATH}: {type(error).__name__}: {error}") from error


def _state(one: dict[str, Any], *, at: float, replica_price: float) -> State:
    load, cost = one.get("load") or {}, one.get("cost") or {}
    decision = one.get("decision") or {}
    return State(
        at=at,
        replicas=_replicas(one["replicas"], cost_per_hour=cost.get("per_hour"), replica_price=replica_price),
        load=Load(
            offered_tokens_per_second=load.get("offered_tokens_per_second"),
            served_tokens_per_second=load.get("served_tokens_per_second"),
            running=load.get("running"),
            waiting=load.get("waiting"),
            held=load.get("held"),
        ),
        capacity_per_replica=(one.get("capacity") or {}).get("tokens_per_second_per_replica"),
        objectives=tuple(_objective(item) for item in one.get("objectives") or ()),
        cost_per_hour=cost.get("per_hour"),
        cost_per_million_tokens=cost.get("per_million_tokens"),
        currency=str(cost.get("currency") or "USD"),
        decision=str(decision.get("message") or ""),
        changes=tuple(_change(item) for item in one.get("decisions") or ()),
    )


def _replicas(counts: dict[str, Any], *, cost_per_hour: float | None, replica_price: float) -> Replicas:
    ready, starting = int(counts["ready"]), int(counts.get("starting") or 0)
    desired = next((counts[key] for key in ("desired", "asked") if counts.get(key) is not None), ready)
    held = ready + starting + int(counts.get("failing") or 0)
    if cost_per_hour is not None and replica_price > 0:
        held = round(cost_per_hour / replica_price)
    return Replicas(
        desired=int(desired),
        ready=ready,
        starting=starting,
        draining=int(counts.get("draining") or 0),
        held=held,
        least=int(counts.get("min") or 0),
        most=max(int(counts.get("max") or 0), int(desired)),
    )


def _objective(item: dict[str, Any]) -> Objective:
    return Objective(
        metric=str(item["metric"]),
        percentile=str(item["percentile"]),
        threshold_seconds=float(item["threshold_seconds"]),
        value_seconds=item.get("value_seconds"),
        attainment=item.get("attainment"),
        budget_left=item.get("error_budget_left"),
    )


def _change(item: dict[str, Any]) -> Change:
    return Change(
        at=float(item["at"]),
        before=int(item["from"]),
        after=int(item["to"]),
        reason=str(item["reason"]),
        message=str(item["message"]),
    )


async def fetch(session: aiohttp.ClientSession, url: str) -> Any:
    """Read the page of an operator, decoded.

    Args:
        session: to read with.
        url: base URL of the operator.

    Raises:
        StateError: no answer, a refusal, or no JSON.
    """
    try:
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)
        async with session.get(url + STATE_PATH, timeout=timeout) as response:
            if response.status != 200:
                raise StateError(f"{url}{STATE_PATH} answered {response.status}")
            return await response.json()
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        raise StateError(f"{url}{STATE_PATH}: {type(error).__name__}: {error}") from error
