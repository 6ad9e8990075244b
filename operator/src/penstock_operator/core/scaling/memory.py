"""What the policy remembers of a service between two ticks. Empty after a restart, which never shrinks a service."""

from __future__ import annotations

from dataclasses import dataclass, field

from penstock_operator.core.scaling.budget import Margins
from penstock_operator.core.scaling.forecast import Forecast
from penstock_operator.core.scaling.proof import Proof
from penstock_operator.core.scaling.rental import Rental
from penstock_operator.core.scaling.season import Season
from penstock_operator.core.scaling.stepfit import StepFit


@dataclass(frozen=True, slots=True)
class OutputLength:
    """Running estimate of generated tokens per request, from cumulative rates only.

    Attributes:
        tokens: decayed sum of generated tokens.
        requests: decayed sum of finished requests.
        running: decayed mean of running requests.
        at: time of the last update; None before the first.
        recent: the three of the last half minute.
        lagged: running requests, as late as rates over a window are.
    """

    tokens: float = 0.0
    requests: float = 0.0
    running: float = 0.0
    at: float | None = None
    recent: tuple[float, float, float] = (0.0, 0.0, 0.0)
    lagged: float = 0.0


@dataclass(frozen=True, slots=True)
class PromptLength:
    """Running estimate of what prompts cost, from rates only; sums decay.

    Attributes:
        tokens: prompt tokens offered, over minutes.
        requests: arrivals, over minutes.
        offered: prompt tokens offered, over a longer time.
        computed: prompt tokens that were computed in that time; less than `offered` where prefixes are cached, and
            more or less where the gateways' estimate of a prompt's tokens is off.
        lengths: arrivals by the bits of their prompt's length (2^(i-1) <= tokens < 2^i), over the longer time.
    """

    tokens: float = 0.0
    requests: float = 0.0
    offered: float = 0.0
    computed: float = 0.0
    lengths: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Memory:
    """What the policy remembers between ticks. Empty after a restart, which never shrinks a service.

    Attributes:
        arrivals: smoothed request rate; None before the first fresh tick.
        output: estimate of tokens per request.
        saturation_tokens_per_second: most that one replica was seen to generate with requests waiting; None = unseen.
        idle_since: start of the present stretch without any request; None while there are some.
        recommendations: (time, replicas) inside the stabilisation window, oldest first.
        fit: the step model, as far as it is identified; None while no engine's sums were seen.
        prompt: estimate of what prompts cost.
        forecast: of the work that is offered; None before the first.
        season: that work over the days before; None before the first.
        margins: reserve that the error budget asks for; None before the first tick.
        saturated_since: start of the present stretch in which every replica has a queue; None outside of one.
        first_token: generated tokens/s of one replica that the objective on the first token allows; None = unknown.
        fits: sequences whose tokens fill the KV cache of a replica, at the present mix; None = unknown.
        proof: what was carried in time over the last minutes; None before anything was judged.
        carried: generated tokens/s that were offered to each replica over the last half minute; None = unseen.
        shown: the most of it while requests were in time; None = unseen.
        late: share of the requests that miss the objective that most miss, over the last half minute.
        missed_at: when more requests than may last missed an objective; None = never.
        short_at: when replicas were last too few for the load; None = never.
        rental: how the load came back so far, and so how long replicas are worth keeping.
        ready: replicas that were ready at the last tick.
        grown_at: when these last became more; None = never.
        at: Unix seconds of the last tick.
    """

    arrivals: float | None = None
    output: OutputLength = field(default_factory=OutputLength)
    saturation_tokens_per_second: float | None = None
    idle_since: float | None = None
    recommendations: tuple[tuple[float, int], ...] = ()
    fit: StepFit | None = None
    prompt: PromptLength = field(default_factory=PromptLength)
    forecast: Forecast | None = None
    season: Season | None = None
    margins: Margins | None = None
    saturated_since: float | None = None
    first_token: float | None = None
    fits: float | None = None
    proof: Proof | None = None
    carried: float | None = None
    shown: float | None = None
    late: float = 0.0
    missed_at: float | None = None
    short_at: float | None = None
    rental: Rental = field(default_factory=Rental)
    ready: int = 0
    grown_at: float | None = None
    at: float | None = None
