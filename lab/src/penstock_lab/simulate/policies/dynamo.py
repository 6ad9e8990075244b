"""NVIDIA Dynamo's planner for aggregated engines (`rivals.md` §5.5, §5.6, §1.2).

Source: ai-dynamo/dynamo `components/src/dynamo/planner/core/{load_scaling,throughput_scaling}.py`. Load scaling every 5
s from the engines' own forward-pass metrics (asked directly, past Prometheus), throughput scaling every 180 s from the
traffic of the last 180 s, forecast by its last value (`load_predictor: constant`; ARIMA, Kalman and Prophet are not
ported). With both on, throughput is the floor. Nothing while a pod is on its way or an engine does not report; a pod
that no node has room for is not waited for (upstream since PR #14671; `wedges` = before). Dynamo's router hands
requests out at once: what our gateway holds is added to the engines' queues in equal parts, at the mean prompt. The KV
gauge holds prompts that are being computed as well as decoded context; what was preempted counts as queued prompts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar

from penstock_contract.profile import Profile
from penstock_lab.simulate.policies.base import ANY, Bounds, Glance
from penstock_lab.simulate.policies.dynamo_engine import Engine, Mix
from penstock_lab.simulate.scrapes import KV_USED, QUEUED_TOKENS, Page
from penstock_lab.simulate.state import Counter, Floats

_THROUGHPUT_SECONDS = 180.0


class Target(StrEnum):
    """`optimization_target` of load scaling; OFF leaves throughput scaling alone."""

    SLA = "sla"
    THROUGHPUT = "throughput"
    LATENCY = "latency"
    OFF = "off"


_EASY = {Target.THROUGHPUT: (1.0, 0.6), Target.LATENCY: (0.4, 0.1)}


@dataclass(frozen=True, slots=True)
class Load:
    """Forward-pass metrics of one engine: tokens in its cache, and prompt tokens in its queue."""

    kv: float
    queued: float


@dataclass(frozen=True, slots=True)
class Sla:
    """Targets in seconds (of means), and the share of them that a smaller fleet may use."""

    ttft: float = 0.5
    itl: float = 0.05
    sensitivity: float = 0.8


def easy(loads: Sequence[Load], *, kv_tokens: int, target: Target) -> int:
    """+1, -1 or 0: any engine above the upper threshold, or all below the lower one (`_agg_easy_decision`)."""
    up, down = _EASY[target]
    used = [(load.kv + load.queued) / kv_tokens for load in loads]
    if any(share > up for share in used):
        return 1
    return -1 if len(loads) > 1 and all(share < down for share in used) else 0


def under_sla(loads: Sequence[Load], engine: Engine, mix: Mix, sla: Sla) -> int:
    """+1, -1 or 0 (`_advance_load_agg`): up when every engine breaks one target, down when one fewer keeps both."""
    if all(engine.ttft(load.queued, load.kv, mix) > sla.ttft for load in loads):
        return 1
    if all(engine.itl(load.kv, mix) > sla.itl for load in loads):
        return 1
    if len(loads) < 2:
        return 0
    grown = len(loads) / (len(loads) - 1)
    return -1 if all(_keeps(load, grown, engine, mix, sla) for load in loads) else 0


def _keeps(load: Load, grown: float, engine: Engine, mix: Mix, sla: Sla) -> bool:
    """One engine keeps both targets with its neighbour's share on top."""
    kv = load.kv * grown
    own = engine.ttft(0.0, kv, mix)
    budget = (sla.ttft - own) * sla.sensitivity
    if budget <= 0 or engine.ttft(load.queued * grown, kv, mix) - own >= budget:
        return False
    combined = (load.kv + load.queued) * grown
    return combined < engine.profile.kv_tokens and engine.itl(combined, mix) < sla.itl * sla.sensitivity


@dataclass(slots=True)
class Traffic:
    """What came since the last throughput decision."""

    seconds: float = 0.0
    requests: float = 0.0
    prompt_tokens: float = 0.0
    counters: Floats | None = None

    def add(self, glance: Glance, seconds: float) -> None:
        """One tick; without a rate it is unknown, not zero, and is left out."""
        door = glance.door
        if door.requests_per_second is None or door.prompt_tokens_per_second is None:
            return
        self.seconds += seconds
        self.requests += door.requests_per_second * seconds
        self.prompt_tokens += door.prompt_tokens_per_second * seconds
        grown = glance.scraped.rates * seconds
        self.counters = grown if self.counters is None else self.counters + grown


@dataclass(slots=True)
class _State:
    traffic: Traffic = field(default_factory=Traffic)
    floor: int = 0
    decided_at: float | None = None
    ticked_at: float | None = None
    mix: Mix | None = None


