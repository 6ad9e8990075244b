"""A fixed number of replicas: what most teams run, and the size of the prize."""

from __future__ import annotations

from penstock_lab.simulate.policies.base import Glance


class Static:
    """Always the same count."""

    period_seconds = 60.0

    def __init__(self, replicas: int) -> None:
        self.name = f"static-{replicas}"
        self.replicas = replicas

    def desired(self, glance: Glance) -> int:
        """The count."""
        del glance
        return self.replicas
