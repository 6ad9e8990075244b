"""All scenarios by name, the planned actions first."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType

from . import clients, gateways, nodes, outages, planned, workers
from .result import Result
from .world import World

Scenario = Callable[[World], Awaitable[Result]]

SCENARIOS: Mapping[str, Scenario] = MappingProxyType(
    {
        "scale": planned.scale,
        "rollout": planned.rollout,
        "evict": planned.evict,
        "cancel": planned.cancel,
        "operator-killed": planned.operator_killed,
        "gateway-deleted": planned.gateway_deleted,
        "gateway-rollout": planned.gateway_rollout,
        "gateway-rollout-at-zero": planned.gateway_rollout_at_zero,
        "api-server-down": outages.api_server,
        "prometheus-down": outages.prometheus,
        "zero": outages.zero,
        "zero-without-prometheus": outages.zero_without_prometheus,
        "worker-killed": workers.killed,
        "worker-hung": workers.hung,
        "gateway-killed": gateways.killed,
        "node-killed": nodes.killed,
        "node-silent": nodes.silent,
        "pod-pending": workers.pending,
        "storm": clients.storm,
        "vanish": clients.vanish,
    }
)
