"""Observations for tests of the policy."""

from typing import Any

from penstock_operator.core.scaling import Observation, Signal, SignalState

NOW = 1_800_000_000.0


def fresh(value: float) -> Signal:
    return Signal(SignalState.FRESH, value, NOW)


def observation(
    *,
    replicas: int = 1,
    ready: int | None = None,
    arrivals: float = 0.0,
    tokens_per_request: float = 100.0,
    served: float | None = None,
    waiting: float = 0.0,
    running: float = 0.0,
    **changes: Any,
) -> Observation:
    served = arrivals if served is None else served
    ready = replicas if ready is None else ready
    values: dict[str, Any] = {
        "replicas": replicas,
        "ready": ready,
        "arrivals": fresh(arrivals),
        "prompt_tokens": fresh(arrivals * 50),
        "generated_tokens": fresh(served * tokens_per_request),
        "finished": fresh(served),
        "waiting": fresh(waiting),
        "running": fresh(running),
        "reporting": fresh(ready),
    }
    return Observation(**(values | changes))