class Dynamo:
    """The planner. To be tuned: by how much the targets are tightened (means against percentiles), the sensitivity."""

    period_seconds = 5.0
    GRID: ClassVar[Mapping[str, Sequence[float]]] = {
        "tighten": (0.1, 0.2, 0.3, 0.45, 0.65, 1.0),
        "sensitivity": (0.4, 0.6, 0.8),
    }

    def __init__(
        self,
        *,
        profile: Profile,
        sla: Sla = Sla(),
        target: Target = Target.SLA,
        throughput: bool = True,
        wedges: bool = False,
        bounds: Bounds = ANY,
        name: str = "dynamo-sla",
    ) -> None:
        """A planner in mode `agg`.

        Args:
            profile: of an engine: the perfect performance model.
            sla: `ttft_ms`, `itl_ms`, `load_scaling_down_sensitivity`.
            target: of load scaling.
            throughput: throughput scaling is on.
            wedges: wait for pods that no node has room for, as before PR #14671.
            bounds: `min_endpoint` and the GPU budget.
            name: in results.
        """
        self.name = name
        self._engine = Engine(profile)
        self._sla = sla
        self._target = target
        self._throughput = throughput
        self._wedges = wedges
        self._bounds = bounds
        self._state = _State()

    def desired(self, glance: Glance) -> int:
        """One load tick, and a throughput tick when one is due."""
        state = self._state
        state.traffic.add(glance, glance.now - (glance.now if state.ticked_at is None else state.ticked_at))
        state.ticked_at = glance.now
        if state.decided_at is None:
            state.decided_at = glance.now
        count = glance.current
        if self._throughput and glance.now - state.decided_at >= _THROUGHPUT_SECONDS:
            needed = self.needed(state.traffic)
            state.decided_at, state.traffic = glance.now, Traffic()
            state.floor = state.floor if needed is None else needed
            if self._target is Target.OFF and needed is not None:
                count = needed
        if self._target is not Target.OFF:
            count = max(count + self._step(glance), state.floor if self._throughput and self._settled(glance) else 0)
        return self._bounds.clamp(count)

    def needed(self, traffic: Traffic) -> int | None:
        """Replicas for the forecast (`_throughput_agg`); None when there was nothing to forecast from."""
        if traffic.counters is None or traffic.seconds <= 0 or traffic.requests <= 0:
            return None
        finished = traffic.counters[Counter.FINISHED]
        if finished <= 0:
            return None
        rate = self._engine.rate(
            prompt=traffic.prompt_tokens / traffic.requests,
            output=float(traffic.counters[Counter.GENERATED_TOKENS] / finished),
            hit=_share(traffic.counters[Counter.PROMPT_TOKENS_CACHED], traffic.counters[Counter.PROMPT_TOKENS]),
            ttft=self._sla.ttft,
            itl=self._sla.itl,
        )
        return math.ceil(traffic.requests / traffic.seconds / rate) if rate > 0 else None

    def _settled(self, glance: Glance) -> bool:
        """No scaling is in progress."""
        missing = glance.current - glance.serving - (0 if self._wedges else glance.unschedulable)
        return missing <= 0

    def _step(self, glance: Glance) -> int:
        pages = glance.staying(glance.probe())
        mix = self._mix(glance, pages)
        if not pages or len(pages) != glance.serving or not self._settled(glance) or mix is None:
            return 0
        held = glance.door.held / len(pages) * mix.prompt
        loads = [Load(float(page.values[KV_USED]), float(page.values[QUEUED_TOKENS]) + held) for page in pages]
        if self._target is Target.SLA:
            return under_sla(loads, self._engine, mix, self._sla)
        return easy(loads, kv_tokens=self._engine.profile.kv_tokens, target=self._target)

    def _mix(self, glance: Glance, pages: Sequence[Page]) -> Mix | None:
        """Moving averages of the engines, from their counters; None before they have done anything."""
        rates = glance.scraped.rates
        if rates[Counter.ARRIVED] > 0 and rates[Counter.DECODE_SEQUENCE_STEPS] > 0:
            self._state.mix = Mix(
                prompt=float(rates[Counter.PROMPT_TOKENS] / rates[Counter.ARRIVED]),
                context=float(rates[Counter.KV_TOKEN_STEPS] / rates[Counter.DECODE_SEQUENCE_STEPS]),
                prefill_per_step=float(rates[Counter.PREFILL_TOKENS] / max(1e-9, rates[Counter.STEPS])),
                hit=_share(rates[Counter.PROMPT_TOKENS_CACHED], rates[Counter.PROMPT_TOKENS]),
            )
        elif self._state.mix is None and not any(page.values[KV_USED] or page.values[QUEUED_TOKENS] for page in pages):
            return Mix(0.0, 1.0, 0.0)  # of an idle fleet any will do
        return self._state.mix


def _share(of: float, to: float) -> float:
    return float(of / to) if to > 0 else 0.0
