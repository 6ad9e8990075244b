"""The cases of the comparison: second halves of the public traces, and made traffic, each at several start-up times."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from benchmarks.policy.traffic import Stretch, cut, stretches

from penstock_lab.simulate.state import Requests

QUICK = ("mooncake_conversation", "azure2023_code", "step3")


@dataclass(frozen=True, slots=True)
class Case:
    """Traffic with a name.

    Attributes:
        name: in tables and keys: the same name is the same traffic.
        real: from a trace, not made.
        requests: of a seed.
    """

    name: str
    real: bool
    requests: Callable[[int], Requests]


@lru_cache(maxsize=1)
def every() -> tuple[Case, ...]:
    """All cases, the real ones first."""
    return tuple(_held(one) for one in stretches("held"))


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
