"""Rounds side by side: what is not kept is run, a round to a process, and kept as it ends."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any, Final

from benchmarks.policy import fingerprint
from benchmarks.policy.cases import named
from benchmarks.policy.compare import Round, runs
from benchmarks.policy.store import RESULTS, Key, Store

RUNS: Final = RESULTS / "runs.jsonl"


def named_round(case: str, startup: float, seed: int) -> Round:
    """A round by the names of what it is made of, which another process understands too."""
    return Round(named([case])[0], startup, seed)


def run(wanted: Sequence[tuple[str, float, int]], names: Sequence[str], store: Store, processes: int | None) -> None:
    """All that is not kept; a round is a task."""
    due = [one for one in wanted if any(store.find(named_round(*one).key(name)) is None for name in names)]
    begun = time.monotonic()

    def note(number: int, one: tuple[str, float, int]) -> None:
        case, startup, seed = one
        said = f"{number} of {len(due)}: {case}, start-up {startup:g} s, seed {seed}"
        print(f"{time.monotonic() - begun:6.0f} s  {said}", flush=True)

    if processes == 1:
        for number, one in enumerate(due, 1):
            for key, figures in runs(named_round(*one), names, store):
                store.keep(key, figures)
            note(number, one)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context, initializer=_warm, initargs=(tuple(names),)) as pool:
        tasks = {pool.submit(_task, one, names): one for one in due}
        for number, task in enumerate(as_completed(tasks), 1):
            for key, figures in task.result():
                store.keep(key, figures)
            note(number, tasks[task])


def _warm(names: Sequence[str]) -> None:
    """Take the digests while the code is what was just loaded: somebody may go on editing it."""
    fingerprint.simulator()
    for name in names:
        fingerprint.policy(name)


def _task(one: tuple[str, float, int], names: Sequence[str]) -> list[tuple[Key, dict[str, Any]]]:
    return list(runs(named_round(*one), names, Store(RUNS)))
