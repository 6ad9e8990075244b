"""Requests drawn from ServeGen's aggregates per client, which say how each client behaves but hold no requests.

Source of the aggregates: alibaba/ServeGen (Apache-2.0, arXiv 2505.09999), as three files in one folder:
`*clients_600s*` (`t_s,client,rate_rps,iat_cv,pattern,shape,scale`: rate and gaps of a client in a window of 600 s),
`*lengths_6h*` of the same name otherwise (`t_s,client,prompt_mean,output_mean,prompt_q,output_q`: quantiles of its
lengths in six hours), `servegen_quantile_grid.txt` (which quantiles). Drawn are Gamma or Weibull gaps per client
and window, scaled so that the expected number is right. Every window has its own generator, so the same
seed gives the same requests wherever reading begins; memory is that of the aggregates and of one window's requests.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from penstock_lab.traces.errors import TraceError
from penstock_lab.traces.request import TraceRequest
from penstock_lab.traces.table import Row, rows

COLUMNS: Final = ("t_s", "client", "rate_rps", "pattern", "shape")
_LENGTH_COLUMNS: Final = ("t_s", "client", "prompt_q", "output_q")
_GRID: Final = "servegen_quantile_grid.txt"
_WINDOW: Final = 600.0
_LENGTHS_WINDOW: Final = 21_600
_FEWEST_FOR_SHAPE: Final = 3

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Client:
    """A client in one window."""

    name: str
    rate: float
    pattern: str
    shape: float


@dataclass(frozen=True, slots=True)
class _Lengths:
    """Quantiles of a client's lengths on the common grid."""

    prompt: Floats
    output: Floats


def read(path: Path, *, seed: int, rate_scale: float = 1.0, start: float = 0.0) -> Iterator[TraceRequest]:
    """Draw requests at production's rate times `rate_scale`.

    Args:
        path: the `*clients_600s*` file.
        seed: of everything random.
        rate_scale: of every client's rate.
        start: seconds; windows that end before are not drawn.

    Raises:
        TraceError: a file is missing or a row is not what the format says.
    """
    grid = _grid(path.with_name(_GRID))
    lengths = _lengths(path.with_name(path.name.replace("clients_600s", "lengths_6h")), len(grid))
    for window, clients in sorted(_windows(path).items()):
        if window + _WINDOW <= start:
            continue
        dice = np.random.default_rng((seed, int(window)))
        span = int(window) // _LENGTHS_WINDOW * _LENGTHS_WINDOW
        known = [of for (at, _client), of in lengths.items() if at == span]
        found: list[TraceRequest] = []
        if not known:
            raise TraceError(f"{path}: the lengths file beside it has no client at t_s {span}")
        for client in clients:
            arrivals = window + _arrivals(client, dice, rate_scale)
            of = lengths.get((span, client.name)) or known[dice.integers(len(known))]
            prompts = np.interp(dice.random(len(arrivals)), grid, of.prompt)
            outputs = np.interp(dice.random(len(arrivals)), grid, of.output)
            found += [
                TraceRequest(float(at), max(1, int(prompt)), max(1, int(output)), client=client.name)
                for at, prompt, output in zip(arrivals, prompts, outputs, strict=True)
            ]
        found.sort(key=lambda request: request.arrival_seconds)
        yield from found


def _windows(path: Path) -> dict[float, list[_Client]]:
    """Clients by window; the file may have them in any order."""
    found: dict[float, list[_Client]] = {}
    for row in rows(path, COLUMNS):
        pattern = row.text("pattern")
        shape = max(0.05, row.number("shape")) if pattern else 1.0
        client = _Client(row.text("client"), row.number("rate_rps"), pattern, shape)
        found.setdefault(row.number("t_s"), []).append(client)
    return found


def _arrivals(client: _Client, dice: np.random.Generator, rate_scale: float) -> Floats:
    """Times in the window; gaps of the client's shape, turned round a random start so that no window begins alike."""
    mean = client.rate * rate_scale * _WINDOW
    count = int(mean) + int(dice.random() < mean % 1)
    if count < _FEWEST_FOR_SHAPE or not client.pattern:
        return np.sort(dice.random(count) * _WINDOW)
    gaps = dice.gamma(client.shape, size=count) if client.pattern == "Gamma" else dice.weibull(client.shape, size=count)
    total = max(float(gaps.sum()), 1e-300)
    turned: Floats = (np.cumsum(gaps) / total * _WINDOW + dice.random() * _WINDOW) % _WINDOW
    return turned


def _grid(path: Path) -> Floats:
    try:
        return np.array(path.read_text(encoding="ascii").split(), dtype=np.float64)
    except (OSError, ValueError) as error:
        raise TraceError(f"{path}: the quantile grid beside the aggregates cannot be read: {error}") from error


def _lengths(path: Path, points: int) -> dict[tuple[int, str], _Lengths]:
    found = {}
    for row in rows(path, _LENGTH_COLUMNS):
        prompt, output = (_quantiles(row, column, points) for column in ("prompt_q", "output_q"))
        found[int(row.number("t_s")), row.text("client")] = _Lengths(prompt, output)
    return found


def _quantiles(row: Row, column: str, points: int) -> Floats:
    try:
        values = np.array(row.text(column).split(), dtype=np.float64)
    except ValueError:
        values = np.empty(0)
    if len(values) != points:
        raise TraceError(f"{row.path}:{row.line}: {column} must be {points} numbers, as many as the quantile grid has")
    return values
