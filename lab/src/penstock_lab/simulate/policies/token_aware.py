"""llm-d's token-aware autoscaling: KEDA on tokens of outstanding work (`rivals.md` §5.1 gives the KEDA behind it).

Source: llm-d/llm-d `guides/workload-autoscaling/keda-epp-token-aware`, prefill and decode in one pod. Two triggers,
AverageValue, the larger count wins: uncached prompt tokens that are dispatched and not prefilled yet, over the tokens
that one replica prefills in a second (seconds of backlog, 1.5 each), and full caches (0.8 each). One pod more in 3
minutes at most, one less in 5. The backlog here is what waits in the replicas, and what our gateway holds at the mean
prompt; of a prompt that is being prefilled the rest is not known and counts as done. Tuned, it is not held to one pod
in 3 minutes: it has the limits of a plain HPA.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from penstock_contract.profile import Profile
from penstock_contract.step import StepWork
from penstock_lab.simulate.policies.base import Bounds, Glance
from penstock_lab.simulate.policies.hpa import USUAL, Behaviour, Metric, Rate
from penstock_lab.simulate.policies.keda import Keda
from penstock_lab.simulate.scrapes import KV_USED, QUEUED_TOKENS
from penstock_lab.simulate.state import Counter

GRID: Mapping[str, Sequence[float]] = MappingProxyType(
    {"backlog_seconds": (0.01, 0.03, 0.1, 0.3, 0.8, 1.5), "kv": (0.03, 0.1, 0.3, 0.8)}
)
SHIPPED = Behaviour(up=Rate(pods=1, seconds=180.0), down=Rate(pods=1, seconds=300.0))


def token_aware(
    *,
    profile: Profile,
    backlog_seconds: float = 1.5,
    kv: float = 0.8,
    behaviour: Behaviour = SHIPPED,
    bounds: Bounds,
    name: str = "llm-d-token-aware",
) -> Keda:
    """A ScaledObject on tokens.

    Args:
        profile: of a replica; `peakPrefillThroughput` and the cache's size come from it.
        backlog_seconds: of prefill that a replica may have waiting.
        kv: share of its cache that a replica may have in use.
        behaviour: of the generated HPA.
        bounds: least and most replicas.
        name: in results.
    """
    metrics = [Metric(backlog(peak_prefill(profile)), backlog_seconds), Metric(caches(profile.kv_tokens), kv)]
    return Keda(metrics=metrics, behaviour=behaviour, bounds=bounds, name=name)


def tuned(settings: Mapping[str, float]) -> Behaviour:
    """Limits of speed: the guide's at its defaults, else those of a plain HPA."""
    return USUAL if settings else SHIPPED


def peak_prefill(profile: Profile) -> float:
    """Prompt tokens that a replica computes in a second, as the guide's calibration finds it: a full step alone."""
    budget = profile.max_num_batched_tokens
    return budget / profile.model.seconds(StepWork(1, 0, 0, budget, float(budget) * budget))


def backlog(per_second: float) -> Callable[[Glance], float | None]:
    """Seconds of prefill that wait, of all replicas together."""

    def read(glance: Glance) -> float | None:
        if glance.scraped.observed_at is None and glance.current:
            return None
        rates = glance.scraped.rates
        prompt = rates[Counter.PROMPT_TOKENS] / rates[Counter.ARRIVED] if rates[Counter.ARRIVED] > 0 else 0.0
        inside = sum(page.values[QUEUED_TOKENS] for page in glance.staying(glance.pages))
        return float(inside + glance.door.held * prompt) / per_second

    return read


def caches(kv_tokens: int) -> Callable[[Glance], float | None]:
    """Full caches' worth in use, of all replicas together."""

    def read(glance: Glance) -> float | None:
        if glance.scraped.observed_at is None and glance.current:
            return None
        return float(sum(page.values[KV_USED] for page in glance.staying(glance.pages))) / kv_tokens

    return read
