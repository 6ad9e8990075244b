"""The step model of one replica, identified while it serves, from the workers' cumulative counters.

The rates of one window give one linear equation: mean seconds of a step = a + d * decoded sequences + e * prefill
tokens, each per step. (The contract's context term is inside `d`: at steady load ΣS is proportional to ΣB and cannot be
told from it.) The three are the non-negative least-squares solution of the equations so far, older ones counting less,
and of a weak prior that does not fade: hours of the same load leave what they do not show where the prior has it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

_FORGET = 0.99
_NOISE = 0.03  # of a window's mean step time
_RATIO_SECONDS = 120.0
_LEAST_STEPS = 0.2  # per second and replica
_LEAST_TOKENS = 0.01
_SHORTEST_STEP, _LONGEST_STEP = 1e-6, 100.0  # seconds
_FEW_SEQUENCES = 2.0
_PRIOR = (0.7, 0.2, 0.1)  # shares of the first mean step time
_LEAST_IN_STEP = 0.01  # sequences or tokens in a mean step that a prior is made of
_HALVINGS = 20  # of a doubling: to a millionth
_MOST_TOKENS = 1e9
_MOST_DOUBT = 0.5

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
        covariance: of theta, without regard to its bounds.
        prior: theta before anything was seen; its standard deviations are as large as itself.
        information: decayed sum of the equations' outer products over their variances.
        moment: decayed sum of the equations times their mean step times, over their variances.
        windows: equations seen.
        prefill_per_token: prefill tokens for each generated one, over the last minutes.
        mean_step_seconds: of the last window.
        mean_sequences: decoded per step, in the last window.
        tokens_per_second: generated per replica, in the last window.
        at: Unix seconds of the last window.
    """

    theta: Vector
    covariance: Matrix
    prior: Vector
    information: Matrix
    moment: Vector
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
    weight = 1.0 / (_NOISE * mean) ** 2
    information = _matrix(
        tuple(_FORGET * fit.information[i][j] + weight * row[i] * row[j] for j in range(3)) for i in range(3)
    )
    moment = _vector(_FORGET * fit.moment[i] + weight * row[i] * mean for i in range(3))
    solved = _solved(information, moment, fit.prior)
    if solved is None:
        return fit
    theta, covariance = solved
    return replace(
        fit,
        theta=theta,
        covariance=covariance,
        information=information,
        moment=moment,
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
        At least the load of now while its steps are short enough: what was seen needs no model. None when the model
        says that even an empty step takes longer, and steps of next to no sequences give no better hint.
    """
    now = max(fit.tokens_per_second, _LEAST_TOKENS)
    if fit.mean_step_seconds <= step_seconds:
        bound = _most(fit, step_seconds, begin=now, doubtful=True)
    elif fit.theta[0] < step_seconds:
        bound = _most(fit, step_seconds, begin=0.0, doubtful=False)
    elif fit.mean_sequences > _FEW_SEQUENCES:
        bound = now * step_seconds / fit.mean_step_seconds
    else:
        return None
    if max_sequences is None or bound * step_seconds <= max_sequences:
        return bound
    # All slots are taken before the step is that long: then it takes what so many sequences take.
    a, d, e = fit.theta
    return max_sequences / (a + max_sequences * (d + fit.prefill_per_token * e))


def slow(fit: StepFit, *, prefill_per_token: float) -> Vector | None:
    """Theta as it is when what is not known well is slow, within reason; None when not even its sum is known.

    The work of a generated token and its share of the prompt is known soon, its parts are not while the mix is always
    the same: then a prompt token counts as one standard deviation slower (half as slow again at most), and a decoded
    one as faster.

    Args:
        fit: of the replica.
        prefill_per_token: prompt tokens to compute for each generated one.
    """
    row = (0.0, 1.0, prefill_per_token)
    work, doubt = _dot(row, fit.theta), math.sqrt(max(0.0, _dot(row, _times(fit.covariance, row))))
    if work <= 0 or doubt > _MOST_DOUBT * work:
        return None
    work += doubt
    doubt = math.sqrt(max(0.0, fit.covariance[2][2]))
    per_token = fit.theta[2] + min(doubt, _MOST_DOUBT * fit.theta[2])
    if prefill_per_token > 0:
        per_token = min(per_token, work / prefill_per_token)
    return fit.theta[0], max(0.0, work - prefill_per_token * per_token), per_token


def _most(fit: StepFit, step_seconds: float, *, begin: float, doubtful: bool) -> float:
    """Most tokens/s from `begin` on at which a step takes no longer; what is doubtful counts as slow."""
    low, high = begin, max(2 * begin, _LEAST_TOKENS)
    while high < _MOST_TOKENS and _step(fit, high, step_seconds, doubtful=doubtful) <= step_seconds:
        low, high = high, high * 2
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _step(fit, middle, step_seconds, doubtful=doubtful) <= step_seconds:
            low = middle
        else:
            high = middle
    return max(low, _LEAST_TOKENS)


def _step(fit: StepFit, tokens_per_second: float, seconds: float, *, doubtful: bool) -> float:
    """Seconds of a step at that load when it takes `seconds`; one standard deviation more if `doubtful`."""
    decoded = tokens_per_second * seconds
    row = (1.0, decoded, decoded * fit.prefill_per_token)
    mean = _dot(row, fit.theta)
    return mean + math.sqrt(max(0.0, _dot(row, _times(fit.covariance, row)))) if doubtful else mean


def _begin(row: Vector, mean: float, ratio: float, now: float) -> StepFit:
    prior = _vector(share * mean / max(value, _LEAST_IN_STEP) for share, value in zip(_PRIOR, row, strict=True))
    nothing = (0.0, 0.0, 0.0)
    return StepFit(
        prior,
        _matrix(tuple(prior[i] ** 2 if i == j else 0.0 for j in range(3)) for i in range(3)),
        prior,
        (nothing, nothing, nothing),
        nothing,
        windows=0,
        prefill_per_token=ratio,
        mean_step_seconds=mean,
        mean_sequences=row[1],
        tokens_per_second=0.0,
        at=now,
    )


def _solved(information: Matrix, moment: Vector, prior: Vector) -> tuple[Vector, Matrix] | None:
    """Non-negative least squares with a prior, and the covariance of the solution without the bounds.

    None where equations are so far apart in size that nothing can be told any more.

    In units of the prior, in which the matrix is well conditioned. Three unknowns have eight sets of zeros: of those
    whose solution is not negative the one with the smallest error is the solution.
    """
    h = _matrix(
        tuple(information[i][j] * prior[i] * prior[j] + (1.0 if i == j else 0.0) for j in range(3)) for i in range(3)
    )
    g = _vector(moment[i] * prior[i] + 1.0 for i in range(3))
    inverse = _inverse(h)
    if inverse is None:
        return None
    best = _vector(_dot(row, g) for row in inverse)
    if min(best) < 0:
        found = [_restricted(h, g, kept) for size in (1, 2) for kept in itertools.combinations(range(3), size)]
        allowed = [one for one in found if min(one) >= 0]
        best = min(allowed, key=lambda one: _dot(one, _times(h, one)) - 2 * _dot(one, g), default=(0.0, 0.0, 0.0))
    covariance = _matrix(tuple(inverse[i][j] * prior[i] * prior[j] for j in range(3)) for i in range(3))
    return _vector(value * unit for value, unit in zip(best, prior, strict=True)), covariance


def _restricted(h: Matrix, g: Vector, kept: tuple[int, ...]) -> Vector:
    """The solution in which only some are not zero."""
    if len(kept) == 1:
        values = [g[kept[0]] / h[kept[0]][kept[0]]]
    else:
        i, j = kept
        determinant = h[i][i] * h[j][j] - h[i][j] * h[i][j]
        if determinant <= 0.0:  # rounding has left nothing of it: no solution, as if one were negative
            return (-1.0, -1.0, -1.0)
        values = [
            (g[i] * h[j][j] - g[j] * h[i][j]) / determinant,
            (g[j] * h[i][i] - g[i] * h[i][j]) / determinant,
        ]
    return _vector(values[kept.index(n)] if n in kept else 0.0 for n in range(3))


def _inverse(m: Matrix) -> Matrix | None:
    """Of a symmetric positive definite matrix, by its adjugate; None when rounding leaves nothing of it."""
    (a, b, c), (_, d, e), (_, _, f) = m
    first, second, third = d * f - e * e, c * e - b * f, b * e - c * d
    determinant = a * first + b * second + c * third
    adjugate = (
        (first, second, third),
        (second, a * f - c * c, b * c - a * e),
        (third, b * c - a * e, a * d - b * b),
    )
    if not 0.0 < determinant < math.inf or min(adjugate[i][i] for i in range(3)) <= 0.0:
        return None
    return _matrix(tuple(value / determinant for value in row) for row in adjugate)


def _vector(values: Iterable[float]) -> Vector:
    one, two, three = values
    return (one, two, three)


def _matrix(rows: Iterable[Iterable[float]]) -> Matrix:
    one, two, three = rows
    return (_vector(one), _vector(two), _vector(three))


def _times(matrix: Matrix, vector: Vector) -> Vector:
    return (_dot(matrix[0], vector), _dot(matrix[1], vector), _dot(matrix[2], vector))


def _dot(one: Vector, other: Vector) -> float:
    return one[0] * other[0] + one[1] * other[1] + one[2] * other[2]
