"""What an accelerator costs, and what that makes of a plan.

The kind of accelerator is the last part of a reference profile's name (`llama8b-bf16-tp1-h100` runs on H100); a profile
of another name is an accelerator of that name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from penstock_contract.profile import Profile
from penstock_lab.plan.demand import Demand
from penstock_lab.plan.errors import PlanError
from penstock_lab.plan.sizing import Size

MILLION = 1e6
SECONDS_PER_HOUR = 3600.0
HOURS_PER_MONTH = 730.0
_PRICE = re.compile(r"\$?(\d+(?:\.\d*)?|\.\d+)\s*(?:/\s*h)?")
_KIND = re.compile(r"tp\d+-([a-z0-9]+)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Cost:
    """Money, in the currency of the prices.

    Attributes:
        per_hour: of all replicas.
        per_million: generated tokens, at the demand.
        per_million_full: generated tokens, if every replica were at its bound all the time.
        per_million_all: prompt and generated tokens together, at the demand.
    """

    per_hour: float
    per_million: float
    per_million_full: float
    per_million_all: float

    @property
    def per_month(self) -> float:
        """Of 730 hours."""
        return self.per_hour * HOURS_PER_MONTH


def parse(pairs: Iterable[str]) -> dict[str, float]:
    """Price per accelerator and hour, by kind in lower case, from `H100=3.5` or `H100=$3.5/h`.

    Raises:
        PlanError: one is none.
    """
    found: dict[str, float] = {}
    for pair in pairs:
        kind, _, value = (part.strip() for part in pair.partition("="))
        price = _PRICE.fullmatch(value)
        if not kind or price is None:
            raise PlanError(f"{pair!r} is no price: write the accelerator and its price an hour, as in H100=3.5")
        if kind.lower() in found:
            raise PlanError(f"{kind} has two prices: give one")
        found[kind.lower()] = float(price[1])
    return found


def kind(profile: Profile) -> str:
    """The kind of accelerator of a profile."""
    found = _KIND.search(profile.name)
    return found[1].upper() if found else profile.name


def of(profile: Profile, prices: Mapping[str, float]) -> float | None:
    """Price of one of its accelerators and hour: by the profile's name, else by kind; None without one."""
    return prices.get(profile.name.lower(), prices.get(kind(profile).lower()))


def check(prices: Mapping[str, float], profiles: Iterable[Profile]) -> None:
    """Every price belongs to a profile.

    Raises:
        PlanError: one does not, so that it would be left out unseen.
    """
    known = {name.lower(): name for profile in profiles for name in (kind(profile), profile.name)}
    for name in prices:
        if name not in known:
            raise PlanError(f"no profile has the accelerator {name}: the profiles have {', '.join(known.values())}")


def cost(size: Size, demand: Demand, price: float) -> Cost:
    """Of a size that was found.

    Args:
        size: with a chosen count.
        demand: what it is for.
        price: per accelerator and hour.
    """
    assert size.chosen is not None
    replica = price * size.profile.accelerators
    hourly = replica * size.chosen.replicas
    every = demand.requests_per_second * (demand.prompt_tokens + demand.output_tokens)
    full = size.one.requests_per_second * demand.output_tokens
    return Cost(
        per_hour=hourly,
        per_million=_per_million(hourly, demand.tokens_per_second),
        per_million_full=_per_million(replica, full),
        per_million_all=_per_million(hourly, every),
    )


def _per_million(per_hour: float, tokens_per_second: float) -> float:
    return per_hour * MILLION / (tokens_per_second * SECONDS_PER_HOUR) if tokens_per_second else math.inf
