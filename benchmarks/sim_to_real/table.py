"""A device whose steps are read from a table, with noise: nothing that the affine step model can say exactly.

The table has the time of a step by (decode batch, mean context) without prefill, and by prompt tokens without decode.
Between its points values are interpolated, on logarithmic axes of batch and context. A step with both computes the
prompt together with the batch, so it lasts as long as a prefill of `prompt + batch` tokens, and the attention of
the batch on top. That is flat where memory is the bound and rises where arithmetic is: an affine model
has to be wrong somewhere.
"""

from __future__ import annotations

import csv
import gzip
import math
import random
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penstock_contract.profile import Profile
from penstock_contract.step import StepModel, StepWork

COLUMNS = ("hw", "dtype", "model", "tp", "decode_batch", "ctx_mean", "prefill_tokens", "prompt_len", "step_ms")
CHOSEN = ("h100_sxm", "bfloat16", "Qwen3-32B", "2")
DILATION = 10.0
NOISE = 0.05
_LONGEST_CONTEXT = 2000


class TableError(ValueError):
    """A table cannot be read; the message names the file and what is wrong."""


@dataclass(frozen=True, slots=True)
class Table:
    """Seconds of a step.

    Attributes:
        batches: decode batches (n,), ascending.
        contexts: mean contexts (m,), ascending.
        decode: (n, m) seconds without prefill.
        prompts: prompt tokens (k,), ascending, the first one 0.
        prefill: (k,) seconds without decode.
    """

    batches: NDArray[np.float64]
    contexts: NDArray[np.float64]
    decode: NDArray[np.float64]
    prompts: NDArray[np.float64]
    prefill: NDArray[np.float64]

    def seconds(self, work: StepWork) -> float:
        """One step."""
        batch, tokens = work.decode_sequences, work.prefill_tokens
        if tokens <= 0:
            return self._decode(batch, work.kv_tokens)
        base = float(self.decode[0, 0])
        beside = max(0.0, self._decode(batch, work.kv_tokens) - self._decode(batch, batch * self.contexts[0]))
        return max(base, float(np.interp(tokens + batch, self.prompts, self.prefill))) + beside

    def _decode(self, batch: float, context_sum: float) -> float:
        if batch <= 0:
            return float(self.decode[0, 0])
        context = min(max(context_sum / batch, self.contexts[0]), self.contexts[-1])
        along = [float(np.interp(math.log(context), np.log(self.contexts), row)) for row in self.decode]
        return float(np.interp(math.log(max(1.0, batch)), np.log(self.batches), along))


def read(path: Path, *, dilation: float = DILATION) -> Table:
    """The chosen configuration of a table, that many times slower.

    Args:
        path: CSV, plain or gzip, with COLUMNS.
        dilation: a step of so many real ones: two cores cannot step a dozen workers every 13 ms.

    Raises:
        TableError: it is not such a file, or does not have the configuration.
    """
    try:
        with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
            rows = [row for row in csv.DictReader(file) if tuple(row.get(name) for name in COLUMNS[:4]) == CHOSEN]
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise TableError(f"{path}: {error}") from error
    if not rows:
        raise TableError(f"{path}: no rows of {', '.join(CHOSEN)} in columns {', '.join(COLUMNS[:4])}")
    values = [{name: float(row[name]) for name in COLUMNS[4:]} for row in rows]
    return _table(values, dilation / 1000)


def _table(rows: Iterable[dict[str, float]], scale: float) -> Table:
    plain = {(row["decode_batch"], row["ctx_mean"]): row["step_ms"] for row in rows if not row["prefill_tokens"]}
    alone = {
        row["prefill_tokens"]: row["step_ms"]
        for row in rows
        if row["prefill_tokens"] and not row["decode_batch"] and row["prompt_len"] == row["prefill_tokens"]
    }
    contexts = sorted({context for _batch, context in plain if context <= _LONGEST_CONTEXT})
    batches = sorted({batch for batch, _context in plain if all((batch, context) in plain for context in contexts)})
    decode = np.array([[plain[batch, context] for context in contexts] for batch in batches]) * scale
    prompts = np.array([0.0, *sorted(alone)])
    prefill = np.array([decode[0, 0] / scale, *(alone[tokens] for tokens in sorted(alone))]) * scale
    return Table(np.array(batches), np.array(contexts), decode, prompts, prefill)


class Noisy:
    """A table as a worker's device: each step is off by a factor of its own, of mean 1."""

    def __init__(self, table: Table, *, seed: int, noise: float = NOISE) -> None:
        self._table = table
        self._dice = random.Random(seed)
        self._sigma = noise

    def seconds(self, work: StepWork) -> float:
        """One step."""
        factor = math.exp(self._dice.gauss(-self._sigma * self._sigma / 2, self._sigma))
        return self._table.seconds(work) * factor


def fitted(table: Table, limits: Profile, *, seed: int = 0, count: int = 4000) -> tuple[StepModel, float]:
    """The affine model that fits the table best where a replica works, and its mean relative error.

    Args:
        table: of the device.
        limits: sequences of the replica.
        seed: of the works drawn.
        count: of works drawn; a third of them has prefill.
    """
    dice = np.random.default_rng(seed)
    works = []
    for number in range(count):
        batch = int(dice.integers(0 if number % 3 == 0 else 1, limits.max_num_seqs + 1))
        prompt = int(min(1000, dice.lognormal(4.9, 0.9))) + 1 if number % 3 == 0 else 0
        works.append(StepWork(1.0, batch, batch * float(dice.uniform(100, 800)), prompt, float(prompt) * prompt))
    times = np.array([table.seconds(work) for work in works])
    return fit(works, times)


def fit(works: Iterable[StepWork], seconds: Any) -> tuple[StepModel, float]:
    """Non-negative least squares of relative errors, and their mean.

    Args:
        works: n pieces of work, of one step or of many.
        seconds: (n,) that they took.
    """
    columns = np.array(
        [[w.steps, w.decode_sequences, w.kv_tokens, w.prefill_tokens, w.prefill_token_length] for w in works]
    )
    times = np.asarray(seconds, dtype=np.float64)
    scale = np.maximum(columns.max(axis=0), 1e-12)
    found = _non_negative(columns / scale / times[:, None], np.ones(len(times))) / scale
    model = StepModel(*(float(value) for value in found))
    return model, float(np.mean(np.abs(columns @ found - times) / times))


def _non_negative(matrix: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """Least squares with every coefficient at least 0, by coordinate descent: five unknowns."""
    gram, moments = matrix.T @ matrix, matrix.T @ target
    found = np.zeros(len(gram))
    for _round in range(20_000):
        before = found.copy()
        for k in range(len(gram)):
            if gram[k, k] > 0:
                found[k] = max(0.0, found[k] + (moments[k] - gram[k] @ found) / gram[k, k])
        if np.max(np.abs(found - before)) < 1e-12:
            break
    return found
