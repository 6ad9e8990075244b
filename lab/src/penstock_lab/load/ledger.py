"""What became of every request, in arrays made before the load begins: about 40 bytes each, however long it lasts.

A request's row is written once, when it ends. Inter-token gaps, of which there are as many as tokens, go into a
histogram. The exact figure of a request (TTFT, TPOT, E2E, longest gap) is kept for all of them, so that percentiles are
exact and any later question can be answered.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from penstock_contract.names import TPOT_MIN_TOKENS
from penstock_lab.load.exchange import Answer, Counted, FailedError
from penstock_lab.load.histogram import Histogram

NOT_SENT: Final = 0
ANSWERED: Final = 1
TIMED_OUT: Final = "failed: timeout"
GIVEN_UP: Final = "failed: given up at the end"
_UNFINISHED: Final = (TIMED_OUT, GIVEN_UP)
SAMPLE_SECONDS: Final = 0.05


@dataclass(slots=True)
class Ledger:
    """One load.

    Attributes:
        due: float64 (n,), seconds from the start, as planned.
        prompt_tokens: int32 (n,), as planned until the endpoint's own count replaces it.
        warmup: requests due before are not measured.
        sent: how many have been sent.
        ended: how many have ended.
        refused: of these, with 429 or 503.
        failed: of these, in any other way.
        reasons: name of each code from 2 on.
        examples: what was said at the first failure of each reason.
        counted: what tokens of answers were counted by, with numbers of answers.
        itl: gaps between chunks with tokens, of measured requests.
        loop_lag: how late the event loop woke up, sampled.
        tokens_by_second: output tokens by the second in which they came.
        most_in_flight: at once.
        lag_seconds: sent minus due, float32 (n,).
        code, ttft, tpot, e2e, longest_gap, ended_at, output_tokens: arrays (n,).
    """

    due: Any
    prompt_tokens: Any
    warmup: float
    sent: int = 0
    ended: int = 0
    refused: int = 0
    failed: int = 0
    reasons: list[str] = field(default_factory=lambda: ["not sent", "answered"])
    examples: dict[str, str] = field(default_factory=dict)
    counted: Counter[Counted] = field(default_factory=Counter)
    itl: Histogram = field(default_factory=Histogram)
    loop_lag: Histogram = field(default_factory=Histogram)
    tokens_by_second: list[int] = field(default_factory=list)
    most_in_flight: int = 0
    code: Any = field(init=False)
    lag_seconds: Any = field(init=False)
    ttft: Any = field(init=False)
    tpot: Any = field(init=False)
    e2e: Any = field(init=False)
    longest_gap: Any = field(init=False)
    ended_at: Any = field(init=False)
    output_tokens: Any = field(init=False)

    def __post_init__(self) -> None:
        count = len(self.due)
        self.code = np.zeros(count, np.uint8)
        for name in ("lag_seconds", "ttft", "tpot", "e2e", "longest_gap", "ended_at"):
            setattr(self, name, np.full(count, np.nan, np.float32 if name != "ended_at" else np.float64))
        self.prompt_tokens = np.array(self.prompt_tokens, np.int32)
        self.output_tokens = np.zeros(count, np.int32)

    @property
    def in_flight(self) -> int:
        """Sent and not ended."""
        return self.sent - self.ended

    def leave(self, number: int, lag: float) -> None:
        """A request goes out, `lag` seconds after it was due."""
        self.sent += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        self.lag_seconds[number] = lag

    def woke(self, late: float) -> None:
        """The event loop woke up `late` seconds after it should have, as it is asked once every `SAMPLE_SECONDS`.

        A loop that stands still cannot be asked, so each question that it missed counts as one.
        """
        while late >= 0:
            self.loop_lag.add(late)
            late -= SAMPLE_SECONDS

    def tokens(self, count: int, at: float) -> None:
        """Output tokens came, `at` seconds from the start."""
        second = max(0, int(at))
        while len(self.tokens_by_second) <= second:
            self.tokens_by_second.append(0)
        self.tokens_by_second[second] += count

    def end(self, number: int, answer: Answer, *, start: float, now: float, error: FailedError | None) -> None:
        """A request has ended.

        Args:
            number: of the request.
            answer: what came of it.
            start: of the load, on the clock of `answer`.
            now: on the same clock.
            error: None when it was answered in full.
        """
        due = start + self.due[number]
        self.ended += 1
        self.code[number] = ANSWERED if error is None else self._reason(error)
        self.e2e[number] = now - due
        self.ended_at[number] = now - start
        self.output_tokens[number] = answer.tokens
        if answer.usage is not None and answer.usage[0]:
            self.prompt_tokens[number] = answer.usage[0]
        if answer.first is not None:
            self.ttft[number] = answer.first - due
            self.longest_gap[number] = answer.longest_gap
            if answer.tokens >= TPOT_MIN_TOKENS:
                self.tpot[number] = (answer.last - answer.first) / (answer.tokens - 1)
        if error is None:
            self.counted[answer.counted] += 1

    @property
    def unfinished(self) -> Any:
        """Which requests (n,) ended because nobody waited any longer: what their latency would be is not known."""
        return np.isin(self.code, [code for code, reason in enumerate(self.reasons) if reason in _UNFINISHED])

    @property
    def ttft_so_far(self) -> Any:
        """TTFT (n,), and of the unfinished without a token, how long they had waited for it."""
        return np.where(self.unfinished & np.isnan(self.ttft), self.e2e, self.ttft)

    def _reason(self, error: FailedError) -> int:
        if error.reason.startswith("refused"):
            self.refused += 1
        else:
            self.failed += 1
        if error.reason not in self.reasons:
            self.reasons.append(error.reason)
            self.examples[error.reason] = error.detail
        return self.reasons.index(error.reason)
