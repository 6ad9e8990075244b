"""What goes into a scaling decision and what comes out. Times are Unix seconds, rates are per second.

Every signal says how far it can be trusted. There is no number without a state: a value that is missing is not zero,
and the policy may shrink a service on fresh signals only.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from penstock_operator.core.scaling.budget import Missed
from penstock_operator.core.scaling.stepfit import StepRates

# Between two ticks of one service. After a longer time what was remembered says nothing about the time between.
LONGEST_GAP_SECONDS = 60.0
STEP_TOKENS = 2048  # what most engines compute in a step at most, where neither arguments nor a default are known


class SignalState(StrEnum):
    """How far a signal can be trusted."""

    FRESH = "Fresh"
    STALE = "Stale"
    ABSENT = "Absent"
    CONTRADICTORY = "Contradictory"


class Mode(StrEnum):
    """`scaling.mode`."""

    AUTO = "Auto"
    ADVISE = "Advise"
    PAUSED = "Paused"


class Reason(StrEnum):
    """Why the decided replica count is what it is; stable, documented, also a metric label."""

    OFFERED_LOAD = "OfferedLoad"
    BACKLOG = "Backlog"
    QUEUE_WITHOUT_CAPACITY = "QueueWithoutCapacity"
    LESS_LOAD = "LessLoad"
    STEADY = "Steady"
    STABILIZING = "Stabilizing"
    STARTING = "Starting"
    SIGNALS_UNKNOWN = "SignalsUnknown"
    ROLLOUT = "RolloutInProgress"
    BOUNDS = "Bounds"
    WAKE_UP = "WakeUp"
    IDLE = "Idle"
    PAUSED = "Paused"
    FOREIGN_SCALER = "ForeignScaler"


class LimitedBy(StrEnum):
    """What keeps the count from what the load asks for."""

    NONE = "None"
    MAX = "Max"
    BUDGET = "Budget"
    RATE = "Rate"
    QUOTA = "Quota"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True)
class Signal:
    """One input.

    Attributes:
        state: whether `value` can be used.
        value: last value; meaningful when fresh or stale.
        observed_at: time of the newest sample behind it; None when absent.
        detail: what is wrong, for people.
    """

    state: SignalState
    value: float = 0.0
    observed_at: float | None = None
    detail: str = ""

    @property
    def fresh(self) -> bool:
        """True when the value may be acted on."""
        return self.state is SignalState.FRESH


@dataclass(frozen=True, slots=True)
class Policy:
    """What the user asked for, per service.

    Attributes:
        mode: act, advise or hold.
        min_replicas: lower bound; 0 allowed.
        max_replicas: upper bound.
        target_tokens_per_second: generated tokens/s one replica is trusted to carry; None = learn it.
        target_queue_depth: waiting requests per replica that are tolerated.
        idle_seconds: without a request until the last replica goes, when the minimum is 0.
        stabilization_seconds: a smaller count must be right this long.
        max_up_step: most replicas added by one decision; None = no limit.
        max_down_step: most replicas removed by one decision; None = no limit.
        cost_per_replica_hour: price of one replica's accelerators per hour; None = unknown.
        max_cost_per_hour: hard budget; None = none.
        tpot_seconds: the tightest objective on the time per output token; None without one.
        ttft_seconds: the tightest objective on the time to the first token; None without one.
        wait_seconds: the tightest objective on the time before the engine begins; None without one.
        allowed: share of requests that may miss the tightest objective; None without one.
        max_sequences: requests that a replica runs at once, as far as its arguments say; None = unknown.
        step_tokens: most tokens of one step of the engine, by its arguments or its default.
    """

    min_replicas: int
    max_replicas: int
    mode: Mode = Mode.AUTO
    target_tokens_per_second: float | None = None
    target_queue_depth: float = 4.0
    idle_seconds: float = 600.0
    stabilization_seconds: float = 120.0
    max_up_step: int | None = None
    max_down_step: int | None = None
    cost_per_replica_hour: float | None = None
    max_cost_per_hour: float | None = None
    tpot_seconds: float | None = None
    ttft_seconds: float | None = None
    wait_seconds: float | None = None
    allowed: float | None = None
    max_sequences: int | None = None
    step_tokens: int = STEP_TOKENS

    def __post_init__(self) -> None:
        if not 0 <= self.min_replicas <= self.max_replicas:
            raise ValueError(f"need 0 <= min_replicas <= max_replicas, got {self.min_replicas}..{self.max_replicas}")


@dataclass(frozen=True, slots=True)
class Observation:
    """What was seen of one service at one tick.

    Attributes:
        replicas: `spec.replicas` of the Deployment: what was asked last.
        ready: ready pods.
        unschedulable: pods that no node has room for.
        rolling_out: a rollout of a new template is under way.
        foreign_scaler: another writer of the replica count, or None.
        rate_window_seconds: window over which the rates of arrivals and prompt tokens were taken.
        scraped_window_seconds: window of the other rates.
        reporting: worker pods with a fresh scrape.
        arrivals: requests/s offered.
        prompt_tokens: prompt tokens/s offered.
        generated_tokens: output tokens/s served.
        finished: requests/s finished.
        waiting: requests waiting in the workers.
        running: requests in the running batches.
        held: requests that wait at the gateways; None when no gateway is in the path.
        in_flight: requests that the gateways sent on and that are not finished; None as above.
        work: rates of the step model's sums, all fresh; None when any is not, or the engine does not export them.
        source_error: why the metrics source gave nothing at all; None when it answered, or the pods stand in for it.
        stand_in: why the workers' pods were asked themselves instead; None when they were not.
        startup_seconds: created to ready, 90th percentile of the pods so far; None before the first.
        starting_ages: seconds since the creation of each pod that is on its way and has a node.
        missed: what the gateways judged by the objectives over the last seconds; empty without a gateway.
        prompt_lengths: arrivals per second by the bits of their prompt's length; empty as above.
        kv_use: share of the KV cache that is in use, mean of the replicas; None when it was not asked.
    """

    replicas: int
    ready: int
    arrivals: Signal
    prompt_tokens: Signal
    generated_tokens: Signal
    finished: Signal
    waiting: Signal
    running: Signal
    reporting: Signal
    unschedulable: int = 0
    rolling_out: bool = False
    foreign_scaler: str | None = None
    rate_window_seconds: float = 60.0
    scraped_window_seconds: float = 60.0
    held: Signal | None = None
    in_flight: Signal | None = None
    work: StepRates | None = None
    source_error: str | None = None
    stand_in: str | None = None
    startup_seconds: float | None = None
    starting_ages: tuple[float, ...] = ()
    missed: tuple[Missed, ...] = ()
    prompt_lengths: tuple[float, ...] = ()
    kv_use: Signal | None = None

    def signals(self) -> dict[str, Signal]:
        """Inputs by the name under which status and metrics show them.

        Without a replica there is no worker to hear from: then only the gateways count.
        """
        at_the_door = {"Arrivals": self.arrivals} | ({} if self.held is None else {"Held": self.held})
        if self.replicas == 0 and self.held is not None:
            return at_the_door
        return at_the_door | {
            "GeneratedTokens": self.generated_tokens,
            "Waiting": self.waiting,
            "Running": self.running,
            "Reporting": self.reporting,
        }

    @property
    def idle(self) -> bool:
        """True when it is known that no request is anywhere: at the gateways, waiting or running.

        Without a ready pod the gateways alone know.
        """
        counts: tuple[Signal | None, ...] = (self.arrivals, self.held, self.in_flight)
        if self.ready:
            counts += (self.waiting, self.running)
        return all(signal is not None and signal.fresh and signal.value == 0 for signal in counts)


@dataclass(frozen=True, slots=True)
class Prediction:
    """What `replicas` would do to the SLA: fraction of requests that meet all objectives."""

    replicas: int
    attainment: float


@dataclass(frozen=True, slots=True)
class Decision:
    """The decided replica count and why.

    Attributes:
        replicas: wanted count.
        act: False when nothing may be written (paused, advisory, foreign scaler).
        reason: why this count.
        limited_by: what keeps it from what the load asks for.
        message: one sentence with the numbers, for people.
        needed: replicas that the load asks for, as a fraction; None when unknown.
        demand_tokens_per_second: offered generated tokens/s, backlog excluded; None when unknown.
        capacity_tokens_per_second: generated tokens/s of one replica; None when unknown.
        predictions: predicted attainment around the count; empty while no step model is learned.
        requests_per_second: smoothed arrivals that demand is made of; None when unknown.
        tokens_per_request: mean generated tokens of a request; None when unknown.
        capacity_from: how the capacity is known: Target, StepModel, FirstToken, Observed (in queues) or
            Unknown.
    """

    replicas: int
    reason: Reason
    message: str
    act: bool = True
    limited_by: LimitedBy = LimitedBy.NONE
    needed: float | None = None
    demand_tokens_per_second: float | None = None
    capacity_tokens_per_second: float | None = None
    predictions: tuple[Prediction, ...] = ()
    requests_per_second: float | None = None
    tokens_per_request: float | None = None
    capacity_from: str = "Unknown"
