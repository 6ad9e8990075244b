"""`spec.sla`: the promise, as objectives over one window.

An objective's percentile is its whole error budget: there is no second attainment number.
"""

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field

from penstock_operator.api.base import Model
from penstock_operator.api.fields import Integer, ListMap, Percentile


class Objective(Model):
    """`percentile` % of requests meet the threshold over the window."""

    metric: Literal["TTFT", "TPOT", "ITL", "QueueWait", "E2E"]
    """What the client sees: TTFT (time to first token), TPOT (time per output token after the first),
    ITL (each gap between tokens), QueueWait (time before the engine starts on the request) or E2E (until the
    last token)."""
    percentile: Percentile
    """Percentage of requests that meet the threshold: an integer from 1 to 99 or a string like "99.9"."""
    threshold_milliseconds: Annotated[Integer, Field(ge=1, le=3_600_000)]
    """Longest time in milliseconds that meets the objective."""

    @property
    def threshold_seconds(self) -> float:
        """The threshold in seconds, the unit of all metrics."""
        return self.threshold_milliseconds / 1000

    @property
    def target(self) -> Decimal:
        """Share of requests, from 0 to 1, that must meet the threshold; exact."""
        return Decimal(self.percentile) / 100


class SLA(Model):
    """The promise that is kept with the fewest accelerators."""

    window_seconds: Annotated[Integer, Field(ge=60, le=2_592_000)] = 3600
    """Window in seconds over which every objective spends its error budget, which is 100 - percentile."""
    objectives: Annotated[
        tuple[Objective, ...],
        Field(max_length=8),
        ListMap(("metric", "percentile")),
    ] = ()
    """The objectives; one for each metric and percentile."""
