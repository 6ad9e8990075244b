"""What `penstock doctor` makes of Prometheus' series of workers and gateways, their ages and labels. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from penstock_contract import names
from penstock_operator.core.checkup import Level, Result, ok

Key = tuple[str, str]
_GOOD_INTERVAL_SECONDS = 15.0
_LONGEST_INTERVAL_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Series:
    """What the metrics source has of one service, or of the gateways.

    Attributes:
        ready: ready pods, which should all be scraped.
        missing: metric names without any series.
        reporting: pods with a fresh scrape.
        age_seconds: of the newest sample; None without one.
    """

    ready: int
    missing: tuple[str, ...]
    reporting: int
    age_seconds: float | None


def interval(seconds: float | None) -> Result:
    """The scrape interval of the workers."""
    change = "set scrape.intervalSeconds in the chart (5 is good), or the interval of your own job"
    if seconds is None:
        return Result(Level.WARN, "scrape", "no worker was scraped in the last minute", "see the series below")
    if seconds > _LONGEST_INTERVAL_SECONDS:
        return Result(Level.FAIL, "scrape", f"workers are scraped every {seconds:.0f} s: too slow to scale by", change)
    if seconds > _GOOD_INTERVAL_SECONDS:
        text = f"workers are scraped every {seconds:.0f} s: load is seen {4 * seconds:.0f} s late"
        return Result(Level.WARN, "scrape", text, change)
    return ok("scrape", f"workers are scraped every {seconds:.1f} s")


def series(key: Key, found: Series, *, window_seconds: float, engine: str = "Penstock") -> Result:
    """What the metrics source has of one service. Other engines may have no series before their first request."""
    name, check = "/".join(key), "series"
    if not found.ready:
        return ok(check, f"{name}: no ready replica, so nothing is to be scraped")
    selector = f"{names.SERVICE}={key[1]}"
    if found.missing:
        fix = f"see Prometheus' targets for pods with {selector}: the job must set namespace, inferenceservice and pod"
        text = f"{name}: no series of {', '.join(found.missing)}"
        if engine == "Penstock":
            return Result(Level.FAIL, check, text, fix)
        return Result(
            Level.WARN, check, text, f"send it a request, {engine} may have none before its first; then {fix}"
        )
    if found.age_seconds is None or found.age_seconds > window_seconds:
        age = "unknown" if found.age_seconds is None else f"{found.age_seconds:.0f} s"
        text = f"{name}: the newest sample is too old ({age})"
        return Result(Level.FAIL, check, text, f"see Prometheus' targets for pods with {selector}")
    if found.reporting < found.ready:
        text = f"{name}: {found.reporting} of {found.ready} ready pods are scraped, so nothing is removed"
        return Result(Level.WARN, check, text, f"see Prometheus' targets for pods with {selector}")
    return ok(check, f"{name}: all there, {found.age_seconds:.1f} s old, {found.reporting} of {found.ready} pods")


def unmodelled(key: Key, engine: str) -> Result:
    """An autoscaled service of an engine whose metrics tell nothing of single steps."""
    text = f"{'/'.join(key)}: {engine} tells nothing of its steps, so what a replica carries is seen in queues only"
    return Result(Level.WARN, "series", text, "set spec.scaling.targets.tokensPerSecond, from a measurement")


def unanswered(reasons: Sequence[str], *, theirs: bool) -> Result:
    """Queries without an answer: what they ask about is not known, and not missing.

    Args:
        reasons: of each, at least one.
        theirs: whether the operator itself gets answers.
    """
    text = f"{len(reasons)} queries were not answered, so what they ask about is not known: {reasons[0]}"
    if theirs:
        return Result(Level.WARN, "prometheus", f"{text}; the operator gets answers", "run it again")
    return Result(Level.FAIL, "prometheus", text, "run it again; see the load of Prometheus and its log")


def gateways(found: Series, *, unjudged: Sequence[str], window_seconds: float) -> Result:
    """What the metrics source has of the gateways, which says how the objectives are met.

    Args:
        found: `missing` names metrics without any series.
        unjudged: services with objectives that no gateway counts.
        window_seconds: from which age on a sample is too old.
    """
    check, fix = "series", f"see Prometheus' targets for pods with {names.LABEL_NAME}={names.GATEWAY_NAME}, port admin"
    without = "so objectives are judged by what workers see"
    if found.missing:
        return Result(Level.WARN, check, f"gateways: no series of {', '.join(found.missing)}, {without}", fix)
    if found.age_seconds is None or found.age_seconds > window_seconds:
        age = "unknown" if found.age_seconds is None else f"{found.age_seconds:.0f} s"
        return Result(Level.WARN, check, f"gateways: the newest sample is too old ({age}), {without}", fix)
    if found.reporting < found.ready:
        text = f"gateways: {found.reporting} of {found.ready} ready pods are scraped, so some requests are not counted"
        return Result(Level.WARN, check, text, fix)
    if unjudged:
        text = f"gateways: no series of penstock_gateway_objective_total for {', '.join(unjudged[:3])}"
        return Result(Level.WARN, check, text, "let the gateway watch their namespace: watchNamespaces")
    return ok(check, f"gateways: all there, {found.age_seconds:.1f} s old, {found.reporting} of {found.ready} pods")


def labels(*, renamed: int, unclaimed: Sequence[str], doubled: Sequence[str]) -> list[Result]:
    """Labels of the scraped series.

    Args:
        renamed: gateway series whose own service label was renamed by a target's.
        unclaimed: services that workers speak of although no target is labelled so.
        doubled: pods that are scraped twice.
    """
    found = []
    if renamed:
        fix = "the job of the gateways must not set namespace or inferenceservice on its targets"
        found.append(Result(Level.FAIL, "labels", f"{renamed} gateway series lost their service's label", fix))
    found += [
        Result(
            Level.FAIL,
            "labels",
            f"workers say that they are {name}, their targets do not",
            "set honor_labels: false in the workers' job, and its labels by relabelling",
        )
        for name in unclaimed
    ]
    if doubled:
        text = f"{len(doubled)} pods are scraped twice, so their load counts twice: {', '.join(doubled[:3])}"
        found.append(Result(Level.FAIL, "labels", text, "keep one of PodMonitor and scrape configuration"))
    return found or [ok("labels", "namespace, inferenceservice and pod come from the targets, each pod once")]
