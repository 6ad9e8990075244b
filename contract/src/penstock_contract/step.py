"""The affine step model: how long one engine iteration takes, and the sums from which it is identified.

    seconds = c0·steps + cB·ΣB + cKV·ΣS + cP·Σp + cPP·Σp·len

One iteration (`steps` = 1) decodes B sequences whose contexts hold S tokens together, and computes p prompt
tokens of prompts that are `len` tokens long. The model is linear in its coefficients, so the same five sums
describe one step, a run of k decode steps or an hour of work: the worker exports them as counters, the operator
fits the coefficients, the simulator and the emulated device spend them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StepWork:
    """Work of one or more engine steps, in the terms of the step model.

    Attributes:
        steps: engine iterations.
        decode_sequences: ΣB, sequences decoded, summed over steps.
        kv_tokens: ΣS, context tokens of the decoded sequences, summed over steps.
        prefill_tokens: Σp, prompt tokens computed.
        prefill_token_length: Σ(p·len), each computed prompt token times the length of its prompt.
    """

    steps: float = 1.0
    decode_sequences: float = 0.0
    kv_tokens: float = 0.0
    prefill_tokens: float = 0.0
    prefill_token_length: float = 0.0


@dataclass(frozen=True, slots=True)
class StepModel:
    """Coefficients of the step model, all in seconds.

    Attributes:
        c0: per step.
        cB: per decoded sequence and step.
        cKV: per context token and step.
        cP: per prompt token computed.
        cPP: per prompt token and token of prompt length.
    """

    c0: float
    cB: float  # noqa: N815 - the contract's spelling, also in profile files
    cKV: float  # noqa: N815
    cP: float  # noqa: N815
    cPP: float  # noqa: N815

    def __post_init__(self) -> None:
        for name in ("c0", "cB", "cKV", "cP", "cPP"):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                raise ValueError(f"{name} must be a finite number of seconds >= 0, got {value!r}")

    def seconds(self, work: StepWork) -> float:
        """Time that `work` takes, in seconds."""
        return (
            self.c0 * work.steps
            + self.cB * work.decode_sequences
            + self.cKV * work.kv_tokens
            + self.cP * work.prefill_tokens
            + self.cPP * work.prefill_token_length
        )

    def decode_run_seconds(self, *, sequences: int, kv_tokens: int, steps: int) -> float:
        """Time of `steps` pure decode iterations in closed form.

        Every sequence grows by one context token a step, so ΣS = k·S + B·k(k-1)/2.

        Args:
            sequences: B, constant over the run.
            kv_tokens: S at the first step.
            steps: k.
        """
        grown = steps * kv_tokens + sequences * steps * (steps - 1) / 2
        return self.seconds(StepWork(steps=steps, decode_sequences=steps * sequences, kv_tokens=grown))
