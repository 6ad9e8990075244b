"""One worker without emulation, on this machine's own cores: is its step what the operator's fit and the simulator say?

First a calibration: rates one after the other, so that batches of all sizes are seen. From the worker's counters, read
every two seconds, the operator's own step fit is updated as it would be in a cluster, and the five coefficients of the
step model are fitted to all windows at once. Then another load, which neither has seen: each window's mean step against
what was predicted for its work, and the latencies of its requests against a simulation of the same requests.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
from benchmarks.live.traffic import LIMITS

from penstock_contract.profile import Profile
from penstock_contract.step import StepModel
from penstock_lab.cluster.addresses import LOOPBACK, Reservations
from penstock_lab.load.arrivals import Process, steps
from penstock_lab.load.endpoint import Endpoint
from penstock_lab.load.ledger import ANSWERED, Ledger
from penstock_lab.load.lengths import Lognormal
from penstock_lab.load.prompts import Prompts, Shape
from penstock_lab.load.sender import Sender
from penstock_lab.load.workload import Workload, draw
from penstock_lab.simulate.policies.static import Static
from penstock_lab.simulate.score import Objectives, met
from penstock_lab.simulate.state import Requests
from penstock_lab.simulate.world import Run, Setting, World
from penstock_operator.core.scaling.stepfit import StepFit, update

from .counters import Window, look
from .table import fit

VOCABULARY = 512
SEQUENCES, BUDGET, KV_TOKENS, CONTEXT = 32, 512, 32_768, 2048
_MODEL = {"hidden": 256, "layers": 6, "heads": 8, "kv-heads": 4, "vocab": VOCABULARY, "max-positions": CONTEXT}
_PROMPT, _OUTPUT = Lognormal(150, 0.8), Lognormal(80, 0.8)
_LEVELS = (0.25, 0.5, 0.75, 0.35, 0.9, 0.6)  # of the highest rate
_LEAST_STEPS = 20.0
_READY_SECONDS = 90.0


@dataclass(frozen=True, slots=True)
class Found:
    """All of it, for `result.json`."""

    model: StepModel
    fit: StepFit
    about: dict[str, Any]
    curve: list[dict[str, float]]
    errors: dict[str, float]
    latencies: dict[str, dict[str, float]]

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "model": {field.name: getattr(self.model, field.name) for field in fields(self.model)},
            "operator_fit": {"theta": self.fit.theta, "windows": self.fit.windows},
            "about": self.about,
            "curve": self.curve,
            "errors": self.errors,
            "latencies": self.latencies,
        }


async def compare(*, rate: float, level_seconds: float, out: Path, say: Callable[[str], None]) -> Found:
    """Calibrate, then hold the predictions against another load.

    Args:
        rate: highest, requests/s.
        level_seconds: of each level of the calibration; the other load lasts four of them.
        out: folder of the checkpoint and the log.
        say: called with a line per step.
    """
    calibration = _load([(level_seconds, share * rate) for share in _LEVELS], seed=1)
    test = _load([(level_seconds, 0.4 * rate), (2 * level_seconds, 0.8 * rate), (level_seconds, 0.5 * rate)], seed=2)
    async with _worker(out) as url:
        say("a worker on this machine's cores, nothing emulated; warming up")
        await _observe(url, _load([(5.0, rate / 2)], seed=3))
        say(f"calibration: {len(calibration)} requests in {calibration.seconds:.0f} s")
        seen, _ledger = await _observe(url, calibration)
        say(f"another load: {len(test)} requests in {test.seconds:.0f} s")
        later, ledger = await _observe(url, test)
    model, own = fit([window.work for window in seen], [window.seconds for window in seen])
    known = _operator_fit(seen)
    objectives = Objectives(ttft_seconds=0.25, tpot_seconds=2.0 * _idle(seen), attainment=0.99)
    profile = _profile(model)
    requests = Requests.of(test.due, test.requests.prompt_tokens, test.requests.output_tokens)
    run = World(requests, Setting(profile, startup_seconds=0.0, late_binding=False), Static(1)).run()
    return Found(
        model=model,
        fit=known,
        about={
            "checkpoint": _MODEL,
            "highest_rate": rate,
            "level_seconds": level_seconds,
            "windows": len(seen),
            "test_windows": len(later),
            "ttft_objective_seconds": objectives.ttft_seconds,
            "tpot_objective_seconds": objectives.tpot_seconds,
        },
        curve=_curve(later, model, known),
        errors={
            "model_on_calibration": own,
            "model_on_test": _error(later, [model.seconds(window.work) for window in later]),
            "model_on_test_total": _total(later, [model.seconds(window.work) for window in later]),
            "operator_fit_on_test": _error(later, [_by_operator(known, window) for window in later]),
            "operator_fit_on_test_total": _total(later, [_by_operator(known, window) for window in later]),
        },
        latencies={"live": _live(ledger, objectives), "simulated": _simulated(run, objectives)},
    )


def _load(pieces: Sequence[tuple[float, float]], *, seed: int) -> Workload:
    found = draw(
        steps(pieces), Process.POISSON, prompt=_PROMPT, output=_OUTPUT, seed=seed, description={"pieces": list(pieces)}
    )
    return found.within(CONTEXT)


@asynccontextmanager
async def _worker(out: Path) -> AsyncIterator[str]:
    """A worker process with the checkpoint that is made for it; its URL."""
    folder = out / "checkpoint"
    flags = [f"--{name}={value}" for name, value in _MODEL.items()]
    made = [sys.executable, "-m", "penstock_operator.cli", "model", "make-tiny", str(folder), *flags]
    await asyncio.to_thread(subprocess.run, made, check=True, capture_output=True)
    ports = Reservations()
    port, admin = ports.port(), ports.port()
    ports.close()  # the worker does not share a port that is bound already
    command = [
        sys.executable, "-m", "penstock_worker", "serve", f"--model={folder}", "--served-model-name=tiny",
        f"--host={LOOPBACK}", f"--port={port}", f"--admin-port={admin}", f"--max-num-seqs={SEQUENCES}",
        f"--max-num-batched-tokens={BUDGET}", f"--kv-cache-tokens={KV_TOKENS}", "--threads=1",
        "--no-enable-prefix-caching", "--drain-timeout-seconds=5",
    ]  # fmt: skip
    with (out / "worker.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)
    url = f"http://{LOOPBACK}:{port}"
    try:
        await _until_ready(url, process)
        yield url
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def _until_ready(url: str, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(_READY_SECONDS), aiohttp.ClientSession() as session:
        while True:
            if process.returncode is not None:
                raise RuntimeError("the worker ended: see worker.log")
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(f"{url}/health") as response:
                    if response.status == 200:
                        return
            await asyncio.sleep(0.25)


async def _observe(url: str, load: Workload) -> tuple[list[Window], Ledger]:
    """Send a load; the counters' windows meanwhile, and what became of the requests."""
    ledger = Ledger(load.due, load.requests.prompt_tokens, 0.0)
    endpoint = Endpoint(base=url, model="tiny")
    prompts = Prompts(Shape(as_ids=True, vocabulary=VOCABULARY))
    sender = Sender(load, endpoint=endpoint, prompts=prompts, ledger=ledger, limits=LIMITS)
    windows: list[Window] = []
    task = asyncio.create_task(look(url, windows))
    try:
        await sender.run()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    return [window for window in windows if window.steps >= _LEAST_STEPS], ledger


