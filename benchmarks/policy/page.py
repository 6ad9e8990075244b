"""The page of the comparison, in Markdown, from the rows that are kept. Losing cases are named, not left out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from penstock_lab.simulate.bout import ORACLE, STATIC
from penstock_lab.simulate.interval import Interval, of_mean
from penstock_lab.simulate.policies.registry import OURS, TUNED

Row = dict[str, Any]
GOAL: Final = 0.99
EQUAL: Final = 0.005
BARS: Final = {60.0: 1.15, 180.0: 1.25}
_STEEP = (" rise", " fall")
_LATE = " late"


@dataclass(frozen=True, slots=True)
class Duel:
    """Ours against one rival on one case at one start-up time; means over the seeds that both have.

    Attributes:
        rival: its name.
        case: name.
        startup: seconds.
        ours: attainment.
        theirs: attainment.
        hours: our GPU-hours over theirs, of the same seeds.
    """

    rival: str
    case: str
    startup: float
    ours: float
    theirs: float
    hours: Interval

    @property
    def verdict(self) -> str:
        """Who does better, and in what."""
        if self.ours < self.theirs - EQUAL and self.ours < GOAL:
            return "loses attainment" if self.hours.mean <= 1.0 else "loses both"
        if self.theirs < self.ours - EQUAL and self.theirs < GOAL:
            return "wins both" if self.hours.mean <= 1.0 else "wins attainment"
        return "fewer GPU-hours" if self.hours.mean < 1.0 else "more GPU-hours"

    @property
    def lost(self) -> bool:
        """Whether it belongs under what is lost."""
        return self.verdict in ("loses attainment", "loses both", "more GPU-hours")


def page(rows: Sequence[Row], *, command: str, seeds: int, simulator: str, missing: int) -> str:
    """All of it."""
    parts = [_head(rows, command, seeds, simulator, missing)]
    for startup in sorted({row["startup"] for row in rows}):
        here = [row for row in rows if row["startup"] == startup]
        parts.append(f"## Start-up {startup:g} s\n\n" + _summary(here, startup))
        rival = best_rival(here)
        if rival is not None and any(row["policy"] == OURS for row in here):
            parts.append(_duels(here, rival))
    parts.append("## Every case\n\n" + "\n\n".join(_cases(rows)))
    return "\n\n".join(parts) + "\n"


def best_rival(rows: Sequence[Row]) -> str | None:
    """The tuned rival that attains on most cases, and of those the one with the fewest GPU-hours over the oracle's."""
    names = {row["policy"] for row in rows if row["policy"].endswith(TUNED)}

    def rank(name: str) -> tuple[float, float]:
        each = _means(rows, name)
        ratios = [one["ratio"] for one in each.values() if one["ratio"] is not None]
        return -sum(one["attainment"] >= GOAL for one in each.values()), sum(ratios) / max(1, len(ratios))

    return min(names, key=rank, default=None)


def duels(rows: Sequence[Row], rival: str) -> list[Duel]:
    """Ours against a rival, case by case."""
    found = []
    for case, startup in dict.fromkeys((row["case"], row["startup"]) for row in rows):
        here = [row for row in rows if (row["case"], row["startup"]) == (case, startup)]
        ours = {row["seed"]: row for row in here if row["policy"] == OURS}
        theirs = {row["seed"]: row for row in here if row["policy"] == rival}
        both = sorted(ours.keys() & theirs.keys())
        hours = of_mean([ours[seed]["gpu_hours"] / theirs[seed]["gpu_hours"] for seed in both])
        if hours is not None:
            reached = [sum(side[seed]["attainment"] for seed in both) / len(both) for side in (ours, theirs)]
            found.append(Duel(rival, case, startup, reached[0], reached[1], hours))
    return found


