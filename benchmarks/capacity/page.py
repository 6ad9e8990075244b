"""The page of the comparison, in Markdown, from its rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks.capacity.cases import MIXES, OBJECTIVES, PROFILES

_PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "evidence" / "capacity.md"
_WORST: Final = 5
Row = Mapping[str, Any]
_KINDS: Final = ("true", "learned")
_HEAD: Final = """# The capacity that is computed beside what replicas carry

Written by the command below; not edited by hand. **Simulated.** For every case the largest load is looked for at which
constant replicas keep the SLA for 99 % of the feasible requests that arrive by chance (Poisson). *Ratio* is what the
policy computes over that: below 1 it is careful and costs replicas, above 1 the error-budget loop has to correct it.
*True* is with the step model of the simulated replica, *learned* with what the policy itself made of ten minutes at
60 % of the load. TTFT is 2 s, TPOT 50 ms; lengths of prompts and answers are lognormal.
"""


def write(found: Mapping[str, Any]) -> Path:
    """Write the page; where it is."""
    _PAGE.write_text("\n".join(_lines(found)) + "\n", encoding="utf-8")
    return _PAGE


def _lines(found: Mapping[str, Any]) -> Iterator[str]:
    rows: Sequence[Row] = found["rows"]
    given = "" if not found["arguments"] else f" BENCH_ARGS='{' '.join(found['arguments'])}'"
    yield _HEAD
    yield f"<!-- not run: a benchmark, minutes -->\n```sh\nmake bench-capacity{given}\n```\n"
    yield f"{found['seconds']:.0f} s on {found['cores']} cores; {len(rows)} cases.\n"
    yield "## In short\n"
    yield "| SLA | true: median | least | most | within 15 % | learned: median | least | most | within 15 % |"
    yield "|---|--:|--:|--:|--:|--:|--:|--:|--:|"
    for sla in (sla for sla in OBJECTIVES if rows):
        yield _summary(sla, [row for row in rows if row["sla"] == sla])
    for name in PROFILES:
        yield f"\n## {name}\n"
        yield from _table([row for row in rows if row["profile"] == name])
    yield "\n## Furthest off\n"
    yield "| replica | mix | replicas | SLA | simulated tok/s | true | learned |"
    yield "|---|---|--:|---|--:|--:|--:|"
    for row in sorted(rows, key=_off, reverse=True)[:_WORST]:
        yield (
            f"| {row['profile']} | {row['mix']} | {row['replicas']} | {row['sla']} | {row['simulated']:.0f} "
            f"| {_ratio(row, 'true')} | {_ratio(row, 'learned')} |"
        )


def _summary(sla: str, rows: Sequence[Row]) -> str:
    cells = [sla]
    for kind in _KINDS:
        ratios = [row[kind] / row["simulated"] for row in rows if row[kind] is not None]
        near = sum(abs(one - 1) <= 0.15 for one in ratios)
        cells += [f"{figure(ratios):.2f}" for figure in _figures()] + [f"{near} of {len(rows)}"]
    return f"| {' | '.join(cells)} |"


def _figures() -> tuple[Callable[[Iterable[float]], float], ...]:
    return (median, min, max)


def _table(rows: Sequence[Row]) -> Iterator[str]:
    counts = sorted({row["replicas"] for row in rows})
    yield f"| mix | SLA |{''.join(f' {n}: tok/s | true | learned |' for n in counts)}"
    yield f"|---|---|{'--:|--:|--:|' * len(counts)}"
    for mix in MIXES:
        for sla in OBJECTIVES:
            found = {row["replicas"]: row for row in rows if row["mix"] == mix.name and row["sla"] == sla}
            if len(found) < len(counts):
                continue
            cells = [
                f" {found[n]['simulated']:.0f} | {_ratio(found[n], 'true')} | {_ratio(found[n], 'learned')} |"
                for n in counts
            ]
            yield f"| {mix.name} | {sla} |{''.join(cells)}"


def _ratio(row: Row, kind: str) -> str:
    return "unknown" if row[kind] is None else f"{row[kind] / row['simulated']:.2f}"


def _off(row: Row) -> float:
    return max((abs(row[kind] / row["simulated"] - 1) for kind in _KINDS if row[kind] is not None), default=0.0)
