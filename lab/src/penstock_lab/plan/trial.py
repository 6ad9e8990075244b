"""What a count of replicas did in the simulator."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Trial:
    """What a number of replicas did.

    Attributes:
        replicas: N.
        requests: counted; those of the first fifth, which find the replicas empty, are not.
        attainment: share that met the SLA.
        interval: of it, 95 % (Wilson).
        ttft_seconds: percentile of the SLA; NaN when nothing was answered.
        tpot_seconds: as above.
    """

    replicas: int
    requests: int
    attainment: float
    interval: tuple[float, float]
    ttft_seconds: float
    tpot_seconds: float