def _head(rows: Sequence[Row], command: str, seeds: int, simulator: str, missing: int) -> str:
    real = dict.fromkeys(row["case"] for row in rows if row["real"])
    made = dict.fromkeys(row["case"] for row in rows if not row["real"])
    times = "seed" if seeds == 1 else "seeds"
    state = f" **{missing:,} runs of it are still missing.**" if missing else ""
    return f"""# The policy beside its rivals: the whole table

Written by the command below; not edited by hand.{state} Simulated: no request was sent.

<!-- not run: needs the public traces, and most of an hour -->
```sh
{command}
```

- Cases: {len(real)} from the **second halves** of public traces, and {len(made)} made ones.
  Rivals were tuned on none of them. **Ours was changed after a first run of all but `late`**: three settings, named in
  [policy.md](policy.md#not-held-back-any-more).
  Of a day's half the first hours are taken (`hours`), the stretches of 15 to 30 minutes with the steepest rise and
  the steepest fall of the work, and the last hours that none of these touches (`late`), which ours had never seen when
  its last setting was chosen.
- Traffic is scaled to a fluid mean of 10 replicas like `llama70b-fp8-tp4-h100` (4 for the tiny requests of
  `servegen_m_small`), the clock is not compressed; at most 50 replicas; objectives: TTFT 2 s and TPOT 50 ms for 99 % of
  the feasible requests; start-up times are lognormal with a coefficient of variation of 0.25; {seeds} {times}
  of traffic and start-up times. Everybody begins with the oracle's replicas of the first ten minutes.
- `-tuned`: one configuration for all traces, from the first halves, with an equal number of trials each
  (`benchmarks/policy/tune.py`; all trials are in `benchmarks/policy/results/tuning.json`). Without it: upstream's
  defaults, which were not made for this replica. Dynamo is given the replica's true step model; ours has to learn it.
- `oracle` is a plan that knows the future and exists; it is not proven to be the best one. `static` is the fewest
  replicas that attain when they never change, known only afterwards. `/ bound` is against the fluid lower bound.
- Means over the seeds; from three on, 95 % bootstrap intervals, ratios paired by seed. Simulator `{simulator}`."""


def _means(rows: Sequence[Row], name: str) -> dict[str, Row]:
    """By case the means over the seeds."""
    found = {}
    for case in dict.fromkeys(row["case"] for row in rows):
        runs = [row for row in rows if row["case"] == case and row["policy"] == name]
        if runs:
            ratios = [run["gpu_hours"] / run["oracle_gpu_hours"] for run in runs if run["oracle_gpu_hours"]]
            found[case] = {
                "attainment": sum(run["attainment"] or 0.0 for run in runs) / len(runs),
                "ratio": sum(ratios) / len(ratios) if ratios else None,
                "hours": sum(run["gpu_hours"] for run in runs) / len(runs),
                "killed": sum(run["killed_in_flight"] for run in runs),
                "failed": sum(run["failed"] for run in runs),
                "turns": sum(run["reversals_per_hour"] for run in runs) / len(runs),
            }
    return found


def _summary(rows: Sequence[Row], startup: float) -> str:
    lines = []
    for name in _ranked(rows):
        each = list(_means(rows, name).values())
        ratios = [one["ratio"] for one in each if one["ratio"] is not None]
        attained, against = _over_seeds(rows, name)
        lines.append(
            (
                f"**{name}**" if name == OURS else name,
                f"{sum(one['attainment'] >= GOAL for one in each)} of {len(each)}",
                attained.text(".2%"),
                f"{min(one['attainment'] for one in each):.2%}",
                "-" if against is None else against.text(".2f"),
                f"{max(ratios):.2f}" if ratios else "-",
                f"{sum(one['turns'] for one in each) / len(each):.1f}",
                f"{sum(one['failed'] for one in each)}",
                f"{sum(one['killed'] for one in each)}",
            )
        )
    columns = (
        "policy", "cases at 99 %", "mean attainment", "worst case", "GPU-hours / oracle", "worst", "turns/h", "failed",
        "killed",
    )  # fmt: skip
    text = "Over all cases:\n\n" + _table(columns, lines)
    return text + _bar(rows, startup)


def _over_seeds(rows: Sequence[Row], name: str) -> tuple[Interval, Interval | None]:
    """Mean attainment, and mean GPU-hours over the oracle's, over all cases: the means of the seeds and their interval.

    A seed that lacks a case is left out, as long as another has them all.
    """
    runs = [row for row in rows if row["policy"] == name]
    cases = {row["case"] for row in runs}
    seeds = {seed: _means([row for row in runs if row["seed"] == seed], name) for seed in {row["seed"] for row in runs}}
    whole = [each for each in seeds.values() if each.keys() == cases] or [_means(runs, name)]
    attained = of_mean([_mean([one["attainment"] for one in each.values()]) for each in whole])
    assert attained is not None
    ratios = [[one["ratio"] for one in each.values() if one["ratio"] is not None] for each in whole]
    return attained, of_mean([_mean(each) for each in ratios if each])


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _bar(rows: Sequence[Row], startup: float) -> str:
    """What the bar on GPU-hours came to, on the cases from traces."""
    real = [row for row in rows if row["real"]]
    steep = [row for row in real if row["case"].endswith(_STEEP)]
    late = [row for row in real if row["case"].endswith(_LATE)]
    rest = [row for row in real if not row["case"].endswith((*_STEEP, _LATE))]
    lines = []
    for what, some in (
        ("whole halves and first hours", rest),
        ("the steepest stretches", steep),
        ("late hours, which nothing was chosen by", late),
        ("all traces", real),
    ):
        if startup not in BARS or not any(row["policy"] == OURS for row in some):
            continue
        found = _over_seeds(some, OURS)[1]
        if found is not None:
            said = "reached" if found.mean <= BARS[startup] else "missed"
            fixed = _over_seeds(some, STATIC)[1] if any(row["policy"] == STATIC for row in some) else None
            known = "" if fixed is None else f", `static` {fixed.text('.2f')}"
            means = _means(some, OURS).values()
            good = f"{sum(one['attainment'] >= GOAL for one in means)} of {len(means)} at 99 %"
            lines.append(f"- {what}: ours {found.text('.2f')}{known}: **{said}**; {good}")
    if not lines:
        return ""
    return f"\n\nBar on traces, GPU-hours / oracle <= {BARS[startup]}:\n\n" + "\n".join(lines)


