"""What NVIDIA Dynamo's planner predicts of one aggregated engine, with a perfect profile (`rivals.md` §5.5, §5.6).

Source: ai-dynamo/dynamo `components/src/dynamo/planner/core/perf_model/agg.py`. In the place of its regression over
(prefill tokens, decode KV tokens) stands the simulated replica's own step model, so the planner is given more than it
would have; the number of sequences that the step model needs follows from the mean context.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from penstock_contract.profile import Profile
from penstock_contract.step import StepWork

_MOST_HIT = 0.95


@dataclass(frozen=True, slots=True)
class Mix:
    """Moving averages of the traffic.

    Attributes:
        prompt: tokens of a prompt.
        context: tokens of a decoded sequence, prompt included.
        prefill_per_step: prompt tokens computed in a step.
        hit: share of prompt tokens that the prefix cache had.
    """

    prompt: float
    context: float
    prefill_per_step: float
    hit: float = 0.0


@dataclass(frozen=True, slots=True)
class Engine:
    """The perfect profile of one engine; times in seconds."""

    profile: Profile

    def step(self, prefill: float, kv: float, mix: Mix, *, sequences: float | None = None) -> float:
        """Time of a step with so many prompt tokens beside so much decode context."""
        count = kv / mix.context if sequences is None and mix.context > 0 else sequences or 0.0
        return self.profile.model.seconds(StepWork(1, count, kv, prefill, prefill * mix.prompt))

    def ttft(self, queued: float, kv: float, mix: Mix) -> float:
        """Of the next request: the queue and its own prompt in chunks, beside the present decoding."""
        budget = self.profile.max_num_batched_tokens
        left = (queued + mix.prompt) * (1.0 - min(_MOST_HIT, max(0.0, mix.hit)))
        whole = math.floor(left / budget)
        rest = left - whole * budget
        return whole * self.step(budget, kv, mix) + (self.step(rest, kv, mix) if rest > 0 else 0.0)

    def itl(self, kv: float, mix: Mix) -> float:
        """Of the next step with one more sequence."""
        return self.step(mix.prefill_per_step, kv + mix.context, mix)

    def rate(self, *, prompt: float, output: float, hit: float, ttft: float, itl: float) -> float:
        """Most requests/s under both targets by Little's law; of one sequence when none is under them."""
        if prompt <= 0 or output <= 0:
            return 0.0
        budget, context = self.profile.max_num_batched_tokens, prompt + output / 2
        most = min(int(self.profile.kv_tokens / context), self.profile.max_num_seqs, budget - 1)
        most = max(1, min(most, int(output * budget / (prompt + output))))
        best = 0.0
        for batch in range(1, most + 1):
            prefill = min(batch * prompt * (1.0 - min(_MOST_HIT, hit)) / max(1.0, output), budget)
            mix = Mix(prompt, context, prefill, hit)
            seconds = self.step(prefill, batch * context, mix, sequences=batch)
            over = seconds > itl or self.ttft(prefill, batch * context, mix) > ttft
            if over and batch > 1:
                break
            best = batch / (output * seconds)
            if over:
                break
        return best
