"""How many choices the workers of one service get at a time, by what their answers say and the objective asks."""

from __future__ import annotations

import math

from penstock_contract.pace import FOLD_SECONDS, Pace


class Pacer:
    """What was heard, and what follows.

    Args:
        now: monotonic seconds.

    Attributes:
        most: choices that a worker gets; infinity without an objective, or before enough was heard.
    """

    def __init__(self, now: float) -> None:
        self.most = math.inf
        self._objective: float | None = None
        self._pace = Pace()
        self._learned_at = now

    def aim(self, objective: float | None) -> None:
        """Seconds per token that answers are to keep to from now on; None = any."""
        if objective != self._objective:
            self._objective, self.most = objective, math.inf
            self._pace = Pace()  # it keeps what followed from the objective before

    def hear(self, choices: float, seconds: float) -> None:
        """An answer has come in full.

        Args:
            choices: that its worker had meanwhile on average, its own among them.
            seconds: time per output token.
        """
        self._pace.observe(choices, seconds)

    def learn(self, now: float) -> bool:
        """Draw from what was heard how many a worker gets; True if that has changed."""
        elapsed = now - self._learned_at
        if elapsed < FOLD_SECONDS:
            return False
        self._pace.fold(elapsed)
        self._learned_at = now
        before = self.most
        if self._objective is not None:
            self.most = self._pace.most(self._objective)
        return self.most != before
