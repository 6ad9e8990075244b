"""From what was seen to figures: scored by the simulator's own code, so that the columns mean the same.

Beside each live run stands the simulation of the same requests with the policy that stands for the scaler.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from penstock_contract.profile import Profile
from penstock_lab.load.ledger import ANSWERED, Ledger
from penstock_lab.simulate import oracle
from penstock_lab.simulate.policies.registry import build
from penstock_lab.simulate.row import figures
from penstock_lab.simulate.score import met, score
from penstock_lab.simulate.state import Requests
from penstock_lab.simulate.world import Run, Setting, World

from .contestants import RUNNING_PER_REPLICA, Contestant
from .faults import Fault
from .scenario import MOST_REPLICAS, OBJECTIVES, PRICE, PROFILE, Load
from .stage import SCRAPE_SECONDS
from .watch import Watch

_POINT_SECONDS = 2.0
_RECOVERY_WINDOW_SECONDS = 30.0
_STARTUP_CV = 0.02  # of live pods, nearly nothing


@dataclass(frozen=True, slots=True)
class Row:
    """One run, live or simulated.

    Attributes:
        figures: for `result.json`, under the simulator's names.
        points: (seconds, asked, serving, offered requests/s, requests without a first token).
        latency: (seconds, 99th percentile of TTFT of the arrivals of 20 s).
    """

    figures: dict[str, Any]
    points: tuple[tuple[float, int, int, float, float], ...]
    latency: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Reaction:
    """What followed a burst; seconds after it, None for what did not come before the end.

    Attributes:
        decided: more replicas were asked for; negative when the most had been asked for before.
        ready: one more served than when the burst began.
        recovered: from here on no half minute of arrivals had less than the asked share of first tokens in time.
    """

    decided: float | None
    ready: float | None
    recovered: float | None


@dataclass(frozen=True, slots=True)
class Seen:
    """One contestant in one live run."""

    contestant: Contestant
    row: Row
    reaction: Reaction | None
    end: float

    def to_json(self) -> dict[str, Any]:
        """For `result.json`."""
        reaction = None if self.reaction is None else asdict(self.reaction)
        return {**self.row.figures, "reaction": reaction}


def requests_of(load: Load) -> Requests:
    """The load as the simulator takes it."""
    found = load.workload.requests
    return Requests.of(found.arrival_seconds, found.prompt_tokens, found.output_tokens)


def live(contestant: Contestant, load: Load, ledger: Ledger, watch: Watch, *, profile: Profile = PROFILE) -> Seen:
    """What became of one contestant's requests and pods."""
    run = _run(contestant, load, ledger, watch)
    end = run.end
    row = _row(run, contestant.name, load, profile)
    reaction = None if load.burst_at is None else _reaction(contestant, load.burst_at, run, watch)
    return Seen(contestant, row, reaction, end)


def simulated(contestant: Contestant, load: Load, *, replicas: int, profile: Profile = PROFILE, seed: int = 0) -> Row:
    """The same requests in the simulator."""
    share = {"share": RUNNING_PER_REPLICA / profile.max_num_seqs} if contestant.running else {}
    policy = build(
        contestant.simulated, profile=profile, objectives=OBJECTIVES, minimum=1, maximum=MOST_REPLICAS, settings=share
    )
    run = World(requests_of(load), twin_setting(replicas, profile, seed), policy).run()
    return _row(run, f"{contestant.name}, simulated", load, profile)


def plans(load: Load, *, replicas: int) -> tuple[float | None, float]:
    """GPU-hours of the clairvoyant plan, and of the fluid lower bound."""
    requests = requests_of(load)
    best = oracle.find(requests, replace(twin_setting(replicas, PROFILE, 0), paced=False), OBJECTIVES)
    bound = oracle.lower_bound_seconds(requests, PROFILE, OBJECTIVES) * PROFILE.accelerators / 3600
    return None if best is None else best.score.gpu_hours, bound


def twin_setting(replicas: int, profile: Profile, seed: int) -> Setting:
    """The world of a simulated run: what the live one has."""
    return Setting(
        profile,
        startup_seconds=profile.startup_seconds,
        startup_cv=_STARTUP_CV,
        initial_replicas=replicas,
        max_replicas=MOST_REPLICAS,
        scrape_seconds=SCRAPE_SECONDS,
        ttft_seconds=OBJECTIVES.ttft_seconds,
        tpot_seconds=OBJECTIVES.tpot_seconds,
        seed=seed,
        paced=True,
    )


