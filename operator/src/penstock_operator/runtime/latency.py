"""Latencies of the last seconds, for people who watch: the 95th percentile over one rate window, every ten seconds.

The autoscaler asks for the histograms of the whole SLA window, which move slowly and cost much. Here Prometheus itself
takes the quantile, so an answer is one number per service with traffic; no decision is made of it. What the gateways
measured goes before what the workers measured. The same turn asks which services run on an emulated device.
"""

from __future__ import annotations

from collections.abc import Mapping

from penstock_operator.core import enginequeries
from penstock_operator.core.ports import MetricsSource, Unavailable
from penstock_operator.core.scaling.signals import Key, by_service
from penstock_operator.runtime.measure import AT_THE_DOOR, Measure

PERIOD_SECONDS = 10.0
PERCENTILE = 95
_EMULATED = "max by (namespace, inferenceservice, profile) (penstock_worker_emulated_info) == 1"


class Latencies:
    """The last answers; without a source, none."""

    def __init__(self, source: MetricsSource | None = None, measure: Measure | None = None) -> None:
        self._source = source
        self._measure = measure
        self._ttft: Mapping[Key, float] = {}
        self._tpot: Mapping[Key, float] = {}
        self._profiles: Mapping[Key, str] = {}

    async def refresh(self) -> None:
        """Ask; what is not answered is not known any more, except which device is emulated."""
        if self._source is None or self._measure is None:
            return
        window = self._measure.window_seconds
        self._ttft, self._tpot = [
            answer if not isinstance(answer, Unavailable) else {}
            for answer in [
                by_service(await self._source.instant(_quantile(metric, window))) for metric in ("TTFT", "TPOT")
            ]
        ]
        devices = await self._source.instant(_EMULATED)
        if not isinstance(devices, Unavailable):
            self._profiles = {
                (labels["namespace"], labels["inferenceservice"]): labels["profile"]
                for labels in (sample.labels for sample in devices)
                if labels.get("namespace") and labels.get("inferenceservice") and labels.get("profile")
            }

    def of(self, key: Key) -> tuple[float | None, float | None]:
        """TTFT and TPOT of a service in seconds; None without traffic, or when not known."""
        return self._ttft.get(key), self._tpot.get(key)

    def profile(self, key: Key) -> str | None:
        """Name of the device profile that the workers of a service emulate, or None when they say nothing of it."""
        return self._profiles.get(key)


def _quantile(metric: str, window_seconds: float) -> str:
    """PromQL; a comparison drops the NaN of services without traffic already at the source."""
    window = f"{max(1, round(window_seconds))}s"
    gateways = f"sum by (namespace, inferenceservice, le) (rate({AT_THE_DOOR[metric]}_bucket[{window}]))"
    workers = enginequeries.buckets(metric, "rate").format(window=window)
    parts = [f"histogram_quantile({PERCENTILE / 100}, {buckets}) >= 0" for buckets in (gateways, workers)]
    return " or ".join(f"({part})" for part in parts)
