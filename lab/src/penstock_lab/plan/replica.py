"""What one replica carries, in closed form from its step model.

At g requests/s a replica in balance decodes B = g·O·s sequences a step of s seconds and computes g·P·s prompt tokens,
so s = c0 + g·s·w with w the useful replica-seconds of a request; hence s = c0 / (1 - g·w), and every limit of the
engine is a largest g. Sizing adds what the balance leaves out: chance (`sizing`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from penstock_contract.profile import Profile
from penstock_lab.plan.demand import Demand
from penstock_lab.plan.sla import Sla

MARGIN = 0.02
KV_SHARE = 0.95  # of the cache; the engine preempts when it is full
_MOST_USED = 0.999


@dataclass(frozen=True, slots=True)
class Replica:
    """One replica at its bound.

    Attributes:
        requests_per_second: most that it carries in balance.
        step_seconds: of a step then.
        sequences: decoded in a step then.
        bound_by: what ends it: `TPOT`, `TTFT`, `KV cache`, `sequences`, `token budget`; empty when it serves none.
        impossible: why not even an idle replica meets the SLA; empty when it does.
    """

    requests_per_second: float
    step_seconds: float
    sequences: float
    bound_by: str
    impossible: str = ""


def work_seconds(profile: Profile, demand: Demand) -> float:
    """Useful replica-seconds of a mean request, what a step costs by itself left out."""
    return prefill_seconds(profile, demand) + _decode_seconds(profile, demand)


def prefill_seconds(profile: Profile, demand: Demand) -> float:
    """The part of it that the prompt takes."""
    return profile.model.cP * demand.prompt_tokens + profile.model.cPP * demand.prompt_squared


def _decode_seconds(profile: Profile, demand: Demand) -> float:
    return profile.model.cB * demand.output_tokens + profile.model.cKV * demand.output_context


def step_seconds(profile: Profile, demand: Demand, requests_per_second: float) -> float:
    """Seconds of a step in balance; infinite beyond what the replica can do."""
    idle = 1.0 - requests_per_second * work_seconds(profile, demand)
    return profile.model.c0 / idle if idle > 0 else math.inf


def longest_step(profile: Profile, demand: Demand, sla: Sla) -> float | None:
    """Seconds that a mean step may take; None without a promise.

    Prompts come one by one: a request sees about one more of them than its share, which is its time per token as well.
    The margin is for what else the balance leaves out, replicas that are not quite alike at any moment.
    """
    if sla.tpot_seconds is None:
        return None
    return (sla.tpot_seconds - prefill_seconds(profile, demand) / demand.output_tokens) * (1 - MARGIN)


def ttft_seconds(profile: Profile, demand: Demand, sla: Sla, requests_per_second: float) -> float:
    """The percentile of the time to the first token on one of many evenly loaded replicas.

    The rest of the running step, the steps of the prompt itself beside the others' decoding, and the prompts before it:
    the wait of a queue with fixed service times, whose tail falls exponentially.
    """
    step = step_seconds(profile, demand, requests_per_second)
    own, mean = _prompt_seconds(profile, demand.longest_prompt), prefill_seconds(profile, demand)
    chunks = math.ceil(demand.longest_prompt / profile.max_num_batched_tokens)
    decode = requests_per_second * _decode_seconds(profile, demand)
    used = requests_per_second * mean / max(1e-9, 1.0 - decode)
    if not math.isfinite(step) or used >= 1.0:
        return math.inf
    missed = 1.0 - sla.share
    wait = mean * math.log(used / missed) / (2 * (1.0 - used)) if used > missed else 0.0
    return step + chunks * (profile.model.c0 + step * decode) + own + wait


def at_bound(profile: Profile, demand: Demand, sla: Sla) -> Replica:
    """The most that one replica carries within the SLA, chance left out."""
    if why := _impossible(profile, demand, sla):
        return Replica(0.0, profile.model.c0, 0.0, "", why)
    work, base, output = work_seconds(profile, demand), profile.model.c0, demand.output_tokens
    context = demand.output_context / output
    tokens = demand.prompt_tokens + output

    def full(room: float, each: float) -> float:
        """Requests/s at which `each` per request and second of a step fill `room`."""
        return room / (each * base + room * work) if each * base + room * work > 0 else math.inf

    bounds = {
        "KV cache": full(KV_SHARE * profile.kv_tokens / context, output),
        "sequences": full(profile.max_num_seqs, output),
        "token budget": full(profile.max_num_batched_tokens, tokens),
    }
    if (longest := longest_step(profile, demand, sla)) is not None:
        bounds["TPOT"] = (1.0 - base / longest) / work if work > 0 else math.inf
    if sla.ttft_seconds is not None:
        bounds["TTFT"] = _within_ttft(profile, demand, sla, min(bounds.values()))
    bound_by = min(bounds, key=lambda name: bounds[name])
    most = bounds[bound_by]
    step = step_seconds(profile, demand, most)
    return Replica(most, step, most * output * step, bound_by)


def _prompt_seconds(profile: Profile, prompt: float) -> float:
    return profile.model.cP * prompt + profile.model.cPP * prompt * prompt


def _within_ttft(profile: Profile, demand: Demand, sla: Sla, most: float) -> float:
    """The largest rate up to `most` whose first tokens come in time, by halving."""
    assert sla.ttft_seconds is not None
    low, high = 0.0, min(most, _MOST_USED / max(1e-12, work_seconds(profile, demand)))
    if ttft_seconds(profile, demand, sla, high) <= sla.ttft_seconds:
        return math.inf
    for _ in range(50):
        middle = (low + high) / 2
        if ttft_seconds(profile, demand, sla, middle) <= sla.ttft_seconds:
            low = middle
        else:
            high = middle
    return low


def _impossible(profile: Profile, demand: Demand, sla: Sla) -> str:
    model, longest = profile.model, demand.longest_prompt
    alone = model.c0 + model.cB + model.cKV * demand.output_context / demand.output_tokens
    step = longest_step(profile, demand, sla)
    first = math.ceil(longest / profile.max_num_batched_tokens) * model.c0 + _prompt_seconds(profile, longest)
    if demand.prompt_tokens + demand.output_tokens > profile.kv_tokens:
        return f"a request of {demand.prompt_tokens + demand.output_tokens:.0f} tokens does not fit its KV cache"
    if sla.ttft_seconds is not None and first >= sla.ttft_seconds:
        return (
            f"alone on a replica a prompt of {longest:.0f} tokens takes {first:.2f} s to its first token, "
            f"the SLA allows {sla.ttft_seconds:g} s"
        )
    if step is not None and alone >= step:
        allowed = f"the SLA allows {1e3 * (sla.tpot_seconds or 0):g} ms"
        if alone < (sla.tpot_seconds or 0):
            allowed += ", and another prompt in between takes the rest"
        return f"alone on a replica a token takes {1e3 * alone:.1f} ms, {allowed}"
    return ""
