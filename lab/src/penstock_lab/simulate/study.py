"""A study: what is asked. One trace, several policies, several seeds, each beside the oracle of the same seed.

`traffic` and `setting` say what a seed means; `bout.rows` runs it all.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Protocol

import numpy as np

from penstock_contract.profile import Profile
from penstock_lab.simulate import oracle
from penstock_lab.simulate.scaling import scaled
from penstock_lab.simulate.score import Objectives
from penstock_lab.simulate.state import Requests
from penstock_lab.simulate.synthetic import Synthetic
from penstock_lab.simulate.world import Setting
from penstock_lab.traces.request import arrays
from penstock_lab.traces.source import Source

MOST_REQUESTS = 20_000_000


class Origin(Protocol):
    """Where requests come from, with a name for results."""

    @property
    def name(self) -> str:
        """Of the trace."""
        ...

    @property
    def slowdown_per_hour(self) -> float:
        """By how much a replica's steps grow in an hour, as a share."""
        ...

    def load(self) -> Requests:
        """All of them, in order of arrival."""
        ...

    def scaled(self, requests: Requests, scale: float, seed: int) -> Requests:
        """The traffic of a seed, with `scale` requests for each of those that were loaded."""
        ...

    def about(self) -> dict[str, object]:
        """What tells this origin from another one, for `meta`."""
        ...


@dataclass(frozen=True, slots=True)
class File:
    """A trace file."""

    source: Source

    @property
    def name(self) -> str:
        """Of the file."""
        return self.source.path.name

    @property
    def slowdown_per_hour(self) -> float:
        """None."""
        return 0.0

    def load(self) -> Requests:
        """The part that is asked for.

        Raises:
            TraceError: it cannot be read.
        """
        return load(self.source)

    def scaled(self, requests: Requests, scale: float, seed: int) -> Requests:
        """Copies that are moved by some seconds, and a thinned one."""
        return scaled(requests, scale, seed=seed)

    def about(self) -> dict[str, object]:
        """File, format and part."""
        one = self.source
        return {"file": one.path.name, "format": one.format, "start": one.start, "end": one.end}


@dataclass(frozen=True, slots=True)
class Made:
    """Made-up traffic: drawn anew at the rate that is asked for, so that a step stays a step."""

    synthetic: Synthetic

    @property
    def name(self) -> str:
        """Of the shape, as it is asked for."""
        return str(self.synthetic.path)

    @property
    def slowdown_per_hour(self) -> float:
        """Of a leak."""
        return self.synthetic.slowdown_per_hour

    def load(self) -> Requests:
        """All of it, at its own rate."""
        return self.synthetic.columns()

    def scaled(self, requests: Requests, scale: float, seed: int) -> Requests:
        """Another draw at another rate."""
        del requests
        return replace(self.synthetic, rate=self.synthetic.rate * scale, seed=seed).columns()

    def about(self) -> dict[str, object]:
        """All of its numbers."""
        return {"file": self.name, "format": self.synthetic.format, **asdict(self.synthetic)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """What is asked.

    Attributes:
        trace: the requests.
        profile: one replica.
        objectives: of the SLA.
        policies: names, of `policies.registry`, or `oracle` or `static` (fewest replicas that attain).
        seeds: of start-up times and of scaled traffic.
        startup_seconds: mean, scheduled to ready.
        startup_cv: its coefficient of variation.
        max_replicas: bound of every policy.
        mean_replicas: scale the traffic to a fluid demand of so many replicas; None = `rate_scale`.
        rate_scale: requests for each of the trace.
        price: of an accelerator for an hour.
        max_requests: of a seed; those after them are left out.
        paced: the gateway holds requests so that objectives are kept, as ours does, whoever scales.
    """

    trace: Origin
    profile: Profile
    objectives: Objectives
    policies: tuple[str, ...]
    seeds: int = 1
    startup_seconds: float = 60.0
    startup_cv: float = 0.25
    max_replicas: int = 200
    mean_replicas: float | None = 10.0
    rate_scale: float = 1.0
    price: float = 1.0
    max_requests: int = MOST_REQUESTS
    paced: bool = True


def load(source: Source) -> Requests:
    """A trace as the simulator takes it.

    Raises:
        TraceError: it cannot be read.
    """
    columns = arrays(source.requests())
    return Requests.of(
        columns.arrival_seconds, np.maximum(1, columns.prompt_tokens), np.maximum(1, columns.output_tokens)
    )


def traffic(study: Study, requests: Requests, seed: int) -> tuple[Requests, float]:
    """The traffic of one seed, at most `max_requests` of it, and by how much the trace was scaled."""
    scale = study.rate_scale
    if study.mean_replicas is not None and len(requests):
        scale = study.mean_replicas / max(1e-9, oracle.mean_replicas(requests, study.profile, study.objectives))
    made = study.trace.scaled(requests, scale, seed)
    if len(made) > study.max_requests:
        cut = slice(0, study.max_requests)
        made = Requests(made.arrival[cut], made.prompt[cut], made.output[cut], made.cached[cut])
    return made, scale


def setting(study: Study, seed: int) -> Setting:
    """The world of one seed, before it is known how many replicas there are at the start."""
    return Setting(
        study.profile,
        startup_seconds=study.startup_seconds,
        startup_cv=study.startup_cv,
        max_replicas=study.max_replicas,
        ttft_seconds=study.objectives.ttft_seconds,
        tpot_seconds=study.objectives.tpot_seconds,
        seed=seed,
        slowdown_per_hour=study.trace.slowdown_per_hour,
        paced=study.paced,
    )
