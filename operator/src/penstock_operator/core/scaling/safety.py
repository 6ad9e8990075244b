"""What may be done with a recommendation: freshness, stabilisation, bounds, step limits, budget."""

from __future__ import annotations

from penstock_operator.core.scaling.sizing import affordable
from penstock_operator.core.scaling.types import LONGEST_GAP_SECONDS, LimitedBy, Observation, Policy, Reason

Recommendations = tuple[tuple[float, int], ...]
UNKNOWN_SECONDS = 300.0  # that a count is kept of which is not known what it was chosen for
_PAUSE_WINDOWS, _PAUSE_STARTUPS, _LONGEST_PAUSE_SECONDS = 1.5, 10.0, 900.0
HASTY_SECONDS = 60.0  # whoever sets a shorter window wants replicas gone, and waits for no pause


def why_not_down(seen: Observation, *, idle: bool = False) -> tuple[Reason, str] | None:
    """Why fewer replicas are not allowed now, or None when they are.

    Fewer replicas need every signal fresh and a scrape of every ready pod: a pod that does not report makes the sums
    too small. Without a ready pod no load can arrive, so its absence proves nothing. A rollout in progress keeps the
    count too. When the gateways know for long that nobody asks (`idle`), a service without a ready pod may go.
    """
    if idle and seen.ready == 0:
        return None
    stale = [name for name, signal in seen.signals().items() if not signal.fresh]
    if stale:
        return Reason.SIGNALS_UNKNOWN, f"{', '.join(stale)} not fresh"
    if seen.reporting.value < seen.ready:
        return Reason.SIGNALS_UNKNOWN, f"{seen.reporting.value:.0f} of {seen.ready} ready pods report"
    if seen.ready == 0:
        return Reason.STARTING, "no pod is ready yet"
    if seen.rolling_out:
        return Reason.ROLLOUT, "a rollout is in progress"
    return None


def stabilise(
    history: Recommendations,
    *,
    recommended: int,
    current: int,
    now: float,
    window_seconds: float,
    unknown_seconds: float = 0.0,
) -> tuple[int, Recommendations]:
    """The largest recommendation inside the window, never above `current` unless `recommended` is, and the history.

    An empty history counts as the current count, so that a restart cannot shrink a service; so does one with a gap
    before now (the service had a fixed count, or the process was stopped), which says nothing about the window. The
    count of now counts for `unknown_seconds`, if that is longer: when nothing is known of how far the load swings.
    """
    if history and now - history[-1][0] > max(window_seconds, LONGEST_GAP_SECONDS):
        history = ()
    entry = recommended if history else max(recommended, current)
    kept = tuple(item for item in history if item[0] > now - window_seconds)
    if unknown_seconds > window_seconds:
        kept = _push(kept, (now + unknown_seconds - window_seconds, current))
    kept = _push(kept, (now, entry))
    if recommended >= current:
        return recommended, kept
    return min(current, max(n for _, n in kept)), kept


def _push(history: Recommendations, entry: tuple[float, int]) -> Recommendations:
    """Append, dropping entries that are neither larger nor later: they can never be the maximum again."""
    return (*(item for item in history if item[1] > entry[1] or item[0] > entry[0]), entry)


def pause_seconds(policy: Policy, *, horizon_seconds: float) -> float:
    """How long a load that has stopped altogether may only pause; then the stabilisation window begins.

    What stops all at once is more often a fault on the way here than the end of a day, and is back all at once. Ten
    start-ups of idle replicas are worth one start-up without them, at the 99 that a reserve of 2.33 standard deviations
    pays for a lacking replica-second (`rental.price`), if one stop in ten ends within that time.
    """
    window = policy.stabilization_seconds
    if window < HASTY_SECONDS:
        return 0.0
    return max(_PAUSE_WINDOWS * window, min(_PAUSE_STARTUPS * horizon_seconds, _LONGEST_PAUSE_SECONDS))


def within_bounds(policy: Policy, replicas: int) -> tuple[int, LimitedBy]:
    """`replicas` inside minimum, maximum and budget, and what keeps it from growing."""
    ceiling, limit = policy.max_replicas, LimitedBy.MAX
    paid = affordable(policy)
    if paid is not None and paid < ceiling:
        ceiling, limit = paid, LimitedBy.BUDGET
    if replicas > ceiling:
        return ceiling, limit
    return max(replicas, min(policy.min_replicas, ceiling)), LimitedBy.NONE


def within_step(policy: Policy, *, current: int, replicas: int) -> int:
    """`replicas` no further from `current` than one decision may go."""
    if policy.max_up_step is not None:
        replicas = min(replicas, current + policy.max_up_step)
    if policy.max_down_step is not None:
        replicas = max(replicas, current - policy.max_down_step)
    return replicas
