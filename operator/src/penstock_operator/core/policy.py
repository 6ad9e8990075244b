"""From a spec to the scaling policy and the objectives, units converted."""

from __future__ import annotations

from collections.abc import Sequence

from penstock_operator.api import InferenceServiceSpec
from penstock_operator.core.engines import ENGINES
from penstock_operator.core.scaling.types import Mode, Policy
from penstock_operator.core.sla import Objective


def scaling_policy(spec: InferenceServiceSpec) -> Policy | None:
    """The policy of an autoscaled service, or None when `spec.replicas` fixes the count."""
    scaling, engine = spec.scaling, ENGINES[spec.runtime.engine]
    if scaling is None:
        return None
    targets, behavior = scaling.targets, scaling.behavior
    optional: dict[str, float] = {}
    if targets is not None and targets.queue_depth is not None:
        optional["target_queue_depth"] = float(targets.queue_depth)
    return Policy(
        mode=Mode(scaling.mode),
        min_replicas=scaling.min_replicas,
        max_replicas=scaling.max_replicas,
        target_tokens_per_second=(
            float(targets.tokens_per_second) if targets is not None and targets.tokens_per_second is not None else None
        ),
        idle_seconds=float(scaling.idle_after_seconds),
        stabilization_seconds=float(behavior.scale_down.stabilization_window_seconds),
        max_up_step=behavior.scale_up.max_replicas_per_step,
        max_down_step=behavior.scale_down.max_replicas_per_step,
        cost_per_replica_hour=cost_per_replica_hour(spec),
        max_cost_per_hour=None if scaling.budget is None else float(scaling.budget.max_cost_per_hour),
        tpot_seconds=_tightest(spec, "TPOT", "ITL"),
        ttft_seconds=_tightest(spec, "TTFT"),
        wait_seconds=_tightest(spec, "QueueWait"),
        allowed=min((1.0 - one.percentile / 100 for one in objectives(spec)), default=None),
        max_sequences=_number(spec.runtime.args or (), engine.slots),
        step_tokens=_number(spec.runtime.args or (), engine.step_tokens) or engine.default_step_tokens,
        **optional,
    )


def _tightest(spec: InferenceServiceSpec, *metrics: str) -> float | None:
    """Smallest threshold in seconds among the objectives on these metrics; None without one."""
    return min((one.threshold_seconds for one in objectives(spec) if one.metric in metrics), default=None)


def _number(args: Sequence[str], flag: str) -> int | None:
    """The value of the engine's flag, in either spelling, when it is a number."""
    for number, argument in enumerate(args):
        name, _, value = argument.partition("=")
        given = value or next(iter(args[number + 1 : number + 2]), "")
        if name.replace("_", "-") == flag and given.isdigit():
            return int(given)
    return None


def cost_per_replica_hour(spec: InferenceServiceSpec) -> float | None:
    """Price of one replica's accelerators per hour, or None without a price."""
    if spec.cost is None:
        return None
    return float(spec.cost.per_accelerator_hour) * spec.runtime.accelerator.count


def objectives(spec: InferenceServiceSpec) -> tuple[Objective, ...]:
    """The objectives of the SLA in seconds."""
    if spec.sla is None:
        return ()
    return tuple(
        Objective(
            metric=item.metric,
            percentile=float(item.percentile),
            threshold_seconds=item.threshold_milliseconds / 1000,
        )
        for item in spec.sla.objectives
    )
