"""The demo's result as a report: which plots, tables and sentences tell a newcomer what happened."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from penstock_lab.demo.record import Sample, measured
from penstock_lab.demo.scenario import EXAMPLE, PROFILE, offered_tokens_per_second
from penstock_lab.demo.state import Change
from penstock_lab.demo.summary import Attained, Result
from penstock_lab.load.outcome import percentile
from penstock_lab.report import Fact, Mark, Plot, Report, Series, Span, Table, Threshold, Verdict
from penstock_lab.report.model import Tone

BANNER = (
    f"EMULATED device ({PROFILE.name}): the engine, the scheduler and the operator are real, the speed of the "
    "accelerator is made up. Read the shape, not the rates."
)
ROLLING_SECONDS = 10.0
_STEP_SECONDS = 1.0


def tell(result: Result) -> Report:
    """The report of a run."""
    scenario = result.scenario
    spans = [Span(phase.name, start, end) for phase, start, end in scenario.spans()]
    end = result.record.samples[-1].at if result.record.samples else 0.0
    if end > scenario.seconds:
        spans.append(Span("no load", scenario.seconds, end))
    return Report(
        title="Penstock demo: replicas follow the load",
        lead=_lead(result),
        passed=not result.problems(),
        verdicts=[*verdicts(result), *_told(result)],
        banner=BANNER,
        facts=_facts(result),
        plots=[_demand(result), _replicas(result), *_latencies(result), _queue(result)],
        spans=spans,
        marks=[
            Mark(str(number), result.at(change), "green" if change.after > change.before else "orange")
            for number, change in enumerate(result.record.changes, start=1)
        ],
        tables=[_decisions(result), _objectives(result), _phases(result), _environment(result)],
        data=result.to_json(),
    )


def verdicts(result: Result) -> list[Verdict]:
    """What the demo is judged by, and then whether the SLA was met, which it is not judged by."""
    found = [Verdict(problem, good=False) for problem in result.problems()]
    if not found:
        found.append(Verdict(f"It scaled from 1 to {result.peak} replicas and back to 1.", good=True))
        found.append(Verdict(f"Every one of {len(result.record.outcomes)} requests was answered in full.", good=True))
    return found + [Verdict(sentence(item), good=item.met) for item in result.attained() if item.share is not None]


def sentence(item: Attained) -> str:
    """One objective, judged."""
    one = item.objective
    outcome = "met" if item.met else "MISSED: what arrives before growth is seen and a new replica is ready waits"
    return (
        f"SLA, as the clients measured it: {one.metric} within {one.threshold_seconds:g} s "
        f"for {_percent(item.share)} of requests, asked {one.percentile} %: {outcome}."
    )


def _told(result: Result) -> list[Verdict]:
    if result.pace is None:
        return [
            Verdict("Whether the emulated devices kept their pace is not known: Prometheus did not tell.", good=None)
        ]
    return [Verdict(result.pace.sentence(), good=None if result.pace.kept else False)]


def _lead(result: Result) -> str:
    planned, phases = len(result.record.planned), result.scenario.phases
    shape = ", ".join(
        f"{phase.name} ({phase.first:g} requests/s for {phase.seconds:.0f} s)"
        if phase.first == phase.last
        else f"{phase.name} ({phase.first:g} to {phase.last:g} requests/s in {phase.seconds:.0f} s)"
        for phase in phases
    )
    prompt, output = result.scenario.prompt, result.scenario.output
    return (
        f"A local Kubernetes control plane, Penstock installed from its Helm chart, and the InferenceService of "
        f"examples/{EXAMPLE}, scaled between 1 and 6 replicas. Through the gateways went {planned} streamed requests, "
        f"open loop (they leave at their times, however slow the answers are): {shape}. Lengths are log-normal, cut: "
        f"prompts {prompt.least} to {prompt.most} tokens around {prompt.shape.mean:g}, answers {output.least} to "
        f"{output.most} around {output.shape.mean:g}. Then the load ended, until one replica was left."
    )


def _facts(result: Result) -> list[Fact]:
    outcomes, hours = result.record.outcomes, result.accelerator_hours
    flat = result.peak * PROFILE.accelerators * (result.record.samples[-1].at if result.record.samples else 0.0) / 3600
    facts = [
        Fact(f"1 → {result.peak} → 1", "replicas")
        if not result.problems()
        else Fact(str(result.peak), "replicas at most"),
        Fact(str(len(outcomes)), "requests"),
        Fact(str(result.record.failed), "failed"),
        Fact(f"{hours:.3f}", "GPU-hours (emulated)"),
        Fact(f"{flat:.3f}", f"GPU-hours of {result.peak} replicas all the time"),
    ]
    if result.price:
        facts.append(Fact(f"{hours * result.price:.2f} {result.currency}", "at the example's price"))
    return facts


def _demand(result: Result) -> Plot:
    planned, samples = result.record.planned, result.record.samples
    times = _times(result)
    truth = [(at, offered_tokens_per_second(planned, at=at, window_seconds=ROLLING_SECONDS)) for at in times]
    return Plot(
        "Demand and capacity",
        "generated tokens/s",
        [
            Series(f"asked for by clients ({ROLLING_SECONDS:.0f} s mean)", truth, tone="grey"),
            Series("offered, as the operator sees it", _over(samples, _offered), tone="blue"),
            Series("served", _over(samples, lambda one: one.state.load.served_tokens_per_second), tone="purple"),
            Series("capacity of ready replicas", _over(samples, _capacity), kind="step", tone="green"),
        ],
        note="Capacity is what the example trusts the ready replicas with, those that drain left out. Where demand is "
        "above it, requests may queue. A decision (dotted line, numbered as in the table) lifts it once the new "
        "replicas have started.",
    )


def _replicas(result: Result) -> Plot:
    samples = result.record.samples
    return Plot(
        "Replicas",
        "replicas",
        [
            Series("ready", _over(samples, lambda one: one.state.replicas.serving), kind="stack", tone="green"),
            Series("starting", _over(samples, lambda one: one.state.replicas.starting), kind="stack", tone="blue"),
            Series(
                "draining or ending",
                _over(samples, lambda one: one.state.replicas.draining),
                kind="stack",
                tone="orange",
            ),
            Series("desired", _over(samples, lambda one: one.state.replicas.desired), kind="step", tone="red"),
        ],
        note="A draining replica gets no new requests and ends when it is idle, so no request is cut off.",
    )


def _latencies(result: Result) -> list[Plot]:
    return [_latency(result, item) for item in result.attained()]


def _latency(result: Result, item: Attained) -> Plot:
    one = item.objective
    seen = sorted(
        (outcome.at, value)
        for outcome in result.record.outcomes
        if (value := measured(outcome, one.metric)) is not None
    )
    times = [at for at in _times(result) if at <= result.scenario.seconds]
    shown: tuple[tuple[float, Tone], ...] = ((0.5, "blue"), (0.9, "purple"), (one.asked, "orange"))
    return Plot(
        f"{one.metric} against the SLA",
        "seconds",
        [
            Series(f"p{share * 100:g}, {ROLLING_SECONDS:.0f} s window", _rolling(seen, times, share), tone=tone)
            for share, tone in shown
        ],
        thresholds=[Threshold("objective", one.threshold_seconds)],
        logarithmic=one.metric != "TPOT",
        note=f"By when requests were due. The objective asks that {one.percentile} % of all stay below the line.",
    )


def _queue(result: Result) -> Plot:
    samples = result.record.samples
    return Plot(
        "Requests that wait",
        "requests",
        [
            Series("held at the gateways", _over(samples, lambda one: one.state.load.held), kind="step", tone="orange"),
            Series(
                "waiting in the engines", _over(samples, lambda one: one.state.load.waiting), kind="step", tone="blue"
            ),
        ],
    )


def _decisions(result: Result) -> Table:
    rows = [_row(result, number, change) for number, change in enumerate(result.record.changes, start=1)]
    note = "Numbers are those of the dotted lines. Every message holds the numbers that the decision was made from."
    return Table("What it decided, and why", ("#", "load second", "UTC", "replicas", "reason", "message"), rows, note)


def _row(result: Result, number: int, change: Change) -> tuple[str, ...]:
    when = datetime.fromtimestamp(change.at, UTC).strftime("%H:%M:%S")
    count = f"{change.before} → {change.after}"
    return str(number), f"{result.at(change):.0f}", when, count, change.reason, change.message


def _objectives(result: Result) -> Table:
    rows = [
        (
            f"{item.objective.name} ≤ {item.objective.threshold_seconds:g} s",
            f"{item.objective.percentile} %",
            _percent(item.share),
            _seconds(item.value_seconds),
            _percent(item.objective.attainment),
            {True: "met", False: "missed", None: "unknown"}[item.met],
        )
        for item in result.attained()
    ]
    columns = ("objective", "asked", "attained (clients)", "value (clients)", "attained (gateways)", "verdict")
    note = "Clients measure from when a request was due; the gateways from when it arrived. A failed request misses."
    return Table("Objectives over the whole run", columns, rows, note)


def _phases(result: Result) -> Table:
    rows = []
    for name, figures in result.to_json()["phases"].items():
        keys = ("ttft_p50_seconds", "ttft_p99_seconds", "tpot_p50_seconds", "tpot_p99_seconds")
        shares = (_percent(figures["ttft_attainment"]), _percent(figures["tpot_attainment"]))
        values = [_seconds(figures[key]) for key in keys]
        rows.append((name, str(figures["sent"]), str(figures["failed"]), *values, *shares))
    columns = (
        "phase", "sent", "failed", "TTFT p50", "TTFT p99", "TPOT p50", "TPOT p99", "TTFT attained", "TPOT attained",
    )  # fmt: skip
    return Table("By phase of the load", columns, rows)


def _environment(result: Result) -> Table:
    rows = [(name, value) for name, value in result.environment.items()]
    rows.append(("emulated device", ", ".join(f"{key}={value}" for key, value in PROFILE.to_json().items())))
    if result.record.epoch:
        rows.append(("load began", datetime.fromtimestamp(result.record.epoch, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")))
    return Table("What it ran on", ("what", "value"), rows)


def _times(result: Result) -> list[float]:
    end = result.record.samples[-1].at if result.record.samples else result.scenario.seconds
    return [number * _STEP_SECONDS for number in range(int(end / _STEP_SECONDS) + 1)]


def _over(samples: Sequence[Sample], value: Callable[[Sample], float | None]) -> list[tuple[float, float | None]]:
    return [(one.at, value(one)) for one in samples]


def _offered(one: Sample) -> float | None:
    return one.state.load.offered_tokens_per_second


def _capacity(one: Sample) -> float | None:
    return one.state.capacity_tokens_per_second


def _rolling(
    seen: Sequence[tuple[float, float]], times: Sequence[float], share: float
) -> list[tuple[float, float | None]]:
    found: list[tuple[float, float | None]] = []
    keys = [at for at, _ in seen]
    for time in times:
        first, last = bisect.bisect_right(keys, time - ROLLING_SECONDS), bisect.bisect_right(keys, time)
        found.append((time, percentile([value for _, value in seen[first:last]], share)))
    return found


def _percent(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1%}"


def _seconds(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f} s"
