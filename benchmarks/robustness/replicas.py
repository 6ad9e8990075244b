"""Part of the page on other replicas and other objectives than the comparison's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from benchmarks.robustness.text import Figures, grouped, prose, ran, table

_HALVES = {"tuning": "first halves", "held": "second halves"}


def replicas(figures: Figures) -> Iterator[str]:
    """What becomes of the same traffic elsewhere."""
    rows = figures["rows"]
    good = sum(row["attainment"] >= row["asked"] for row in rows)
    still = sum(row["paced"]["attainment"] >= row["asked"] for row in rows)
    yield "## Other replicas, other objectives\n"
    yield ran(figures)
    yield prose(
        "The comparison has one replica and one pair of objectives, which a policy could fit. Here the steepest "
        f"stretches and the short traces of the {_HALVES[figures['part']]}, scaled to the same fluid mean, meet every "
        "reference replica, smaller token budgets of a step (which a service would tell by its arguments), and a "
        f"tighter and a looser SLA; start-up 60 s. Ours as it ships, begun anew: {good} of {len(rows)} attain before a "
        f"gateway that does not pace, as in the comparison, {still} (*paced*) before the one that ships. "
        f"{figures['without']} more are left out, where no number of replicas attains or the requests are over a "
        "million and a half. No bar was set."
    )
    columns = ("replica", "tokens a step", "SLA", "attain", "paced", "least", "paced", "GPU-hours / oracle", "paced")
    yield "\n" + table((*columns, "dearest"), [_world(group) for group in grouped(rows, _about)])
    yield "\nWhat does not attain:\n"
    missed = [row for row in rows if min(row["attainment"], row["paced"]["attainment"]) < row["asked"]]
    columns = ("case", "replica", "tokens a step", "SLA", "attained", "paced", "GPU-hours / oracle", "paced")
    lines = [(row["case"], *_about(row), *_reached(row), *map("{:.2f}".format, _ratios(row))) for row in missed]
    yield table(columns, lines) if lines else "Nothing."


def _world(rows: Sequence[Figures]) -> tuple[str, ...]:
    gateways = [[row["attainment"] for row in rows], [row["paced"]["attainment"] for row in rows]]
    ratios = [_ratios(row) for row in rows]
    return (
        *_about(rows[0]),
        *(
            f"{sum(reached >= row['asked'] for reached, row in zip(one, rows, strict=True))} of {len(rows)}"
            for one in gateways
        ),
        *(f"{min(one):.2%}" for one in gateways),
        *map("{:.2f}".format, np.mean(ratios, axis=0)),
        f"{np.max(ratios):.2f}",
    )


def _reached(row: Figures) -> tuple[str, str]:
    return f"{row['attainment']:.2%}", f"{row['paced']['attainment']:.2%}"


def _about(row: Figures) -> tuple[str, str, str]:
    sla = f"{row['ttft_seconds']:g} s, {1e3 * row['tpot_seconds']:.0f} ms for {row['asked']:.0%}"
    return row["replica"], f"{row['step_tokens']:,}", sla


def _ratios(row: Figures) -> tuple[float, float]:
    """GPU-hours over the oracle's before either gateway."""
    return row["gpu_hours"] / row["oracle_gpu_hours"], row["paced"]["gpu_hours"] / row["oracle_gpu_hours"]