def _run(contestant: Contestant, load: Load, ledger: Ledger, watch: Watch) -> Run:
    """The live run in the form that the simulator's score takes; it ends with its last request."""
    requests = requests_of(load)
    answered = ledger.code == ANSWERED
    first = requests.arrival + ledger.ttft
    paced = first + ledger.tpot * np.maximum(requests.output - 1, 1)
    finish = np.where(answered, np.where(np.isnan(paced), requests.arrival + ledger.e2e, paced), np.inf)
    end = float(np.nanmax(ledger.ended_at, initial=load.workload.seconds))
    begun = ~answered & ~np.isnan(ledger.ttft) & ~ledger.unfinished
    offered = np.histogram(requests.arrival, bins=np.arange(0.0, end + 10.0, 10.0))[0] / 10.0
    points = [
        (
            at,
            watch.asked(contestant.name, at),
            watch.serving(contestant.name, at),
            float(offered[int(at // 10)]) if int(at // 10) < len(offered) else 0.0,
            float(((requests.arrival <= at) & ~(first <= at)).sum()),
        )
        for at in np.arange(0.0, end, _POINT_SECONDS).tolist()
    ]
    return Run(
        requests=requests,
        first=first,
        finish=finish,
        pods=[],
        end=end,
        accelerator_seconds=watch.hours(contestant.name, end) * 3600 * PROFILE.accelerators,
        killed=int(begun.sum()),
        points=points,
    )


def _row(run: Run, policy: str, load: Load, profile: Profile) -> Row:
    common: dict[str, Any] = {
        "trace": load.name,
        "policy": policy,
        "seed": 0,
        "startup_seconds": profile.startup_seconds,
        "oracle_gpu_hours": None,
        "lower_bound_gpu_hours": None,
    }
    found = figures(run, score(run, profile, OBJECTIVES), price=PRICE)
    return Row(common | found, tuple(run.points), tuple(_latency(run)))


def _latency(run: Run, *, seconds: float = 20.0) -> list[tuple[float, float]]:
    """99th percentile of the time to the first token, by 20 s of arrivals."""
    waits, cells = run.first - run.requests.arrival, (run.requests.arrival // seconds).astype(int)
    found = []
    for cell in np.unique(cells):
        known = waits[(cells == cell) & np.isfinite(waits)]
        if len(known):
            found.append((float(cell) * seconds, float(np.percentile(known, 99))))
    return found


def _reaction(contestant: Contestant, burst: float, run: Run, watch: Watch) -> Reaction:
    name = contestant.name
    counts = [(at, count) for at, count in watch.counts.get(name, []) if at >= 0]
    before = watch.asked(name, burst)
    rises = itertools.pairwise([(burst, before), *[item for item in counts if item[0] > burst]])
    decided = next((after[0] - burst for was, after in rises if after[1] > was[1]), None)
    if decided is None and before == MOST_REPLICAS:  # all that may be was asked for already
        decided = next((at - burst for at, count in counts if count == before), None)
    served = watch.serving(name, burst)
    ready = next((point[0] - burst for point in run.points if point[0] > burst and point[2] > served), None)
    in_time = met(run, OBJECTIVES)[0]
    late = [
        start + _RECOVERY_WINDOW_SECONDS
        for start in np.arange(burst, run.requests.arrival[-1], 10.0).tolist()
        if len(part := in_time[(run.requests.arrival >= start)
                               & (run.requests.arrival < start + _RECOVERY_WINDOW_SECONDS)])
        and part.mean() < OBJECTIVES.attainment
    ]  # fmt: skip
    recovered = 0.0 if not late else late[-1] - burst
    lasting = late and late[-1] >= run.requests.arrival[-1]
    return Reaction(decided, ready, None if lasting else recovered)


@dataclass(frozen=True, slots=True)
class Hurt:
    """What a fault did to one contestant.

    Attributes:
        fault: its name.
        contestant: its name.
        before: replicas asked for when it began.
        lowest: least that were asked for from then until the next fault.
        downs: scale-downs in that time. The load never falls in this run, so each of them is wrong.
        ups: scale-ups while the fault lasted.
        attainment: of the requests due in that time.
    """

    fault: str
    contestant: str
    before: int
    lowest: int
    downs: int
    ups: int
    attainment: float | None


def hurts(seen: Sequence[Seen], faults: Sequence[Fault], load: Load, watch: Watch, goods: dict[str, Any]) -> list[Hurt]:
    """What each fault did to everybody.

    Args:
        seen: contestants.
        faults: in order of time.
        load: of the run.
        watch: counts.
        goods: by contestant, which requests met both objectives (n,).
    """
    ends = [*(fault.begin for fault in faults[1:]), load.workload.seconds]
    due = load.workload.due
    found = []
    for fault, end in zip(faults, ends, strict=True):
        for one in seen:
            name = one.contestant.name
            before = watch.asked(name, fault.begin)
            within = [(at, count) for at, count in watch.counts.get(name, []) if fault.begin < at <= end]
            steps = list(itertools.pairwise([(fault.begin, before), *within]))
            part = goods[name][(due >= fault.begin) & (due < end)]
            found.append(
                Hurt(
                    fault.name,
                    name,
                    before,
                    min([before, *(count for _at, count in within)]),
                    sum(after[1] < was[1] for was, after in steps),
                    sum(after[1] > was[1] and after[0] <= fault.end for was, after in steps),
                    float(part.mean()) if len(part) else None,
                )
            )
    return found


def good(load: Load, contestant: Contestant, ledger: Ledger, watch: Watch) -> Any:
    """Which requests met both objectives (n,)."""
    ttft, tpot, _deadline = met(_run(contestant, load, ledger, watch), OBJECTIVES)
    return ttft & tpot