def _operator_fit(windows: Sequence[Window]) -> StepFit:
    known: StepFit | None = None
    for window in windows:
        known = update(known, window.rates, replicas=1, now=window.at)
    if known is None:
        raise RuntimeError("the worker made no steps")
    return known


def _by_operator(known: StepFit, window: Window) -> float:
    """Seconds of a window's steps as the operator's three coefficients say."""
    a, d, e = known.theta
    return a * window.steps + d * window.sequences + e * window.prefill


def _idle(windows: Sequence[Window]) -> float:
    """Mean step of the least busy tenth of the windows."""
    means = sorted(window.seconds / window.steps for window in windows)
    return means[len(means) // 10]


def _error(windows: Sequence[Window], predicted: Sequence[float]) -> float:
    """Mean relative error of a window's step time."""
    pairs = zip(windows, predicted, strict=True)
    return float(np.mean([abs(said - window.seconds) / window.seconds for window, said in pairs]))


def _total(windows: Sequence[Window], predicted: Sequence[float]) -> float:
    """Predicted over measured time of all steps, minus one."""
    return float(sum(predicted) / sum(window.seconds for window in windows)) - 1.0


def _curve(windows: Sequence[Window], model: StepModel, known: StepFit) -> list[dict[str, float]]:
    """Mean step by the mean batch of a window: measured, and as predicted."""
    found = []
    for low in range(0, SEQUENCES, 4):
        part = [window for window in windows if low <= window.sequences / window.steps < low + 4]
        if not part:
            continue
        count = sum(window.steps for window in part)
        found.append(
            {
                "batch": sum(window.sequences for window in part) / count,
                "steps": count,
                "measured": sum(window.seconds for window in part) / count,
                "model": sum(model.seconds(window.work) for window in part) / count,
                "operator_fit": sum(_by_operator(known, window) for window in part) / count,
            }
        )
    return found


def _profile(model: StepModel) -> Profile:
    return Profile(
        name="measured-here",
        model=model,
        kv_tokens=KV_TOKENS,
        max_num_seqs=SEQUENCES,
        max_num_batched_tokens=BUDGET,
        accelerators=1,
        startup_seconds=0.0,
        source="fitted to the worker's counters",
    )


def _live(ledger: Ledger, objectives: Objectives) -> dict[str, float]:
    answered = ledger.code == ANSWERED
    ttft = answered & (ledger.ttft <= objectives.ttft_seconds)
    tpot = answered & (np.isnan(ledger.tpot) | (ledger.tpot <= objectives.tpot_seconds))
    return _figures(ledger.ttft[answered], ledger.tpot[answered & ~np.isnan(ledger.tpot)], ttft, tpot)


def _simulated(run: Run, objectives: Objectives) -> dict[str, float]:
    requests = run.requests
    ttft, tpot, _deadline = met(run, objectives)
    long = np.isfinite(run.finish) & (requests.output >= 16)
    paces = ((run.finish - run.first) / np.maximum(requests.output - 1, 1))[long]
    return _figures((run.first - requests.arrival)[np.isfinite(run.first)], paces, ttft, tpot)


def _figures(ttft: Any, tpot: Any, first: Any, pace: Any) -> dict[str, float]:
    return {
        "attainment": float((first & pace).mean()),
        "attainment_ttft": float(first.mean()),
        "attainment_tpot": float(pace.mean()),
        "ttft_p50_seconds": float(np.percentile(ttft, 50)),
        "ttft_p99_seconds": float(np.percentile(ttft, 99)),
        "tpot_p50_seconds": float(np.percentile(tpot, 50)),
        "tpot_p99_seconds": float(np.percentile(tpot, 99)),
    }
