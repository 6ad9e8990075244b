"""Who owns `spec.replicas`, and that no hand-over ever loses a replica."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from penstock_contract import names
from penstock_operator.core.handover import (
    FOREIGN_SECONDS,
    autoscaler_owns_replicas,
    foreign_scaler,
    owners_of_replicas,
    replicas_to_apply,
)

OPERATOR, AUTOSCALER = names.OPERATOR_MANAGER, names.AUTOSCALER_MANAGER


def entry(manager: str, *, replicas: bool = True, subresource: str = "") -> dict[str, Any]:
    fields = {"f:replicas": {}} if replicas else {"f:template": {}}
    found = {"manager": manager, "operation": "Apply", "fieldsV1": {"f:spec": fields}}
    return found | ({"subresource": subresource} if subresource else {})


def deployment(*entries: dict[str, Any], replicas: int = 4) -> dict[str, Any]:
    return {"metadata": {"managedFields": list(entries)}, "spec": {"replicas": replicas}}


@dataclass
class ReplicasField:
    """The one field as server-side apply keeps it: owners, and 1 when the last of them lets go (KEP-555)."""

    value: int = 1
    owners: set[str] = field(default_factory=set)
    lowest: int | None = None

    def apply(self, manager: str, value: int | None) -> None:
        if value is None:
            self.owners.discard(manager)
            if not self.owners:
                self.value = 1
        elif value == self.value:
            self.owners.add(manager)
        else:
            self.owners, self.value = {manager}, value
        self.lowest = self.value if self.lowest is None else min(self.lowest, self.value)

    def live(self) -> dict[str, Any]:
        return deployment(*(entry(owner) for owner in self.owners), replicas=self.value)


class Parts:
    """Reconciler and autoscaler, as far as they touch the field."""

    def __init__(self, replicas: ReplicasField) -> None:
        self.field = replicas

    def reconcile(self, fixed: int | None) -> None:
        live = self.field.live()
        self.field.apply(OPERATOR, replicas_to_apply(fixed=fixed, minimum=0, maximum=100, last_desired=0, live=live))

    def tick(self) -> None:
        live = self.field.live()
        if not autoscaler_owns_replicas(live):
            self.field.apply(AUTOSCALER, live["spec"]["replicas"])


@pytest.mark.parametrize("count", [0, 2, 8])
def test_both_ways_never_below(count: int) -> None:
    replicas = ReplicasField()
    parts = Parts(replicas)
    replicas.apply(OPERATOR, count)
    replicas.lowest = None
    for fixed in (None, count, None, count, None):
        for _ in range(3):
            parts.reconcile(fixed)
            if fixed is None:
                parts.tick()
    assert replicas.lowest == replicas.value == count
    assert replicas.owners == {AUTOSCALER}


@pytest.mark.parametrize("count", [0, 2, 8])
def test_the_reconciler_alone_never_lets_go(count: int) -> None:
    """The autoscaler may be paused, or its writes may fail."""
    replicas = ReplicasField()
    parts = Parts(replicas)
    replicas.apply(OPERATOR, count)
    for _ in range(5):
        parts.reconcile(None)
    assert (replicas.value, replicas.owners) == (count, {OPERATOR})


def test_a_persons_scale_is_kept_until_the_next_decision() -> None:
    replicas = ReplicasField()
    parts = Parts(replicas)
    replicas.apply(AUTOSCALER, 4)
    replicas.apply("kubectl", 7)
    parts.reconcile(None)
    parts.tick()
    parts.reconcile(None)
    assert replicas.value == 7
    assert AUTOSCALER in replicas.owners


def test_another_fixed_count_is_taken_over() -> None:
    replicas = ReplicasField()
    replicas.apply(AUTOSCALER, 8)
    Parts(replicas).reconcile(3)
    assert (replicas.value, replicas.owners) == (3, {OPERATOR})


@pytest.mark.parametrize(
    ("minimum", "last", "created"),
    [(0, None, 0), (2, None, 2), (1, 8, 8), (3, 1, 3), (1, 50, 10), (0, 0, 0)],
    ids=["zero", "minimum", "as it was", "raised minimum", "lowered maximum", "slept"],
)
def test_a_new_deployment_starts_at_the_last_count_inside_the_bounds(
    minimum: int, last: int | None, created: int
) -> None:
    assert replicas_to_apply(fixed=None, minimum=minimum, maximum=10, last_desired=last, live=None) == created


def test_a_fixed_count_is_always_applied() -> None:
    for live in (None, deployment(entry(AUTOSCALER), replicas=9)):
        assert replicas_to_apply(fixed=0, minimum=1, maximum=9, last_desired=5, live=live) == 0


def test_only_spec_replicas_counts_as_owning_them() -> None:
    status = {"manager": "kube-controller-manager", "fieldsV1": {"f:status": {"f:replicas": {}}}}
    live = deployment(
        entry("a"), entry("b", replicas=False), status, {"manager": "c"}, {"manager": "d", "fieldsV1": None}
    )
    assert owners_of_replicas(live) == {"a"}
    assert owners_of_replicas({}) == owners_of_replicas({"metadata": {"managedFields": None}}) == frozenset()


@pytest.mark.parametrize(
    ("entries", "found"),
    [
        ([entry("kube-controller-manager", subresource="scale")], "kube-controller-manager"),
        ([entry(AUTOSCALER), entry("keda-operator", subresource="scale")], "keda-operator"),
        ([entry("kube-controller-manager")], None),
        ([entry("kube-controller-manager", replicas=False, subresource="scale")], None),
        ([entry("kubectl", subresource="scale")], None),
        ([], None),
    ],
    ids=["hpa", "keda", "the deployment controller", "another field", "a person", "nobody"],
)
def test_a_foreign_scaler_is_an_autoscaler_that_writes_scale(entries: list[dict[str, Any]], found: str | None) -> None:
    assert foreign_scaler(deployment(*entries), now=0.0) == found
    assert foreign_scaler({}, now=0.0) is None


@pytest.mark.parametrize(("seconds", "found"), [(0, "keda"), (FOREIGN_SECONDS - 1, "keda"), (FOREIGN_SECONDS, None)])
def test_an_autoscaler_that_was_deleted_is_forgotten(seconds: float, found: str | None) -> None:
    written = entry("keda", subresource="scale") | {"time": "2026-11-21T10:00:00Z"}
    now = datetime(2026, 11, 21, 10, tzinfo=UTC).timestamp() + seconds
    assert foreign_scaler(deployment(written), now=now) == found
