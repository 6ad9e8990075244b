"""The report of a study: what was asked for, what each policy made of it, over time, at what price, and where worst."""

from __future__ import annotations

from collections.abc import Sequence

from penstock_lab.report import Fact, Plot, Report, Series, Table, Threshold
from penstock_lab.report.model import Tone
from penstock_lab.simulate import outcome
from penstock_lab.simulate.bout import ORACLE, STATIC
from penstock_lab.simulate.interval import Interval, of_mean
from penstock_lab.simulate.policies.registry import OURS
from penstock_lab.simulate.row import Row, Trail
from penstock_lab.simulate.study import Study

_TONES: dict[str, Tone] = {OURS: "blue", ORACLE: "grey", STATIC: "purple"}
_OTHERS: tuple[Tone, ...] = ("orange", "green", "red")
_NOBODY_MISSED = 1e-5


def report(study: Study, rows: Sequence[Row]) -> Report:
    """The page."""
    figures = rows[0].figures if rows else {}
    goals = study.objectives
    return Report(
        title=f"Simulation of {study.trace.name}",
        lead=(
            f"{figures.get('requests', 0):,} requests on replicas like {study.profile.name}; start-up "
            f"{study.startup_seconds:g} s; {study.seeds} seeds; "
            f"objectives: TTFT {goals.ttft_seconds:g} s and TPOT {goals.tpot_seconds:g} s "
            f"for {goals.attainment:.1%} of the feasible requests. {outcome.cut(study, rows)}".rstrip()
        ),
        banner="SIMULATED: no request was sent; times come from the profile's step model",
        facts=[
            Fact(_number(figures.get("lower_bound_gpu_hours")), "GPU-hours, fluid lower bound"),
            Fact(_number(figures.get("oracle_gpu_hours")), "GPU-hours, clairvoyant plan"),
            Fact(
                outcome.text(_known(figures.get("infeasible")), ".2%"),
                "of requests no idle replica serves in time: left out",
            ),
        ],
        plots=[*_over_time(study, rows), *_pareto(study, rows)],
        tables=[
            Table(
                "Policies",
                outcome.COLUMNS,
                outcome.table(rows, goals.attainment),
                note="Means over the seeds, from three on with 95 % bootstrap intervals; ratios are of the same seed. "
                "The worst window is the worst seed's.",
            ),
            _windows(rows, goals.attainment),
        ],
        data={"runs": [row.figures for row in rows]},
    )


def _shown(rows: Sequence[Row], attainment: float) -> list[tuple[str, Trail, Tone]]:
    """Ours, the oracle, the fixed count and the three best of the others: more lines cannot be told apart."""
    trails = {row.figures["policy"]: row.trail for row in rows if row.trail is not None}
    ranked = [name for name in outcome.names(rows, attainment) if name in trails]
    tones = _TONES | dict(zip([name for name in ranked if name not in _TONES], _OTHERS, strict=False))
    return [(name, trail, tones[name]) for name in ranked if name in tones and (trail := trails[name]) is not None]


def _over_time(study: Study, rows: Sequence[Row]) -> list[Plot]:
    shown = _shown(rows, study.objectives.attainment)
    if not shown:
        return []
    name, trail, tone = next((one for one in shown if one[0] == OURS), shown[0])
    return [
        Plot(
            f"Demand, and what {name} had ready for it",
            "replicas",
            [
                Series("fluid demand", trail.demand, "step", "grey"),
                Series("asked for", [(point[0], point[1]) for point in trail.points], "step", tone, dashed=True),
                Series("ready", [(point[0], point[2]) for point in trail.points], "step", tone),
            ],
            note="Fluid demand: the work of a minute's arrivals over what a replica does at the asked time per token.",
        ),
        Plot("Offered load", "requests/s", [Series("offered", [(point[0], point[3]) for point in trail.points])]),
        Plot(
            "Replicas asked for",
            "replicas",
            [
                Series(label, [(point[0], point[1]) for point in one.points], "step", colour)
                for label, one, colour in shown
            ],
        ),
        Plot(
            "Time to first token, 99th percentile of each minute",
            "s",
            [Series(label, one.latency, tone=colour) for label, one, colour in shown],
            thresholds=[Threshold("objective", study.objectives.ttft_seconds)],
            logarithmic=True,
        ),
    ]


def _pareto(study: Study, rows: Sequence[Row]) -> list[Plot]:
    """GPU-hours against what they buy; means over the seeds."""
    tones = {name: tone for name, _, tone in _shown(rows, study.objectives.attainment)}
    spots = []
    for name in outcome.names(rows, study.objectives.attainment):
        runs = [row.figures for row in rows if row.figures["policy"] == name]
        hours = of_mean([run["gpu_hours"] for run in runs])
        reached = of_mean([run["attainment"] for run in runs if run["attainment"] is not None])
        if hours is not None and reached is not None:
            missed = max(_NOBODY_MISSED, 1.0 - reached.mean)
            spots.append(Series(name, [(hours.mean, missed)], "spot", tones.get(name, "grey")))
    if not spots:
        return []
    return [
        Plot(
            "What GPU-hours buy",
            "share of requests that missed",
            spots,
            thresholds=[Threshold("allowed", round(1.0 - study.objectives.attainment, 6))],
            logarithmic=True,
            across="GPU-hours",
            note="Left and low is good; who lies above the line does not meet the SLA.",
        )
    ]


def _windows(rows: Sequence[Row], attainment: float) -> Table:
    trails = {row.figures["policy"]: row.trail for row in rows if row.trail is not None}
    lines = [
        (
            name,
            f"{one.begin / 60:.0f}-{one.begin / 60 + 5:.0f}",
            f"{one.attainment:.2%}",
            f"{one.requests:,}",
            str(one.ready),
            str(one.most_ready),
        )
        for name in outcome.names(rows, attainment)
        if (trail := trails.get(name)) is not None
        for one in trail.worst
    ]
    return Table(
        "Worst windows",
        ("policy", "minutes", "attainment", "requests", "ready at its begin", "most ready in it"),
        lines,
        note="Of the first seed, by arrival: five minutes with at least 20 feasible requests.",
    )


def _known(value: float | None) -> Interval | None:
    return None if value is None else Interval(value)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
