"""The policy: one pure function from policy, observation and memory to a decision.

Order of the rules, first match decides: a paused service or a foreign scaler holds; signals that say nothing hold
(inside the bounds, which the user may move at any time); otherwise the load is sized, and safety decides how much of
that may be done now. The function knows no clock: `now` is an argument and must not run backwards between ticks of
one service.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from penstock_operator.core.scaling import demand, learning, predict, safety, sizing
from penstock_operator.core.scaling.memory import Memory
from penstock_operator.core.scaling.types import Decision, LimitedBy, Mode, Observation, Policy, Reason

_WORTH_SAYING = 1.005


@dataclass(frozen=True, slots=True)
class _Wish:
    """What the load alone asks for, before safety."""

    replicas: int
    reason: Reason
    message: str
    needed: float | None = None
    demand: float | None = None
    arrivals: float | None = None
    length: float | None = None
    busy: float | None = None
    pause: str = ""


def decide(policy: Policy, observation: Observation, memory: Memory, now: float) -> tuple[Decision, Memory]:
    """Decide the replica count of one service.

    Args:
        policy: what the user asked for.
        observation: what was seen at this tick.
        memory: what the previous tick returned; `Memory()` after a restart.
        now: Unix seconds.

    Returns:
        The decision and the memory for the next tick.
    """
    begun = memory.at is not None
    memory = learning.learn(policy, observation, memory, now)
    per_replica = learning.capacity_of(policy, memory)
    idle_since = (memory.idle_since if memory.idle_since is not None else now) if observation.idle else None
    memory = replace(memory, idle_since=idle_since)
    idle_seconds = 0.0 if idle_since is None else now - idle_since
    wish = _wish(policy, observation, memory, per_replica, idle_seconds=idle_seconds)
    decision, history = _safely(policy, observation, memory, wish, now=now, begun=begun)
    decision = replace(
        decision,
        predictions=predict.around(policy, memory, wish.busy, replicas=decision.replicas),
        needed=wish.needed,
        demand_tokens_per_second=wish.demand,
        capacity_tokens_per_second=per_replica,
        requests_per_second=wish.arrivals,
        tokens_per_request=wish.length,
    )
    return _allowed(policy, observation, decision), replace(memory, recommendations=history)


def _wish(
    policy: Policy, seen: Observation, memory: Memory, per_replica: float | None, *, idle_seconds: float
) -> _Wish:
    current = seen.replicas
    held = seen.held.value if seen.held is not None and seen.held.fresh else None
    if current == 0 and held and not seen.arrivals.fresh:
        return _Wish(1, Reason.WAKE_UP, f"{held:.0f} requests held at the gateway; their rate is not known yet")
    if not seen.arrivals.fresh or (held is None and not seen.waiting.fresh):
        return _Wish(current, Reason.SIGNALS_UNKNOWN, _what_is_unknown(seen))
    if current == 0 and not held:
        return _Wish(0, Reason.STEADY, "scaled to zero, no request is held", arrivals=seen.arrivals.value)
    if seen.idle and policy.min_replicas == 0 and idle_seconds >= max(policy.idle_seconds, 1.0):
        return _Wish(0, Reason.IDLE, f"no request for {idle_seconds:.0f} s", needed=0.0, demand=0.0, arrivals=0.0)
    length = demand.tokens_per_request(memory.output)
    waiting = (seen.waiting.value if seen.waiting.fresh else 0.0) + (held or 0.0)
    excess = sizing.excess_queue(
        waiting=waiting,
        tolerated_per_replica=policy.target_queue_depth,
        ready=seen.ready,
    )
    offered = memory.arrivals or 0.0
    if offered == 0 and waiting == 0 and seen.running.fresh and seen.running.value == 0:
        reason = Reason.STEADY if current == 1 else Reason.LESS_LOAD
        pause = _pause(policy, seen, memory, idle_seconds)
        return _Wish(1, reason, "no load", needed=0.0, demand=0.0, arrivals=0.0, pause=pause)
    wish = _for_load(policy, seen, memory, offered=offered, length=length, per_replica=per_replica, excess=excess)
    return replace(wish, arrivals=offered, length=length)


def _pause(policy: Policy, seen: Observation, memory: Memory, idle_seconds: float) -> str:
    """Why a load that has stopped is waited for, if it is: what stops all at once may be back all at once."""
    never = memory.forecast is None  # then there was none that could be back
    until = safety.pause_seconds(policy, horizon_seconds=0.0 if never else learning.horizon_seconds(seen))
    if seen.replicas <= 1 or idle_seconds >= until:
        return ""
    return f"idle for {idle_seconds:.0f} s, which may be a pause until it is {until:.0f} s"


def _for_load(
    policy: Policy,
    seen: Observation,
    memory: Memory,
    *,
    offered: float,
    length: float | None,
    per_replica: float | None,
    excess: float,
) -> _Wish:
    """The wish of a service that has something to do."""
    current, held = seen.replicas, 0.0 if seen.held is None else seen.held.value
    if current == 0 and (length is None or per_replica is None):
        return _Wish(1, Reason.WAKE_UP, f"{held:.0f} requests held at the gateway")
    if length is None or per_replica is None:
        return _without_capacity(seen, excess, known_length=length is not None)
    tokens = offered * length
    busy, horizon, growth = tokens / per_replica, learning.horizon_seconds(seen), learning.growth(policy, memory)
    backlog = sizing.backlog_when_ready(
        excess=excess * length / per_replica,
        need=busy,
        ready=seen.ready,
        etas=[horizon - age for age in seen.starting_ages],
        horizon_seconds=horizon,
    )
    need = sizing.need(now=busy, growth=growth, backlog=backlog)
    replicas = max(1, sizing.recommend(need.total, current=current))
    doubt = ""
    if not excess and learning.doubtful(policy, memory, memory.at or 0.0):
        shown = max(current, math.ceil(tokens / memory.shown) if memory.shown else 1, 1)
        if shown < replicas:
            replicas, doubt = shown, f", {shown} while the model is young and requests are in time"
    full = learning.overfull(policy, seen, memory)
    if full is not None and full > replicas:
        replicas, doubt = full, f", {full} since {memory.late:.0%} of the requests are late"
    message = (
        f"{offered:.2f} req/s x {length:.1f} tokens = {tokens:.0f} tok/s offered; one replica carries "
        f"{per_replica:.0f} tok/s{_bound_in_words(memory, per_replica)}: "
        f"{busy:.2f} replicas now{_growth_in_words(memory, growth, horizon)}"
        f"{_backlog_in_words(backlog)}; {need.total:.2f} replicas needed{doubt}"
    )
    wish = _Wish(replicas, Reason.STEADY, message, needed=need.total, demand=tokens, busy=busy)
    if current == 0:
        return replace(wish, reason=Reason.WAKE_UP, message=f"{held:.0f} requests held; {message}")
    if replicas == current:
        return wish
    return replace(wish, reason=need.reason if replicas > current else Reason.LESS_LOAD)


def _bound_in_words(memory: Memory, per_replica: float) -> str:
    """What binds, where it is not what the time per token or a queue says."""
    return " with first tokens in time" if per_replica == memory.first_token else ""


def _growth_in_words(memory: Memory, growth: float, horizon: float) -> str:
    if growth <= _WORTH_SAYING:
        return ""
    known = memory.forecast is not None and memory.forecast.told
    days = ", as on the days before" if known else ""
    return f", x {growth:.2f} for what may come in {horizon:.0f} s{days}"


def _backlog_in_words(backlog: float) -> str:
    """Work that will wait when a pod that is asked for now is ready."""
    if not backlog:
        return ""
    extra = backlog / sizing.BACKLOG_DRAIN_SECONDS
    return f", +{extra:.2f} to work off what will be queued then in {sizing.BACKLOG_DRAIN_SECONDS:.0f} s"


def _without_capacity(seen: Observation, excess: float, *, known_length: bool) -> _Wish:
    missing = "capacity of a replica" if known_length else "tokens per request"
    if excess and seen.ready >= seen.replicas:
        return _Wish(
            seen.replicas + 1,
            Reason.QUEUE_WITHOUT_CAPACITY,
            f"{excess:.0f} requests too many in queue; {missing} not known yet, so one replica more",
        )
    return _Wish(seen.replicas, Reason.STEADY, f"{missing} not known yet")


def _safely(
    policy: Policy, seen: Observation, memory: Memory, wish: _Wish, *, now: float, begun: bool
) -> tuple[Decision, safety.Recommendations]:
    """How much of the wish may be done now, and the recommendations of the stabilisation window."""
    current = seen.replicas
    decision = Decision(replicas=wish.replicas, reason=wish.reason, message=wish.message)
    if wish.reason is Reason.SIGNALS_UNKNOWN:
        decision = replace(decision, limited_by=LimitedBy.UNKNOWN)
    elif wish.replicas < current and (obstacle := safety.why_not_down(seen, idle=wish.reason is Reason.IDLE)):
        limit = LimitedBy.UNKNOWN if obstacle[0] is Reason.SIGNALS_UNKNOWN else LimitedBy.NONE
        decision = _held(decision, current, obstacle[1], reason=obstacle[0], limit=limit)
    elif wish.pause:
        decision = _held(decision, current, wish.pause, reason=Reason.STABILIZING, limit=LimitedBy.NONE)
    elif seen.unschedulable and (wish.replicas > current or wish.replicas == current > seen.ready):
        text = f"{seen.unschedulable} pods find no node with room"
        decision = _held(decision, current, text, reason=wish.reason, limit=LimitedBy.QUOTA)
    stable, history = safety.stabilise(
        memory.recommendations,
        recommended=decision.replicas,
        current=current,
        now=now,
        window_seconds=policy.stabilization_seconds,
        unknown_seconds=0.0 if begun or not seen.ready else safety.UNKNOWN_SECONDS,
    )
    if decision.reason is Reason.IDLE:  # idleSeconds is the window of the last replica
        stable = decision.replicas
    if stable > decision.replicas:
        text = f"fewer replicas must be right for {policy.stabilization_seconds:.0f} s"
        decision = _less(decision, stable, current, text)
    kept, why = learning.worth_keeping(policy, memory, now)
    if stable < (kept := min(kept, current)) and decision.reason is not Reason.IDLE:
        decision, stable = _less(decision, kept, current, why), kept
    stepped = safety.within_step(policy, current=current, replicas=stable)
    if stepped != stable:
        decision = replace(decision, replicas=stepped, limited_by=LimitedBy.RATE)
    return _bounded(policy, current, decision), history


def _less(decision: Decision, replicas: int, current: int, why: str) -> Decision:
    """The decision with a scale-down that goes not as far as wished, or not at all."""
    holds = replicas >= current
    reason, verb = (Reason.STABILIZING, "holds") if holds else (Reason.LESS_LOAD, "not below")
    return _held(decision, replicas, why, reason=reason, limit=LimitedBy.NONE, verb=verb)


def _held(
    decision: Decision, replicas: int, why: str, *, reason: Reason, limit: LimitedBy, verb: str = "holds"
) -> Decision:
    message = f"{verb} {replicas}: {why}; {decision.message}"
    return replace(decision, replicas=replicas, reason=reason, message=message, limited_by=limit)


def _bounded(policy: Policy, current: int, decision: Decision) -> Decision:
    """The decision inside the bounds. They bind in every state: the user may move them at any time."""
    replicas, limit = safety.within_bounds(policy, decision.replicas)
    if limit is not LimitedBy.NONE:
        decision = replace(
            decision,
            limited_by=limit,
            message=f"{decision.message}; limited to {replicas} by {limit.lower()}",
        )
    if replicas not in (decision.replicas, current) and decision.reason is Reason.SIGNALS_UNKNOWN:
        decision = replace(decision, reason=Reason.BOUNDS)
    return replace(decision, replicas=replicas)


def _allowed(policy: Policy, seen: Observation, decision: Decision) -> Decision:
    """The decision with the permission to act on it."""
    if policy.mode is Mode.PAUSED:
        return replace(
            decision,
            replicas=seen.replicas,
            act=False,
            reason=Reason.PAUSED,
            limited_by=LimitedBy.NONE,
            message=f"paused; {decision.message}",
        )
    if seen.foreign_scaler is not None:
        message = f"{seen.foreign_scaler} scales this Deployment; remove it or set scaling.mode: Paused"
        return replace(
            decision,
            replicas=seen.replicas,
            act=False,
            reason=Reason.FOREIGN_SCALER,
            limited_by=LimitedBy.NONE,
            message=message,
        )
    return replace(decision, act=policy.mode is Mode.AUTO)


def _what_is_unknown(seen: Observation) -> str:
    if seen.source_error:
        return f"holds {seen.replicas}: {seen.source_error}"
    unknown = [
        f"{name} {signal.state.lower()}{f' ({signal.detail})' if signal.detail else ''}"
        for name, signal in seen.signals().items()
        if not signal.fresh
    ]
    return f"holds {seen.replicas}: {', '.join(unknown)}"
