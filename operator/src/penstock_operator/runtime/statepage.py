"""`/state.json`: what every view shows, made on request from the cache and the ledger, in a thread of its own.

A tick leaves only references, so a page that nobody opens costs nothing. However many look, one answer per question is
made a second. Nothing here changes anything, and nothing secret is in it: it is as public as `/metrics` on this port.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from penstock_contract import names
from penstock_operator.api import InferenceService
from penstock_operator.core import naming
from penstock_operator.core.desired import Owner
from penstock_operator.core.ports import Manifest
from penstock_operator.core.state import Facts, ServiceState, State, service_state
from penstock_operator.core.state.types import MetricsSourceState
from penstock_operator.runtime.cache import Cache, Key
from penstock_operator.runtime.latency import Latencies
from penstock_operator.runtime.ledger import Account, Ledger

_KEEP_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Question:
    """What of the state is asked for.

    Attributes:
        key: one service only; None is all.
        brief: without decisions, history, signals and predictions, which are most of it.
    """

    key: Key | None = None
    brief: bool = False


@dataclass(frozen=True, slots=True)
class _Holding:
    """References to what there is of one service at this moment."""

    raw: Manifest
    service: InferenceService | None
    deployment: Manifest | None
    pods: list[Manifest]
    account: Account | None
    profile: str | None


class StatePage:
    """Makes the state."""

    def __init__(
        self,
        cache: Cache,
        ledger: Ledger,
        latencies: Latencies,
        *,
        clock: Callable[[], float],
        tick_seconds: float,
        version: str,
    ) -> None:
        self._cache = cache
        self._ledger = ledger
        self._latencies = latencies
        self._clock = clock
        self._tick_seconds = tick_seconds
        self._version = version
        self._kept: dict[Question, tuple[float, asyncio.Future[bytes]]] = {}

    async def body(self, question: Question) -> bytes:
        """The answer as JSON: at most a second old, or the one that is being made, however long that takes."""
        now = self._clock()
        self._kept = {one: kept for one, kept in self._kept.items() if _usable(*kept, now)}
        kept = self._kept.get(question)
        if kept is None:
            # A task of its own: the one who asked first may go away while others wait for the same.
            kept = self._kept[question] = (now, asyncio.ensure_future(self._make(question, now)))
        return await asyncio.shield(kept[1])

    async def _make(self, question: Question, now: float) -> bytes:
        holdings = list(self._holdings(question.key))
        return await asyncio.to_thread(self._render, holdings, question, now)

    def state(self, question: Question = Question()) -> State:
        """The state now."""
        now = self._clock()
        return self._state(list(self._holdings(question.key)), question, now)

    def _holdings(self, wanted: Key | None) -> Iterator[_Holding]:
        """On the loop, since a thread must not walk what the loop changes."""
        for key in sorted(self._cache.keys(names.KIND)) if wanted is None else [wanted]:
            raw = self._cache.get(names.KIND, key)
            if raw is None:
                continue
            service, uid = self._cache.service(key), str(raw["metadata"].get("uid", ""))
            deployment = self._cache.get("Deployment", (key[0], naming.child_name(key[1])))
            if deployment is not None and not Owner(*key, uid).controls(deployment):
                deployment = None
            account = self._ledger.get(key)
            yield _Holding(
                raw=raw,
                service=service if isinstance(service, InferenceService) else None,
                deployment=deployment,
                pods=self._cache.pods(key),
                account=_frozen(account) if account is not None and account.uid == uid else None,
                profile=self._latencies.profile(key),
            )

    def _render(self, holdings: list[_Holding], question: Question, now: float) -> bytes:
        state = self._state(holdings, question, now).to_json()
        return json.dumps(state, allow_nan=False, separators=(",", ":")).encode()

    def _state(self, holdings: list[_Holding], question: Question, now: float) -> State:
        error, ticked = self._ledger.source_error, self._ledger.ticked_at
        return State(
            version=self._version,
            at=now,
            tick_seconds=self._tick_seconds,
            metrics_source=MetricsSourceState(ok=None if ticked is None else error is None, detail=error or ""),
            services=tuple(self._service(holding, question, now) for holding in holdings),
            ticked_at=ticked,
        )

    def _service(self, holding: _Holding, question: Question, now: float) -> ServiceState:
        account, ticked = holding.account, self._ledger.ticked_at
        # A service that the last tick could not decide, as without a Deployment, shows no old decision as present.
        finding = account.finding if account is not None and account.finding.at == ticked else None
        shown = service_state(
            Facts(
                raw=holding.raw,
                service=holding.service,
                deployment=holding.deployment,
                pods=holding.pods,
                now=now,
                seen=None if finding is None else finding.seen,
                decision=None if finding is None else finding.decision,
                decided_at=None if finding is None else finding.at,
                attainment=None if finding is None else finding.attainment,
                profile=holding.profile,
                changes=() if account is None or question.brief else tuple(account.changes),
                history=() if account is None or question.brief else account.past.points(now),
                source_error=self._ledger.source_error,
            )
        )
        return replace(shown, signals=(), predictions=()) if question.brief else shown


def _frozen(account: Account) -> Account:
    """A copy whose changes the loop does not touch any more; the past is read in one go anyway."""
    return Account(account.uid, account.finding, account.changes.copy(), account.past)


def _usable(begun: float, answer: asyncio.Future[bytes], now: float) -> bool:
    """Whether an answer may be given again; two renders of one question never run beside each other."""
    if not answer.done():
        return True
    return 0 <= now - begun < _KEEP_SECONDS and not answer.cancelled() and answer.exception() is None
