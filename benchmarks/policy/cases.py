"""The cases of the comparison: second halves of the public traces, and made traffic, each at several start-up times."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from benchmarks.policy.traffic import MEAN_REPLICAS, OBJECTIVES, PROFILE, Stretch, cut, hours, late, stretches

from penstock_lab.simulate import oracle
from penstock_lab.simulate.state import Requests
from penstock_lab.simulate.study import Made
from penstock_lab.simulate.synthetic import Synthetic

SECONDS = 2400.0
SHAPES = ("step3", "step10", "ramp", "diurnal", "onoff", "mixshift", "leak", "gap")
QUICK = ("mooncake_conversation", "azure2023_code", "step3")


@dataclass(frozen=True, slots=True)
class Case:
    """Traffic with a name.

    Attributes:
        name: in tables and keys: the same name is the same traffic.
        real: from a trace, not made.
        requests: of a seed.
        slowdown_per_hour: of the replicas, as a share.
    """

    name: str
    real: bool
    requests: Callable[[int], Requests]
    slowdown_per_hour: float = 0.0


@lru_cache(maxsize=1)
def every() -> tuple[Case, ...]:
    """All cases, the real ones first."""
    held = [*stretches("held"), *hours("held"), *late("held")]
    return (*(_held(one) for one in held), *(_made(shape) for shape in SHAPES))


def named(names: Sequence[str]) -> list[Case]:
    """Some of them.

    Raises:
        SystemExit: there is none of a name.
    """
    known = {one.name: one for one in every()}
    if unknown := [name for name in names if name not in known]:
        raise SystemExit(f"no case {', '.join(unknown)}; there are {', '.join(known)}")
    return [known[name] for name in names]


def _held(one: Stretch) -> Case:
    return Case(one.name, True, lambda seed: cut(one, seed))


def _made(shape: str) -> Case:
    origin = Made(Synthetic(shape=shape, seconds=2 * SECONDS if shape == "diurnal" else SECONDS))

    def drawn(seed: int) -> Requests:
        base = origin.load()
        scale = MEAN_REPLICAS / oracle.mean_replicas(base, PROFILE, OBJECTIVES)
        return origin.scaled(base, scale, seed)

    return Case(shape, False, drawn, origin.slowdown_per_hour)
