"""The step model of one replica, identified while it serves, from the workers' cumulative counters.

The rates of one window give one linear equation: mean seconds of a step = a + d * decoded sequences + e * prefill
tokens, each per step. (The contract's context term is inside `d`: at steady load ΣS is proportional to ΣB and cannot be
told from it.) Recursive least squares with forgetting keeps the three; the covariance stays within what it was at the
start, so that hours of the same load neither wind it up nor freeze it, and no coefficient falls below zero.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

_FORGET = 0.99
_NOISE = 0.03  # of a window's mean step time
_RATIO_SECONDS = 120.0
_LEAST_STEPS = 0.2  # per second and replica
_LEAST_TOKENS = 0.01
_SHORTEST_STEP, _LONGEST_STEP = 1e-6, 100.0  # seconds
_FEW_SEQUENCES = 2.0
_PRIOR = (0.7, 0.2, 0.1)  # shares of the first mean step time
_HALVINGS = 30

Vector = tuple[float, float, float]
Matrix = tuple[Vector, Vector, Vector]


@dataclass(frozen=True, slots=True)
class StepRates:
    """Rates of all replicas of a service together, per second.

    Attributes:
        steps: engine iterations.
        seconds: spent in them.
        sequences: decoded sequences, summed over steps.
        prefill_tokens: prompt tokens computed.
        generated_tokens: output tokens.
    """

    steps: float
    seconds: float
    sequences: float
    prefill_tokens: float
    generated_tokens: float


@dataclass(frozen=True, slots=True)
class StepFit:
    """What is known of a replica.

    Attributes:
        theta: seconds per step, per decoded sequence, per prefill token.
        covariance: of theta.
        start: covariance at the start, an upper bound of its diagonal.
        windows: equations seen.
        prefill_per_token: prefill tokens for each generated one, over the last minutes.
        mean_step_seconds: of the last window.
        mean_sequences: decoded per step, in the last window.
        tokens_per_second: generated per replica, in the last window.
        at: Unix seconds of the last window.
    """

    theta: Vector
    covariance: Matrix
    start: Vector
    windows: int
    prefill_per_token: float
    mean_step_seconds: float
    mean_sequences: float
    tokens_per_second: float
    at: float


def update(fit: StepFit | None, seen: StepRates, *, replicas: int, now: float) -> StepFit | None:
    """Fold one window in; windows with next to no steps say nothing.

    Args:
        fit: before; None at first.
        seen: rates of the window.
        replicas: that report.
        now: Unix seconds.
    """
    if seen.steps < _LEAST_STEPS * max(1, replicas) or seen.generated_tokens < _LEAST_TOKENS:
        return fit
    row = (1.0, seen.sequences / seen.steps, seen.prefill_tokens / seen.steps)
    mean = seen.seconds / seen.steps
    if not _SHORTEST_STEP <= mean <= _LONGEST_STEP:
        return fit
    ratio = seen.prefill_tokens / seen.generated_tokens
    if fit is None:
        fit = _begin(row, mean, ratio, now)
    weight = 1.0 - math.exp(-max(0.0, now - fit.at) / _RATIO_SECONDS)
    ratio = fit.prefill_per_token + weight * (ratio - fit.prefill_per_token)
    gain_base = _times(fit.covariance, row)
    noise = (_NOISE * mean) ** 2
    spread = noise * _FORGET + _dot(row, gain_base)
    error = mean - _dot(row, fit.theta)
    theta = tuple(max(0.0, value + gain / spread * error) for value, gain in zip(fit.theta, gain_base, strict=True))
    covariance = _bounded(_shrunk(fit.covariance, gain_base, spread), fit.start)
    return replace(
        fit,
        theta=(theta[0], theta[1], theta[2]),
        covariance=covariance,
        windows=fit.windows + 1,
        prefill_per_token=ratio,
        mean_step_seconds=mean,
        mean_sequences=row[1],
        tokens_per_second=seen.generated_tokens / max(1, replicas),
        at=now,
    )


def sustainable(fit: StepFit, *, step_seconds: float, max_sequences: float | None) -> float | None:
    """Generated tokens/s of one replica at which a step takes at most `step_seconds`, for the present mix.

    At g tokens/s a step of s seconds decodes g*s sequences and computes g*s*r prefill tokens, so at the bound
    a + g*s*(d + r*e) = s. What is not known well counts as one standard deviation slower.

    Args:
        fit: of the replica.
        step_seconds: bound of the mean step, which is the mean time per output token.
        max_sequences: most that are decoded at once; None = unknown.

    Returns:
        None when even an empty step takes longer. While the model says so and steps of many sequences are too long,
        it is the load of now in proportion: fewer sequences will tell what a step takes without them.
    """
    if _slow(fit, 0.0, step_seconds) > step_seconds:
        too_long = fit.mean_step_seconds > step_seconds and fit.mean_sequences > _FEW_SEQUENCES
        return fit.tokens_per_second * step_seconds / fit.mean_step_seconds if too_long else None
    low, high = 0.0, 1.0
    while high < 1e9 and _slow(fit, high, step_seconds) <= step_seconds:
        low, high = high, high * 2
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _slow(fit, middle, step_seconds) <= step_seconds:
            low = middle
        else:
            high = middle
    if max_sequences is None or low * step_seconds <= max_sequences:
        return low
    # All slots are taken before the step is that long: then it takes what so many sequences take.
    a, d, e = fit.theta
    return max_sequences / (a + max_sequences * (d + fit.prefill_per_token * e))


def _slow(fit: StepFit, tokens_per_second: float, seconds: float) -> float:
    decoded = tokens_per_second * seconds
    row = (1.0, decoded, decoded * fit.prefill_per_token)
    return _dot(row, fit.theta) + math.sqrt(max(0.0, _dot(row, _times(fit.covariance, row))))


def _begin(row: Vector, mean: float, ratio: float, now: float) -> StepFit:
    theta = (
        _PRIOR[0] * mean,
        _PRIOR[1] * mean / max(row[1], 1e-9),
        _PRIOR[2] * mean / max(row[2], 1e-9),
    )
    start = (theta[0] ** 2, theta[1] ** 2, theta[2] ** 2)
    covariance = ((start[0], 0.0, 0.0), (0.0, start[1], 0.0), (0.0, 0.0, start[2]))
    return StepFit(
        theta,
        covariance,
        start,
        windows=0,
        prefill_per_token=ratio,
        mean_step_seconds=mean,
        mean_sequences=row[1],
        tokens_per_second=0.0,
        at=now,
    )


def _shrunk(matrix: Matrix, gain: Vector, spread: float) -> Matrix:
    rows = [tuple((matrix[i][j] - gain[i] * gain[j] / spread) / _FORGET for j in range(3)) for i in range(3)]
    return (_vector(rows[0]), _vector(rows[1]), _vector(rows[2]))


def _bounded(matrix: Matrix, start: Vector) -> Matrix:
    """Scale rows and columns whose variance grew beyond the start's, which keeps the matrix positive."""
    scale = [math.sqrt(min(1.0, start[i] / matrix[i][i])) if matrix[i][i] > 0 else 1.0 for i in range(3)]
    rows = [tuple(matrix[i][j] * scale[i] * scale[j] for j in range(3)) for i in range(3)]
    return (_vector(rows[0]), _vector(rows[1]), _vector(rows[2]))


def _vector(values: tuple[float, ...]) -> Vector:
    return (values[0], values[1], values[2])


def _times(matrix: Matrix, vector: Vector) -> Vector:
    return (_dot(matrix[0], vector), _dot(matrix[1], vector), _dot(matrix[2], vector))


def _dot(one: Vector, other: Vector) -> float:
    return one[0] * other[0] + one[1] * other[1] + one[2] * other[2]
