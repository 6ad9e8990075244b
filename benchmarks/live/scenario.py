"""What every contestant gets: the emulated device, the objectives, the bounds and the requests.

The device is slow on purpose, so that two cores can run two dozen of its replicas: a step takes a tenth of a second
and more. Prompts are a quarter as long as in the trace and cost four times as much each, so the emulated work is that
of the trace; arrivals and answers are as they are, and time is not compressed.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from penstock_contract.profile import Profile
from penstock_contract.step import StepModel
from penstock_lab.load.arrivals import Process, steps
from penstock_lab.load.lengths import Lognormal
from penstock_lab.load.workload import Workload, draw, replay
from penstock_lab.simulate.score import Objectives
from penstock_lab.traces.source import Source

VOCABULARY = 512
LONGEST_PROMPT = 1000
LONGEST_OUTPUT = 1000
PROMPT_SCALE = 0.25
STARTUP_SECONDS = 60.0
MOST_REPLICAS = 8
PRICE = 2.5  # of an accelerator for an hour
TRACES_ENV = "PENSTOCK_TRACES"
TRACE_FILE = "servegen_m_large_clients_600s_wk1.csv.gz"
TRACE_START = 128 * 600.0 - 120.0  # two minutes before a large client switches on
TRACE_RATE_SCALE = 0.012
_PROMPT, _OUTPUT = Lognormal(800, 1.0), Lognormal(98, 1.5)  # about what the excerpt has

PROFILE = Profile(
    name="live-emulated",
    model=StepModel(c0=0.1, cB=0.006, cKV=1e-7, cP=0.0004, cPP=0.0),
    kv_tokens=32_768,
    max_num_seqs=16,
    max_num_batched_tokens=1024,
    accelerators=1,
    startup_seconds=STARTUP_SECONDS,
    source="made up for the live comparison: slow enough that two cores can run two dozen workers",
)
OBJECTIVES = Objectives(ttft_seconds=2.0, tpot_seconds=0.3, attainment=0.99)


@dataclass(frozen=True, slots=True)
class Load:
    """What is sent to everybody.

    Attributes:
        workload: arrivals and lengths.
        name: where they come from, for people.
        burst_at: when the load goes up by the most within a minute; None when it never does.
    """

    workload: Workload
    name: str
    burst_at: float | None


def excerpt(*, seconds: float, rate: float = 1.0) -> Load:
    """The excerpt of the public trace where its folder is known, else a made-up shift of level of the same kind.

    Args:
        seconds: length.
        rate: factor on the number of requests.
    """
    folder = os.environ.get(TRACES_ENV)
    path = Path(folder) / TRACE_FILE if folder else None
    if path is not None and path.is_file():
        source = Source(path=path, format="servegen", start=TRACE_START, rate_scale=TRACE_RATE_SCALE * rate)
        found = replay(source.requests(), seconds=seconds, description={"trace": TRACE_FILE, "start": TRACE_START})
        name = f"{TRACE_FILE} from {TRACE_START / 3600:.2f} h, {TRACE_RATE_SCALE * rate:g} of its rate"
    else:
        shape = [(0.18 * seconds, 1.7), (0.27 * seconds, 5.0), (0.55 * seconds, 2.6)]
        found = _drawn([(length, level * rate) for length, level in shape])
        name = f"made up: 1.7, 5 and 2.6 requests/s (set {TRACES_ENV} for a real trace)"
    fitted = _fitted(found)
    return Load(fitted, name, _burst(fitted))


def steady(*, seconds: float, rate: float, step_at: float, factor: float) -> Load:
    """A level that goes up once.

    Args:
        seconds: length.
        rate: requests/s.
        step_at: when it goes up.
        factor: by how much.
    """
    found = _drawn([(step_at, rate), (seconds - step_at, rate * factor)])
    return Load(_fitted(found), f"{rate:g} requests/s, {rate * factor:g} from {step_at:.0f} s on", step_at)


def _drawn(pieces: list[tuple[float, float]]) -> Workload:
    return draw(steps(pieces), Process.POISSON, prompt=_PROMPT, output=_OUTPUT, seed=3, description={"pieces": pieces})


def _fitted(found: Workload) -> Workload:
    """Prompts as the device takes them; lengths that fit its replicas."""
    requests = found.requests
    prompt = np.clip(np.rint(requests.prompt_tokens * PROMPT_SCALE), 1, LONGEST_PROMPT).astype(np.int32)
    output = np.clip(requests.output_tokens, 1, LONGEST_OUTPUT).astype(np.int32)
    return replace(found, requests=replace(requests, prompt_tokens=prompt, output_tokens=output))


def _burst(found: Workload, *, seconds: float = 60.0) -> float | None:
    """When arrivals go up by the most from one minute to the next."""
    edges = np.arange(0.0, found.seconds, 10.0)
    counts = np.histogram(found.due, bins=np.append(edges, found.seconds))[0]
    width = int(seconds // 10)
    if len(counts) < 2 * width:
        return None
    sums = np.convolve(counts, np.ones(width), "valid")
    rises = sums[width:] - sums[:-width]
    return float(edges[int(np.argmax(rises)) + width]) if rises.max() > 0 else None
