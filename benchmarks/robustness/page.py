"""The page of what was measured beside the comparison, in Markdown, from the figures that each benchmark keeps."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from benchmarks.robustness import paced, replicas, traces
from benchmarks.robustness.text import Figures, prose, ran, table, verdict

_ROOT: Final = Path(__file__).resolve().parents[2]
_RESULTS: Final = Path(__file__).resolve().parent / "results"
_PAGE: Final = _ROOT / "docs" / "evidence" / "policy-robustness.md"
_WORST: Final = 5
_GOAL: Final = 0.99
_WORTH_SAYING: Final = 0.0005
_WHOLE: Final = 4_900_000
_HEAD: Final = """# The policy beyond the traces

Each part is written by the command that it names; not edited by hand. The comparison with rivals:
[policy.md](policy.md). **Simulated**, but for what a decision costs.
"""


def command(target: str, arguments: Sequence[str], *, before: str = "") -> str:
    """What makes a part again, for who types it."""
    given = "" if not arguments else f" BENCH_ARGS='{' '.join(arguments)}'"
    return f"{before}make {target}{given}"


def keep(part: str, figures: Figures) -> None:
    """Keep what a benchmark has found."""
    _RESULTS.mkdir(parents=True, exist_ok=True)
    text = json.dumps(figures, indent=1, allow_nan=False)
    (_RESULTS / f"{part}.json").write_text(text + "\n", encoding="utf-8")


def write() -> Path:
    """Write the page from what there is; where it is."""
    found = {part: _RESULTS / f"{part}.json" for part in _PARTS}
    kept = {part: json.loads(path.read_text(encoding="utf-8")) for part, path in found.items() if path.exists()}
    _PAGE.write_text(page(kept), encoding="utf-8")
    return _PAGE


def page(kept: Mapping[str, Figures]) -> str:
    """The page of the parts that there are."""
    return _HEAD + "".join("\n" + "\n".join(_PARTS[part](kept[part])) + "\n" for part in _PARTS if part in kept)


def _decide(figures: Figures) -> Iterator[str]:
    taken, memory = figures["time"], figures["memory"]
    yield "## What a decision costs\n"
    yield ran(figures)
    yield prose(
        f"Bar: 1 ms a call on average at 1,000 services, and memory that does not grow. {verdict(figures)} "
        f"{taken['calls']:,} calls of `decide()` for {figures['services']:,} services, in time that the process used "
        f"of a core ({figures['machine']}, load average {figures['load']:.0f}). What it is given comes from simulated "
        "services of every shape, with what they have learned by then."
    )
    names = ("mean_ms", "p50_ms", "p99_ms", "max_ms")
    yield "\n" + table(("mean", "p50", "p99", "most"), [[f"{taken[name]:.2f} ms" for name in names]])
    yield "\nShare of the calls in which a part of the policy had something to do:\n"
    yield table(("part", "calls"), [(name, f"{share:.0%}") for name, share in taken["parts"].items()])
    yield "\n" + prose(
        f"Memory, by `tracemalloc` over {memory['ticks']:,} ticks of {memory['services']} services: "
        f"{memory['bytes_a_service'] / 1024:.1f} KiB a service at the end, "
        f"{memory['most_bytes_a_service'] / 1024:.1f} at most, "
        f"{memory['growth_bytes_a_service']:+.0f} bytes from the middle to the end."
    )


def _steps(figures: Figures) -> Iterator[str]:
    rows = figures["rows"]
    held = sum(row["holds"] for row in rows)
    yield "## After a step of three\n"
    yield ran(figures)
    yield prose(
        "Load that has come steadily for 20 minutes becomes three times as much at once, without a sign before. "
        "Capacity: from the step until as many replicas are ready as attain at the new rate when they never change. "
        "Bar: the 90th percentile of the start-up times of the pods asked for + two ticks + a rate window. Backlog: "
        "from there until no more wait than there are replicas. Bar: two start-ups. "
        f"{held} of {len(rows)} runs hold both. {verdict(figures)}"
    )
    columns = (
        "start-up", "seed", "replicas", "need", "first decision", "capacity", "bar", "most waiting", "gone after",
        "bar", "attainment",
    )  # fmt: skip
    lines = [
        (
            f"{row['startup_seconds']:g} s",
            str(row["seed"]),
            str(row["before"]),
            str(row["need"]),
            _seconds(row["first_decision_seconds"]),
            _seconds(row["capacity_seconds"]),
            _seconds(row["capacity_bar_seconds"]),
            f"{row['backlog_most']:.0f}",
            _seconds(row["backlog_seconds"]),
            _seconds(row["backlog_bar_seconds"]),
            f"{row['attainment']:.1%}",
        )
        for row in rows
    ]
    yield "\n" + table(columns, lines)


def _seasons(figures: Figures) -> Iterator[str]:
    rows = figures["rows"]
    known = {(row["startup_seconds"], row["seed"], row["day"], row["knows"]): row for row in rows}
    yield "## Knowing the days before\n"
    yield ran(figures)
    yield prose(
        "Made-up traffic (`synthetic:workdays`): a daily wave; on days of work about three times as much at once at "
        "nine o'clock, until half past five, and a batch of six minutes at every full hour; the third day is off, with "
        "neither. The policy as it is, and the same policy made to forget the days before at every tick (*blind*). "
        "*After nine*: requests of the first quarter of an hour after the step. Bars: the second day attains no less "
        f"than blind, and the day off takes a tenth more GPU-hours at most. {verdict(figures)}"
    )
    columns = ("start-up, seed, day", "attained", "blind", "after nine", "blind", "GPU-hours", "blind")
    lines = []
    for (startup, seed, day, knows), row in known.items():
        if knows:
            blind = known[startup, seed, day, False]
            pairs = [(f"{one['attainment']:.2%}", f"{one['step_attainment']:.1%}") for one in (row, blind)]
            hours = [f"{one['gpu_hours']:.0f}" for one in (row, blind)]
            (whole, nine), (blindly, blindly_nine) = pairs
            lines.append((f"{startup:g} s, {seed}, {day}", whole, blindly, nine, blindly_nine, *hours))
    yield "\n" + table(columns, lines)


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.0f} s"


def _sensitivity(figures: Figures) -> Iterator[str]:
    rows = [row for row in figures["rows"] if not row["crash"]]
    yield "## Worlds that nobody chose\n"
    yield ran(figures)
    yield prose(
        f"{len(figures['rows'])} configurations, each drawn with its number as the seed: shape, rate, lengths, replica "
        "(eight references, made up to twice as fast or slow), start-up of 5 to 420 s, interval of the scrapes, SLA "
        "and bounds. Ours with what ships, before a gateway that does not pace, as in the comparison; *paced*: before "
        "the one that ships. Bar: no crash, no more replicas than four times the oracle's most (fewer "
        f"than five count as five), a memory that stays small. {verdict(figures)} It took "
        f"{figures['seconds'] / 60:.0f} minutes at a load average of "
        f"{figures['load']:.0f}."
    )
    yield "\n" + table(("of all", "figure"), _overall(rows))
    yield f"\nThe {_WORST} that lack most:\n"
    yield from map(_world, sorted(rows, key=lambda row: row["attainment"] - row["asked"])[:_WORST])
    yield f"\nThe {_WORST} dearest beside the oracle:\n"
    yield from map(_world, sorted(rows, key=lambda row: -(_ratio(row) or 0.0))[:_WORST])
    yield "\nAll of them:\n"
    columns = ("seed", "shape", "start-up", "fluid mean", "asked", "attained", "paced", "GPU-hours / oracle", "paced")
    yield table((*columns, "turns/h", "peak"), [_line(row) for row in figures["rows"]])


def _overall(rows: Sequence[Figures]) -> list[tuple[str, str]]:
    ratios = [ratio for row in rows if (ratio := _ratio(row)) is not None]
    low, middle, high = np.percentile(ratios, (10, 50, 90))
    short = np.array([max(0.0, row["asked"] - row["attainment"]) for row in rows])
    still = np.array([max(0.0, row["asked"] - row["paced"]["attainment"]) for row in rows])
    dearer = np.mean([row["paced"]["gpu_hours"] / row["gpu_hours"] for row in rows])
    most = max(row["peak"] / row["oracle_peak"] for row in rows if row["oracle_peak"])
    return [
        ("attain what is asked", f"{int((short == 0).sum())} of {len(rows)}"),
        ("lack at most one percentage point", f"{int((short <= 0.01).sum())} of {len(rows)}"),
        ("lack on average", f"{100 * short.mean():.2f} points"),
        ("paced: attain what is asked", f"{int((still == 0).sum())} of {len(rows)}"),
        ("paced: lack on average", f"{100 * still.mean():.2f} points"),
        (
            "paced: attain no longer, lacking more than a tenth of a point",
            str(int(((short == 0) & (still > 0.001)).sum())),
        ),
        ("paced: GPU-hours over those of the plain gateway, mean", f"{dearer:.3f}"),
        ("the oracle finds a plan", f"{len(ratios)} of {len(rows)}"),
        ("GPU-hours / oracle: median, 10th to 90th percentile", f"{middle:.2f}, {low:.2f} to {high:.2f}"),
        ("most replicas asked for / oracle's most, the largest", f"{most:.1f}"),
        ("largest memory of a service, pickled", f"{max(row['memory_bytes'] for row in rows) / 1024:.1f} KiB"),
        ("requests killed in flight", str(sum(row["killed"] for row in rows))),
    ]


def _ratio(row: Figures) -> float | None:
    return row["gpu_hours"] / row["oracle_gpu_hours"] if row["oracle_gpu_hours"] else None


def _line(row: Figures) -> tuple[str, ...]:
    about = (str(row["seed"]), row["shape"], f"{row['startup_seconds']} s", f"{row['mean_replicas']:g}")
    if row["crash"]:
        return (*about, f"{row['asked']:.0%}", "crashed", *("-",) * 5)
    runs, best = (row, row["paced"]), row["oracle_gpu_hours"]
    return (
        *about,
        f"{row['asked']:.0%}",
        *(
            f"{one['attainment']:.2%}" if one["attainment"] >= row["asked"] else f"**{one['attainment']:.2%}**"
            for one in runs
        ),
        *(f"{one['gpu_hours'] / best:.2f}" if best else "-" for one in runs),
        f"{row['turns_per_hour']:.1f}",
        str(row["peak"]),
    )


def _world(row: Figures) -> str:
    ratio = _ratio(row)
    dear = "no oracle" if ratio is None else f"{ratio:.2f} times the oracle's GPU-hours"
    reasons = sorted(row["lost"].items(), key=lambda one: -one[1])
    why = ", ".join(f"{share:.1%} {name}" for name, share in reasons if share >= _WORTH_SAYING) or "next to nothing"
    return prose(
        f"- **{row['seed']}** {row['shape']}, {row['rate']:g} requests/s of {row['prompt']:,} + {row['output']:,} "
        f"tokens on `{row['profile']}`, fluid mean {row['mean_replicas']:g} replicas, start-up "
        f"{row['startup_seconds']} s, scrapes every {row['scrape_seconds']:g} s, TTFT {row['ttft_seconds']:g} s and "
        f"TPOT {1e3 * row['tpot_seconds']:.0f} ms for {row['asked']:.0%}: attains {row['attainment']:.2%} "
        f"(first tokens {row['attainment_ttft']:.2%}), {dear}. Lost: {why}.",
        indent="  ",
    )


def _timed(figures: Figures) -> Iterator[str]:
    said = verdict(figures) if figures["requests"] >= _WHOLE else "This is a part of it, which says nothing yet."
    yield "## How long a comparison takes\n"
    yield ran(figures)
    yield prose(
        f"Eight policies with three seeds each, and the oracle of each seed, on {figures['hours']:g} hours of "
        f"`{figures['trace']}`, scaled to a fluid mean of 10 replicas, of which the first {figures['requests']:,} "
        "requests a seed are replayed; start-up 60 s. Bar: 8 minutes on two cores at no more than 5,000,000 requests. "
        f"{said} {figures['seconds'] / 60:.1f} minutes on the wall and {figures['cpu_seconds'] / 60:.1f} of a core, on "
        f"{figures['cores']} cores with a load average of up to {figures['load']:.0f}."
    )


_PARTS: Final[Mapping[str, Callable[[Figures], Iterator[str]]]] = {
    "decide": _decide,
    "steps": _steps,
    "seasons": _seasons,
    "sensitivity": _sensitivity,
    "timed": _timed,
    "warm": traces.warm,
    "hindsight": traces.hindsight,
    "reserve": traces.reserve,
    "paced": paced.paced,
    "replicas": replicas.replicas,
}
