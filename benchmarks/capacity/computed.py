"""What the policy makes of a service: with the true step model, and with what it learned while it watched one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from benchmarks.capacity.cases import NEVER, Case, Drawn

from penstock_contract.names import PROMPT_LENGTH_BITS
from penstock_contract.profile import Profile
from penstock_lab.simulate.policies.penstock import Penstock
from penstock_lab.simulate.score import Objectives
from penstock_lab.simulate.state import Requests
from penstock_lab.simulate.world import Setting, World
from penstock_operator.core.scaling import Memory, Policy, budget, capacity, demand, firsttoken
from penstock_operator.core.scaling.learning import capacity_of
from penstock_operator.core.scaling.memory import PromptLength
from penstock_operator.core.scaling.stepfit import StepFit

LEARNING_SECONDS: Final = 600.0
LEARNING_LOAD: Final = 0.6  # of what is carried


def terms(case: Case, objectives: Objectives) -> Policy:
    """The policy of a service whose replicas never change."""
    profile = case.replica()
    return Policy(
        min_replicas=case.replicas,
        max_replicas=case.replicas,
        tpot_seconds=None if objectives.tpot_seconds >= NEVER else objectives.tpot_seconds,
        ttft_seconds=None if objectives.ttft_seconds >= NEVER else objectives.ttft_seconds,
        allowed=1.0 - objectives.attainment,
        max_sequences=profile.max_num_seqs,
        step_tokens=profile.max_num_batched_tokens,
    )


def theta(profile: Profile, drawn: Drawn) -> tuple[float, float, float]:
    """Seconds per step, per decoded sequence and per prompt token: the replica's own, with this mix's contexts."""
    prompt, model = drawn.prompt, profile.model
    per_token = model.cP + model.cPP * float((prompt * prompt).sum() / prompt.sum())
    return model.c0, model.cB + model.cKV * context(drawn), per_token


def context(drawn: Drawn) -> float:
    """Mean tokens of a sequence while it decodes."""
    return float(((drawn.prompt + drawn.output / 2) * drawn.output).sum() / drawn.output.sum())


def with_true_model(case: Case, objectives: Objectives) -> float | None:
    """Generated tokens/s of one replica by the policy's formulas, nothing having to be learned."""
    policy, drawn, profile = terms(case, objectives), Drawn(case), case.replica()
    of = firsttoken.Prefill(
        theta(profile, drawn),
        drawn.tokens,
        demand.prompts(_lengths(drawn.prompt)),
        profile.max_num_batched_tokens,
        slots=profile.max_num_seqs,
        fits=profile.kv_tokens / context(drawn),
        replicas=case.replicas,
    )
    first = None
    if policy.ttft_seconds is not None and policy.allowed is not None:
        first = firsttoken.sustainable(firsttoken.bound(of, seconds=policy.ttft_seconds), allowed=policy.allowed)
    return capacity.tokens_per_second(policy, None, _known(of, drawn), tail=budget.TAIL, first_token=first)


def learned(case: Case, objectives: Objectives, *, load: float) -> tuple[float | None, Memory]:
    """What the policy says after ten minutes at a load in generated tokens/s of a replica, and its memory."""
    drawn = Drawn(case)
    rate = load * case.replicas / drawn.tokens
    requests = _looped(drawn, rate, LEARNING_SECONDS)
    policy = Penstock(terms(case, objectives), kv_tokens=case.replica().kv_tokens)
    setting = Setting(
        case.replica(),
        initial_replicas=case.replicas,
        max_replicas=case.replicas,
        ttft_seconds=objectives.ttft_seconds,
        tpot_seconds=objectives.tpot_seconds,
    )
    World(requests, setting, policy).run()
    return capacity_of(policy.policy, policy.memory), policy.memory


def _looped(drawn: Drawn, rate: float, seconds: float) -> Requests:
    """The requests of a case for so long, from the beginning again where they do not suffice."""
    count = int(rate * seconds)
    rows: np.ndarray[tuple[int], np.dtype[np.int64]] = np.arange(count) % len(drawn.prompt)
    gaps = np.random.default_rng(drawn.case.seed + 1).exponential(1.0 / rate, count)
    return Requests.of(np.cumsum(gaps), drawn.prompt[rows], drawn.output[rows])


def _lengths(prompt: Sequence[float] | np.ndarray[tuple[int], np.dtype[np.float64]]) -> PromptLength:
    """As the gateways would have counted these prompts."""
    bits = np.minimum(PROMPT_LENGTH_BITS - 1, np.frexp(np.asarray(prompt))[1])
    counts = np.bincount(bits, minlength=PROMPT_LENGTH_BITS).astype(float)
    total = float(np.sum(prompt))
    return PromptLength(total, float(len(prompt)), total, total, tuple(counts.tolist()))


def _known(of: firsttoken.Prefill, drawn: Drawn) -> StepFit:
    """A step model that is known without any doubt, of a replica that does next to nothing."""
    nothing = (0.0, 0.0, 0.0)
    matrix = (nothing, nothing, nothing)
    ratio = float(drawn.prompt.sum() / drawn.output.sum())
    return StepFit(of.theta, matrix, of.theta, matrix, nothing, 1000, ratio, of.theta[0], 0.0, 0.0, 0.0)
