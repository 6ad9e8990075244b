"""What a run is worth: attainment, GPU-hours, goodput, and how steady it was.

A request attains when its first token came within T1 and, from 16 tokens on, the mean time per further token was within
T2; one that failed or never ended does not. Requests that an idle replica could not have served in time are infeasible:
they are counted and left out.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock_contract.names import TPOT_MIN_TOKENS
from penstock_contract.profile import Profile
from penstock_lab.simulate.state import Floats, Requests
from penstock_lab.simulate.world import Run

Bools = npt.NDArray[np.bool_]
_WORST_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Objectives:
    """Thresholds in seconds, and the share of requests that shall meet them."""

    ttft_seconds: float = 2.0
    tpot_seconds: float = 0.05
    attainment: float = 0.99


@dataclass(frozen=True, slots=True)
class Score:
    """One run in figures.

    Attributes:
        requests: offered.
        infeasible: share that no idle replica serves in time.
        attainment: share of the feasible that met both objectives.
        ttft_attainment: … the first.
        tpot_attainment: … the second, of those with at least 16 tokens.
        deadline_attainment: share with finish <= arrival + T1 + output x T2.
        worst_attainment: in the worst 5-minute window with at least 20 requests.
        ttft_p50: seconds.
        ttft_p99: seconds.
        tpot_p99: seconds.
        failed: never ended, or ended without an answer.
        killed: of these, taken along by a removed pod.
        gpu_hours: from scheduled to deleted.
        peak_replicas: most asked for.
        reversals_per_hour: changes of direction of the count.
        goodput_per_gpu_hour: attaining requests per GPU-hour.
    """

    requests: int
    infeasible: float
    attainment: float
    ttft_attainment: float
    tpot_attainment: float
    deadline_attainment: float
    worst_attainment: float
    ttft_p50: float
    ttft_p99: float
    tpot_p99: float
    failed: int
    killed: int
    gpu_hours: float
    peak_replicas: int
    reversals_per_hour: float
    goodput_per_gpu_hour: float

    def to_json(self) -> dict[str, Any]:
        """For `result.json`; what is not a number becomes null."""
        return {key: None if isinstance(value, float) and not math.isfinite(value) else value
                for key, value in asdict(self).items()}  # fmt: skip


def idle_ttft(requests: Requests, profile: Profile) -> Floats:
    """Seconds to the first token on an idle replica."""
    model, budget = profile.model, profile.max_num_batched_tokens
    tokens = (requests.prompt - requests.cached).astype(np.float64)
    chunks = np.ceil(tokens / budget)
    return np.asarray(chunks * model.c0 + tokens * model.cP + model.cPP * tokens * requests.prompt, dtype=np.float64)


def feasible(requests: Requests, profile: Profile, objectives: Objectives) -> Bools:
    """Which requests an idle replica serves within both objectives."""
    model = profile.model
    alone = model.c0 + model.cB + model.cKV * (requests.prompt + requests.output / 2)
    fits = requests.prompt + requests.output <= profile.kv_tokens
    judged = requests.output >= TPOT_MIN_TOKENS
    in_time = idle_ttft(requests, profile) <= objectives.ttft_seconds
    return np.asarray(fits & in_time & (~judged | (alone <= objectives.tpot_seconds)))


def met(run: Run, objectives: Objectives) -> tuple[Bools, Bools, Bools]:
    """By request: answered with the first token in time; with the others in time (or too few); within the deadline."""
    requests = run.requests
    answered = np.isfinite(run.finish)
    with np.errstate(invalid="ignore"):
        ttft = answered & (run.first - requests.arrival <= objectives.ttft_seconds)
        gaps = np.maximum(requests.output - 1, 1)
        tpot = answered & (
            (requests.output < TPOT_MIN_TOKENS) | ((run.finish - run.first) / gaps <= objectives.tpot_seconds)
        )
        allowed = objectives.ttft_seconds + requests.output * objectives.tpot_seconds
        deadline = answered & (run.finish - requests.arrival <= allowed)
    return ttft, tpot, deadline


def score(run: Run, profile: Profile, objectives: Objectives) -> Score:
    """All figures of a run."""
    requests = run.requests
    counted = feasible(requests, profile, objectives)
    ttft, tpot, deadline = met(run, objectives)
    both = ttft & tpot
    answered = np.isfinite(run.finish)
    waits = (run.first - requests.arrival)[answered]
    long = answered & (requests.output >= TPOT_MIN_TOKENS)
    gaps = ((run.finish - run.first)[long]) / (requests.output[long] - 1)
    hours = run.accelerator_seconds / 3600
    return Score(
        requests=len(requests),
        infeasible=1.0 - _share(counted),
        attainment=_share(both[counted]),
        ttft_attainment=_share(ttft[counted]),
        tpot_attainment=_share(tpot[counted & (requests.output >= TPOT_MIN_TOKENS)]),
        deadline_attainment=_share(deadline[counted]),
        worst_attainment=_worst(requests.arrival[counted], both[counted]),
        ttft_p50=_percentile(waits, 50),
        ttft_p99=_percentile(waits, 99),
        tpot_p99=_percentile(gaps, 99),
        failed=int((~answered).sum()),
        killed=run.killed,
        gpu_hours=hours,
        peak_replicas=max((point[1] for point in run.points), default=0),
        reversals_per_hour=_reversals(run) / max(run.end / 3600, 1e-9),
        goodput_per_gpu_hour=float(both.sum()) / hours if hours else math.nan,
    )


def _share(which: Bools) -> float:
    return float(which.mean()) if len(which) else math.nan


def _percentile(values: Floats, share: float) -> float:
    return float(np.percentile(values, share)) if len(values) else math.nan


def _worst(arrival: Floats, good: Bools, least: int = 20) -> float:
    if not len(arrival):
        return math.nan
    window = (arrival // _WORST_SECONDS).astype(np.int64)
    seen, hits = np.bincount(window), np.bincount(window, weights=good)
    enough = seen >= least
    return float((hits[enough] / seen[enough]).min()) if enough.any() else math.nan


def _reversals(run: Run) -> int:
    counts = np.array([point[1] for point in run.points])
    moves = np.sign(np.diff(counts))
    moves = moves[moves != 0]
    return int((np.diff(moves) != 0).sum())
