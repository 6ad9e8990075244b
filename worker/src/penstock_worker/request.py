"""One request as the engine sees it: token ids in, token ids out, no text and no HTTP.

`tokens` holds prompt and output in one list. `computed` counts the leading tokens whose keys and values lie in
`pages`; a step computes more of them, and when it reaches the last known token it samples the next. `reached` is the
furthest `computed` ever was: what lies below it after a preemption is computed a second time, and is accounted so.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

FinishReason = Literal["stop", "length", "abort", "error"]
FINISH_REASONS: tuple[FinishReason, ...] = ("stop", "length", "abort", "error")


class State(Enum):
    """Where a request is; a preempted one waits again."""

    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to choose tokens and when to stop.

    Attributes:
        max_tokens: most output tokens.
        min_tokens: stop ids are not sampled before this many output tokens.
        temperature: 0 is greedy.
        top_k: candidates kept; 0 keeps all.
        top_p: probability mass kept.
        seed: key of the request's random numbers; with the output position it decides each draw.
        stop_ids: token ids that end the request; empty with `ignore_eos` and no own ids.
    """

    max_tokens: int
    min_tokens: int = 0
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    stop_ids: frozenset[int] = frozenset()


@dataclass(slots=True, eq=False)
class Request:
    """State of one request, owned by the engine thread; times are seconds of the engine's clock."""

    id: str
    tokens: list[int]
    sampling: Sampling
    arrived_at: float = 0.0
    prompt_length: int = field(init=False)
    state: State = State.WAITING
    slot: int = -1
    pages: list[int] = field(default_factory=list)
    chain: list[int] = field(default_factory=list)
    computed: int = 0
    reached: int = 0
    cached: int = 0
    preemptions: int = 0
    finish_reason: FinishReason | None = None
    scheduled_at: float | None = None
    first_token_at: float | None = None
    last_token_at: float | None = None

    def __post_init__(self) -> None:
        if not self.tokens:
            raise ValueError("a request needs at least one prompt token")
        self.prompt_length = len(self.tokens)

    @property
    def output_length(self) -> int:
        """Output tokens so far."""
        return len(self.tokens) - self.prompt_length

    @property
    def uncomputed_prompt(self) -> int:
        """Prompt tokens that were neither computed nor taken from the cache yet."""
        return max(0, self.prompt_length - self.reached)
