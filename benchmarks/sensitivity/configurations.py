"""Worlds drawn at random: traffic, replica, start-up, SLA and bounds, each of a seed and the same for the same seed.

What is drawn stays inside what somebody might run; nothing is drawn again because the policy does badly on it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from penstock_contract.profile import Profile, load_profile, reference_names
from penstock_contract.step import StepModel
from penstock_lab.simulate import oracle
from penstock_lab.simulate.score import Objectives
from penstock_lab.simulate.state import Requests
from penstock_lab.simulate.synthetic import BY_THE_CLOCK, SHAPES, Synthetic
from penstock_lab.simulate.world import Setting

MOST_REPLICAS: Final = 60
_MOST_REQUESTS: Final = 60_000
_TRIED_SECONDS: Final = 1200.0
_SHAPES: Final = tuple(one for one in SHAPES if one not in BY_THE_CLOCK)  # an hour says nothing of days
_PROFILES: Final = tuple(reference_names())


@dataclass(frozen=True, slots=True)
class Configuration:
    """A world without a policy.

    Attributes:
        seed: that it was drawn with.
        traffic: shape, rate and lengths.
        profile: a replica.
        objectives: the SLA.
        minimum: replicas.
        startup_seconds: mean.
        startup_cv: its coefficient of variation.
        scrape_seconds: interval of the scrapes.
        mean_replicas: fluid demand.
    """

    seed: int
    traffic: Synthetic
    profile: Profile
    objectives: Objectives
    minimum: int
    startup_seconds: float
    startup_cv: float
    scrape_seconds: float
    mean_replicas: float

    def requests(self) -> Requests:
        """What is asked."""
        return self.traffic.columns()

    def setting(self) -> Setting:
        """The world, from one replica on."""
        return Setting(
            self.profile,
            startup_seconds=self.startup_seconds,
            startup_cv=self.startup_cv,
            initial_replicas=1,
            max_replicas=MOST_REPLICAS,
            scrape_seconds=self.scrape_seconds,
            ttft_seconds=self.objectives.ttft_seconds,
            tpot_seconds=self.objectives.tpot_seconds,
            slowdown_per_hour=self.traffic.slowdown_per_hour,
            seed=self.seed,
        )

    def about(self) -> dict[str, Any]:
        """In figures."""
        return {
            "seed": self.seed,
            "shape": self.traffic.shape,
            "seconds": round(self.traffic.end),
            "rate": round(self.traffic.rate, 2),
            "prompt": round(self.traffic.prompt),
            "output": round(self.traffic.output),
            "spread": round(self.traffic.spread, 2),
            "profile": self.profile.name,
            "mean_replicas": round(self.mean_replicas, 2),
            "startup_seconds": round(self.startup_seconds),
            "startup_cv": round(self.startup_cv, 2),
            "scrape_seconds": self.scrape_seconds,
            "minimum": self.minimum,
            "ttft_seconds": round(self.objectives.ttft_seconds, 2),
            "tpot_seconds": round(self.objectives.tpot_seconds, 4),
            "asked": self.objectives.attainment,
        }


def draw(seed: int) -> Configuration:
    """The configuration of a seed."""
    dice = np.random.default_rng([seed, 6])

    def spread_out(low: float, high: float) -> float:
        return float(np.exp(dice.uniform(np.log(low), np.log(high))))

    profile = _replica(str(dice.choice(_PROFILES)), spread_out(0.5, 2.0), float(dice.uniform(0.5, 1.5)))
    prompt, output = spread_out(50, 6000), spread_out(20, 800)
    slower = float(dice.uniform(2, 10)), float(dice.uniform(1.4, 4))
    objectives = _sla(profile, (prompt, output), slower, float(dice.choice([0.9, 0.95, 0.99])))
    shape = str(dice.choice(_SHAPES))
    seconds = float(dice.uniform(1200, 3600)) * (1.5 if shape == "diurnal" else 1.0)
    tried = Synthetic(
        shape=shape,
        seconds=_TRIED_SECONDS,
        rate=5.0,
        prompt=prompt,
        output=output,
        spread=float(dice.uniform(0.2, 1.0)),
        seed=seed,
    )
    columns = tried.columns()
    each = oracle.mean_replicas(columns, profile, objectives) / 5.0
    wanted = spread_out(0.3, 20.0)
    most = _MOST_REQUESTS / seconds * 5.0 * _TRIED_SECONDS / len(columns)
    rate = min(wanted / each, most)
    return Configuration(
        seed=seed,
        traffic=replace(tried, seconds=seconds, rate=rate),
        profile=profile,
        objectives=objectives,
        minimum=0 if dice.random() < 0.25 else 1,
        startup_seconds=spread_out(5.0, 420.0),
        startup_cv=float(dice.uniform(0.0, 0.5)),
        scrape_seconds=float(dice.choice([5.0, 15.0, 30.0])),
        mean_replicas=rate * each,
    )


def _replica(name: str, slower: float, room: float) -> Profile:
    """A reference replica at another speed and with another cache."""
    known = load_profile(name)
    model = known.model
    changed = StepModel(*(slower * getattr(model, one) for one in ("c0", "cB", "cKV", "cP", "cPP")))
    return replace(known, model=changed, kv_tokens=int(room * known.kv_tokens))


def _sla(profile: Profile, tokens: tuple[float, float], slower: tuple[float, float], attainment: float) -> Objectives:
    """Thresholds as multiples of what an idle replica takes for the median request."""
    model, (prompt, output) = profile.model, tokens
    first = model.c0 + model.cP * prompt + model.cPP * prompt * prompt
    each = model.c0 + model.cB + model.cKV * (prompt + output / 2)
    return Objectives(
        ttft_seconds=max(0.5, slower[0] * first),
        tpot_seconds=slower[1] * each,
        attainment=attainment,
    )
