"""The largest load at which first tokens come in time, from the step model and the mix of prompts.

Prompts wait for one another: a replica computes them in the order of their arrival, some tokens in each step beside the
sequences that it decodes. So replicas are the servers of a queue of prompts, with usual approximations: P(wait) =
used^(sqrt(2(N+1)) - 1) for N servers (Sakasegawa 1977), and an exponential wait with the mean that two moments of the
work give (Pollaczek and Khinchine). N servers with one queue drain it N times as fast as one (Lee and Longton 1959),
with a queue for each they do not; here each prompt goes to who seems to have the least to do, and stays there, which is
in between: sqrt(N), as simulated (`make bench-capacity`). Requests also wait for room in the batch, where its slots or
the size of the cache are known. All shares are of the requests that an idle replica serves well in time: no replica
helps the others, but their work is counted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

_HALVINGS = 10
_LEAST = 0.25
_ROOM = 0.8  # of the time: who takes more of it alone is late for nearly any wait, and hardly helped by replicas
_LEAST_SHARE = 1e-6
_LEAST_SECONDS = 1e-12


@dataclass(frozen=True, slots=True)
class Prefill:
    """A service as its first tokens see it.

    Attributes:
        theta: seconds per step, per decoded sequence, per prompt token.
        output: generated tokens of a request.
        prompts: (share of the requests, prompt tokens to compute) of each kind of request; shares sum to 1.
        chunk: tokens of one step at most.
        slots: sequences that a replica runs at once; None = unknown.
        fits: sequences whose tokens fill its KV cache, on average; None = unknown.
        replicas: that share the work.
        stretch: by how much longer than computed waits are.
    """

    theta: tuple[float, float, float]
    output: float
    prompts: tuple[tuple[float, float], ...]
    chunk: float
    slots: float | None = None
    fits: float | None = None
    replicas: int = 1
    stretch: float = 1.0


@dataclass(frozen=True, slots=True)
class Bound:
    """A bound on the first token, and all of a service that does not change with its load.

    Attributes:
        of: the service.
        seconds: that a first token may take, or that a request may wait.
        kinds: (share, steps, seconds for the tokens alone) of each kind that an idle replica serves well in time.
        feasible: their share.
        mean: prompt tokens of a request.
        square: mean of their square.
        work: seconds of a replica for each generated token, what a step costs by itself left out.
    """

    of: Prefill
    seconds: float
    kinds: tuple[tuple[float, int, float], ...]
    feasible: float
    mean: float
    square: float
    work: float

    @property
    def most(self) -> float:
        """Generated tokens/s at which a replica does nothing but useful work, or has no room for another sequence."""
        room = min((one for one in (self.of.slots, self.of.fits) if one is not None), default=None)
        if room is None:
            return 1.0 / max(self.work, _LEAST_SECONDS)
        return room / (self.of.theta[0] + room * self.work)

    def late(self, load: float) -> float:
        """Share of the feasible requests that take longer at a load in generated tokens/s of a replica."""
        base, per_sequence, _ = self.of.theta
        useful = load * self.work
        if load >= self.most or useful >= 1.0:
            return 1.0
        decoding = load * base / (1.0 - useful)
        step = base + per_sequence * decoding  # of one without prompts
        queue = self._queue(load / self.of.output, step)
        if queue is None:
            return 1.0
        waits, mean, longest = queue
        full, turnover = self._slots(load, decoding, useful)
        missed = 0.0
        for share, steps, alone in self.kinds:
            left = (self.seconds - alone - (steps + 1) * step) / self.of.stretch
            if left <= 0.0:
                missed += share
                continue
            # Who arrives until the next step is in it too, and it is not over before they are done.
            own = max(left / (1.0 + waits), left - waits * longest)
            missed += share * min(1.0, waits * math.exp(-own / mean) + full * math.exp(-left * turnover))
        return missed / self.feasible if self.feasible > _LEAST_SHARE else 0.0

    def _queue(self, requests: float, step: float) -> tuple[float, float, float] | None:
        """Of the queue for prefill: chance to wait, mean of such waits, longest step; None when it only grows."""
        unit = self.of.theta[2] + step / self.of.chunk  # seconds per token while prompts wait
        used, longest = requests * self.mean * unit, step + self.of.theta[2] * self.of.chunk
        if used >= 1.0:
            return None
        if used <= 0.0:
            return 0.0, 1.0, longest
        servers = self.of.replicas
        mean = self.square * unit / (2.0 * self.mean * (1.0 - used) * math.sqrt(servers))
        return all_busy(used, servers), mean, longest

    def _slots(self, load: float, decoding: float, useful: float) -> tuple[float, float]:
        """Chance that no replica has room for another sequence, and how many waiting requests get one each second.

        The number of sequences is a birth and death process whose deaths are in proportion to tokens/s: it varies about
        its mean with a variance of the mean over the share of time that is not useful work.
        """
        of = self.of
        if decoding <= 0.0:
            return 0.0, 1.0
        unit = math.sqrt(of.replicas * (1.0 - useful) / decoding)
        away = math.inf if of.slots is None else (of.slots - decoding) * unit
        if of.fits is not None:  # tokens vary by the lengths of prompts, too
            away = min(away, (of.fits - decoding) * unit * self.mean / math.sqrt(self.square))
        return 0.5 * math.erfc(away / math.sqrt(2.0)), of.replicas * (self.most - load) / of.output


def all_busy(used: float, servers: int) -> float:
    """Chance that a request finds no idle server, of a queue whose servers are so busy (Sakasegawa 1977)."""
    return math.pow(min(1.0, max(0.0, used)), math.sqrt(2.0 * (servers + 1.0)) - 1.0)


def bound(of: Prefill, *, seconds: float, computed: bool = True) -> Bound:
    """A bound on a service.

    Args:
        of: the service.
        seconds: that a first token may take, or that a request may wait.
        computed: the time for the prompt itself counts; not where only the wait is bounded.
    """
    base, per_sequence, per_token = of.theta
    kinds, mean, square = [], 0.0, 0.0
    for share, tokens in of.prompts:
        mean += share * tokens
        square += share * tokens * tokens
        steps, alone = (math.ceil(tokens / of.chunk), tokens * per_token) if computed else (0, 0.0)
        if alone + steps * base <= _ROOM * seconds:
            kinds.append((share, steps, alone))
    work = per_sequence + per_token * mean / of.output
    return Bound(of, seconds, tuple(kinds), sum(kind[0] for kind in kinds), mean, square, work)


def sustainable(within: Bound, *, allowed: float) -> float:
    """Generated tokens/s of one replica at which so large a share is late and no more.

    At least a quarter of all that it can do: what is late even then is late by its own length, and four times as many
    replicas would hardly help it.
    """
    low, high = math.log(_LEAST * within.most), math.log(within.most)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if within.late(math.exp(middle)) <= allowed:
            low = middle
        else:
            high = middle
    return math.exp(low)
