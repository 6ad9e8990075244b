"""The gateway's metrics in Prometheus' text format, declared by the contract's table.

Nothing is kept here: a scrape copies the totals of the services. Every series of a service exists from the moment
the service is known. The text is written directly, since a scrape runs between the chunks of streams: a service costs
a tenth of a millisecond, and the event loop gets its turn after each few of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from typing import Final

from penstock_contract.metrics import GATEWAY, LATENCY_BUCKETS, Metric
from penstock_gateway.directory import Service
from penstock_gateway.stats import Histogram

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_PREFIX: Final = "penstock_gateway_"
_BOUNDS: Final = (*(str(bound) for bound in LATENCY_BUCKETS), "+Inf")
_AT_A_TIME: Final = 20
Sample = tuple[tuple[str, ...], float | Histogram]


async def render(services: Iterable[Service]) -> bytes:
    """The exposition of one scrape."""
    lines: dict[str, list[str]] = {metric.name: [] for metric in GATEWAY}
    for number, service in enumerate(list(services)):
        for metric in GATEWAY:
            for labels, value in _samples(service, metric.name.removeprefix(_PREFIX)):
                lines[metric.name].extend(_lines(metric, labels, value))
        if number % _AT_A_TIME == _AT_A_TIME - 1:
            await asyncio.sleep(0)
    return "".join(line for metric in GATEWAY for line in (_head(metric), *lines[metric.name])).encode()


def _samples(service: Service, name: str) -> Iterator[Sample]:
    """Samples of one family of one service, with the values of its labels."""
    stats, pool = service.stats, service.pool
    if name == "requests_failed_total":
        yield from (((*service.key, reason), count) for reason, count in stats.failed.items())
    elif name == "objective_total":
        for key, (met, missed) in stats.objectives.items():
            yield (*service.key, *key, "met"), met
            yield (*service.key, *key, "missed"), missed
    else:
        values: dict[str, float | Histogram] = {
            "requests_arrived_total": stats.arrived,
            "prompt_tokens_total": stats.prompt_tokens,
            "requests_held": pool.held,
            "oldest_held_seconds": pool.oldest_held_seconds,
            "requests_in_flight": stats.in_flight,
            "time_to_first_token_seconds": stats.ttft,
            "time_per_output_token_seconds": stats.tpot,
            "queue_wait_seconds": stats.queue_wait,
            "e2e_seconds": stats.e2e,
        }
        yield service.key, values[name]


def _head(metric: Metric) -> str:
    return f"# HELP {metric.name} {metric.help}\n# TYPE {metric.name} {metric.kind}\n"


def _lines(metric: Metric, labels: tuple[str, ...], value: float | Histogram) -> Iterator[str]:
    # No value needs escaping: names of Kubernetes, reasons and objectives are plain.
    named = ",".join(f'{name}="{text}"' for name, text in zip(metric.labels, labels, strict=True))
    if not isinstance(value, Histogram):
        yield f"{metric.name}{{{named}}} {value}\n"
        return
    cumulative = 0
    for bound, count in zip(_BOUNDS, value.counts, strict=True):
        cumulative += count
        yield f'{metric.name}_bucket{{{named},le="{bound}"}} {cumulative}\n'
    yield f"{metric.name}_count{{{named}}} {cumulative}\n"
    yield f"{metric.name}_sum{{{named}}} {value.total}\n"
