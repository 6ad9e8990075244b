"""What the autoscaler found out, kept for those who look: metrics, the last changes, a bounded past of each service.

Nothing is worked out here that nobody asks for: a tick leaves references to what it made anyway, and now and then a
point of ten numbers. What is shown is made of them on request (`runtime.statepage`).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from penstock_operator.core import pods
from penstock_operator.core.scaling import Decision, Observation
from penstock_operator.core.sla import Attainment
from penstock_operator.core.state import Change, history_point
from penstock_operator.core.state.ring import Ring, spacing
from penstock_operator.runtime.latency import Latencies
from penstock_operator.runtime.metrics import Key, Metrics
from penstock_operator.runtime.terms import Terms

Manifest = dict[str, Any]
_CHANGES = 20


@dataclass(frozen=True, slots=True)
class Finding:
    """What one tick found out about one service.

    Attributes:
        at: Unix seconds of the tick.
        terms: what its spec asks for.
        workers: its pods.
        seen: what was observed; None when the count is fixed.
        decision: what was decided on that; None as above.
        attainment: of its objectives; None when it could not be had.
    """

    at: float
    terms: Terms
    workers: list[Manifest]
    seen: Observation | None = None
    decision: Decision | None = None
    attainment: list[Attainment] | None = None


@dataclass(slots=True)
class Account:
    """What is kept of one service."""

    uid: str
    finding: Finding
    changes: deque[Change] = field(default_factory=lambda: deque(maxlen=_CHANGES))
    past: Ring = field(default_factory=Ring)


class Ledger:
    """The accounts of all services."""

    def __init__(self, metrics: Metrics, latencies: Latencies | None = None) -> None:
        self._metrics = metrics
        self._latencies = latencies or Latencies()
        self._accounts: dict[Key, Account] = {}
        self._spacing = spacing(1)
        self.source_error: str | None = None
        self.ticked_at: float | None = None

    def tick(self, now: float, *, source_error: str | None) -> None:
        """A tick begins.

        Args:
            now: Unix seconds.
            source_error: why the metrics source gave nothing at all; None when it answered.
        """
        self.ticked_at, self.source_error = now, source_error
        self._spacing = spacing(len(self._accounts))

    def account(self, key: Key, finding: Finding, *, elapsed: float) -> None:
        """Take what a tick found out: its decision, accelerator-seconds from scheduled to deleted, cost.

        Args:
            key: (namespace, name) of the service.
            finding: what was found out.
            elapsed: seconds since the tick before.
        """
        self._measure(key, finding, elapsed)
        known, uid = self._accounts.get(key), finding.terms.service.metadata.uid
        if known is None or known.uid != uid:
            known = self._accounts[key] = Account(uid, finding)
        _note_change(known, finding)
        known.finding = finding
        if known.past.due(finding.at, spacing_seconds=self._spacing):
            latencies = self._latencies.of(key)
            known.past.add(finding.at, history_point(finding.seen, finding.decision, finding.workers, latencies))

    def get(self, key: Key) -> Account | None:
        """What is kept of a service, or None."""
        return self._accounts.get(key)

    def forget(self, key: Key) -> None:
        """Drop what is known of a service that is gone."""
        self._accounts.pop(key, None)
        self._metrics.forget(key)

    def _measure(self, key: Key, finding: Finding, elapsed: float) -> None:
        seen, price = finding.seen, finding.terms.price
        holding, served = pods.scheduled(finding.workers), 0.0
        if finding.decision is None or seen is None:
            self._metrics.undecided(key)
        else:
            self._metrics.decision(key, finding.decision, seen)
            served = seen.generated_tokens.value if seen.generated_tokens.fresh else 0.0
        self._metrics.account(
            key,
            accelerator_seconds=finding.terms.service.spec.runtime.accelerator.count * holding * elapsed,
            cost_per_hour=None if price is None else price * holding,
            cost_per_million_tokens=price * holding / (served * 3600) * 1e6 if price is not None and served else None,
        )


def _note_change(account: Account, finding: Finding) -> None:
    """Remember a decided count that differs from the one before, or from what a first tick found."""
    decision, last = finding.decision, account.finding.decision
    if decision is None or finding.seen is None:
        return
    before = finding.seen.replicas if last is None or account.finding is finding else last.replicas
    if decision.replicas != before:
        account.changes.appendleft(
            Change(finding.at, before, decision.replicas, str(decision.reason), decision.message, decision.act)
        )
