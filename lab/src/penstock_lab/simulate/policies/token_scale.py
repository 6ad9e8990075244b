"""TokenScale: replicas for the tokens that arrive, over the velocity at which a replica takes them (arXiv 2512.03416).

Source: the paper; there is no public code. It scales prefill and decode apart: prefillers for the rate of prompt
tokens over the prefill velocity, decoders for the rate of all tokens over the rate at which a decoder releases them.
Our replicas do both, as its convertible decoders do, so the shares are added. The velocities come from the perfect
profile: prefill of full steps, and release at the largest batch whose steps stay under the time per token. Lengths are
means, not its nine classes, and outputs are those that finished, not predicted ones. The paper's rule for scaling down
is not ported: the count stays for `down_seconds`, as an HPA's would. Without a rate it holds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

from penstock_contract.profile import Profile
from penstock_lab.simulate.policies.base import ANY, Bounds, Glance
from penstock_lab.simulate.policies.token_aware import peak_prefill
from penstock_lab.simulate.policies.window import Window
from penstock_lab.simulate.state import Counter


class TokenScale:
    """To be tuned: the share of the velocities that is planned for, and how long a peak is remembered."""

    period_seconds = 5.0
    GRID: ClassVar[Mapping[str, Sequence[float]]] = {
        "share": (0.15, 0.25, 0.4, 0.55, 0.7, 1.0),
        "down_seconds": (60.0, 300.0, 900.0),
    }

    def __init__(
        self,
        *,
        profile: Profile,
        itl: float = 0.05,
        share: float = 1.0,
        down_seconds: float = 60.0,
        bounds: Bounds = ANY,
        name: str = "tokenscale",
    ) -> None:
        """An autoscaler of one service.

        Args:
            profile: of a replica: what the offline profiler would have measured.
            itl: objective of the time per output token, seconds.
            share: of the velocities that is planned for.
            down_seconds: for so long the largest count is kept.
            bounds: least and most replicas.
            name: in results.
        """
        self.name = name
        self._profile = profile
        self._itl = itl
        self._share = share
        self._bounds = bounds
        self._wanted = Window(down_seconds)
        self._prefill = peak_prefill(profile)

    def desired(self, glance: Glance) -> int:
        """Replicas for the rates of the last seconds."""
        door, rates = glance.door, glance.scraped.rates
        if door.requests_per_second is None or door.prompt_tokens_per_second is None or rates[Counter.FINISHED] <= 0:
            return self._bounds.clamp(glance.current)
        output = float(rates[Counter.GENERATED_TOKENS] / rates[Counter.FINISHED])
        self._wanted.add(glance.now, self.needed(door.requests_per_second, door.prompt_tokens_per_second, output))
        return self._bounds.clamp(max(self._wanted.values()))

    def needed(self, requests: float, prompt_tokens: float, output: float) -> int:
        """Replicas for requests/s with so many prompt tokens/s and a mean output."""
        if requests <= 0:
            return 0
        prompt = prompt_tokens / requests
        release = self.release(prompt, output)
        parts = prompt_tokens / self._prefill + requests * (prompt + output) / release
        return math.ceil(parts / self._share - 1e-9)

    def release(self, prompt: float, output: float) -> float:
        """Decode velocity: tokens of finished requests that a replica releases in a second."""
        model, context = self._profile.model, prompt + output / 2
        batch = (self._itl - model.c0) / (model.cB + model.cKV * context)
        batch = max(1.0, min(batch, self._profile.kv_tokens / context, self._profile.max_num_seqs))
        step = model.c0 + batch * (model.cB + model.cKV * context)
        return batch * (prompt + output) / (max(1.0, output) * step)