def _duels(rows: Sequence[Row], rival: str) -> str:
    found = duels(rows, rival)
    lost = [one for one in found if one.lost]
    cheaper = sum(one.hours.mean <= 0.85 and not one.lost for one in found)
    lines = [
        (one.case, f"{one.ours:.2%}", f"{one.theirs:.2%}", one.hours.text(".2f"), one.verdict)
        for one in sorted(found, key=lambda one: (not one.lost, one.case))
    ]
    return (
        f"### Ours against {rival}\n\n"
        f"The best of the tuned rivals at this start-up time, chosen by this very table. "
        f"At least 15 % fewer GPU-hours at no worse attainment: {cheaper} of {len(found)} cases. "
        f"Lost: {len(lost)}{' (first in the table)' if lost else ''}.\n\n"
        + _table(("case", "ours", "theirs", "our GPU-hours / theirs", "ours"), lines)
    )


def _cases(rows: Sequence[Row]) -> Iterable[str]:
    columns = (
        "policy", "attainment", "TTFT", "TPOT", "worst 5 min", "GPU-hours", "/ oracle", "/ bound", "peak", "turns/h",
        "failed",
    )  # fmt: skip
    for case, startup in dict.fromkeys((row["case"], row["startup"]) for row in rows):
        here = [row for row in rows if (row["case"], row["startup"]) == (case, startup)]
        lines = [_line(name, [row for row in here if row["policy"] == name]) for name in _ranked(here)]
        yield (
            f"### {case}, start-up {startup:g} s\n\n"
            f"{here[0]['requests']:,} requests, {here[0]['infeasible']:.1%} of them infeasible.\n\n"
            + _table(columns, lines)
        )


def _line(name: str, runs: Sequence[Row]) -> tuple[str, ...]:
    return (
        f"**{name}**" if name == OURS else name,
        _text([run["attainment"] for run in runs], ".2%", interval=True),
        _text([run["attainment_ttft"] for run in runs], ".2%"),
        _text([run["attainment_tpot"] for run in runs], ".2%"),
        f"{min(run['worst_window_attainment'] or 0.0 for run in runs):.2%}",
        _text([run["gpu_hours"] for run in runs], ".1f"),
        _text(
            [run["gpu_hours"] / run["oracle_gpu_hours"] for run in runs if run["oracle_gpu_hours"]],
            ".2f",
            interval=True,
        ),
        _text([run["gpu_hours"] / run["lower_bound_gpu_hours"] for run in runs], ".2f"),
        str(max(run["peak_replicas"] for run in runs)),
        _text([run["reversals_per_hour"] for run in runs], ".1f"),
        str(sum(run["failed"] for run in runs)),
    )


def _text(values: Sequence[float | None], form: str, *, interval: bool = False) -> str:
    found = of_mean([value for value in values if value is not None])
    if found is None:
        return "-"
    return found.text(form) if interval else format(found.mean, form)


def _ranked(rows: Sequence[Row]) -> list[str]:
    """Oracle, ours and the fixed count, then the rivals: who attains on most cases, by GPU-hours."""
    names = dict.fromkeys(row["policy"] for row in rows)

    def rank(name: str) -> tuple[int, float, float]:
        each = _means(rows, name).values()
        ratios = [one["ratio"] for one in each if one["ratio"] is not None]
        first = {ORACLE: 0, OURS: 1, STATIC: 2}.get(name, 3)
        return first, -sum(one["attainment"] >= GOAL for one in each), sum(ratios) / max(1, len(ratios))

    return sorted(names, key=rank)


def _table(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = ["---", *["--:"] * (len(columns) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (columns, rule, *lines))
