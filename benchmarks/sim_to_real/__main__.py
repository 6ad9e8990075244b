"""`python -m benchmarks.sim_to_real`: a fleet on a table-driven device, and a worker on real cores, each simulated."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import uvloop
from benchmarks.live.report import markdown
from benchmarks.live.stage import StageError

from penstock_lab.cluster.errors import ClusterError
from penstock_lab.install import InstallError
from penstock_lab.report import Plot, Report, Series, Table, write_html, write_png

from . import fleet, single
from .table import TableError

_ROOT = Path(__file__).resolve().parents[2]
_PARTS = ("fleet", "single")
_EMULATED = "EMULATED DEVICE: the time of a step comes from a table"


def main() -> int:
    """Run it; the exit status is 0 when both could be made."""
    arguments = _arguments()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job is born ignoring it
    signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    arguments.out.mkdir(parents=True, exist_ok=True)
    try:
        for part in arguments.only:
            tables, found, plots = _fleet(arguments) if part == "fleet" else _single(arguments)
            _write(arguments.out, part, tables, found, plots)
    except KeyboardInterrupt:
        print("interrupted: everything that was started has ended", file=sys.stderr)
        return 130
    except (ClusterError, InstallError, StageError, TableError) as error:
        print(f"bench-sim-to-real: error: {error}", file=sys.stderr)
        return 2
    return 0


def _fleet(arguments: argparse.Namespace) -> tuple[list[Table], dict[str, Any], list[Plot]]:
    table = fleet.find_table(arguments.table)
    out: Path = arguments.out / "fleet"
    out.mkdir(parents=True, exist_ok=True)
    found = uvloop.run(fleet.compare(table, seconds=arguments.seconds, out=out, say=_say))
    lines = []
    for key in fleet.COMPARED:
        live, twin = float(found.live[key]), found.simulated[key]
        low, high = found.spread[key]
        lines.append((key, f"{live:.4g}", f"{twin:.4g}", f"{low:.4g} to {high:.4g}", f"{twin / live - 1:+.1%}"))
    columns = ("figure", "live", "simulated", "over the seeds", "difference")
    points = found.about["points"]
    plots = [
        Plot(
            title,
            "replicas",
            [
                Series("live", [(point[0], point[column]) for point in points["live"]], "step", "blue"),
                Series("simulated", [(point[0], point[column]) for point in points["simulated"]], "step", "orange"),
            ],
        )
        for title, column in (("Replicas asked for", 1), ("Replicas that serve", 2))
    ]
    return [Table("Fleet on a table-driven device", columns, lines)], found.to_json(), plots


def _single(arguments: argparse.Namespace) -> tuple[list[Table], dict[str, Any], list[Plot]]:
    out: Path = arguments.out / "single"
    out.mkdir(parents=True, exist_ok=True)
    found = uvloop.run(single.compare(rate=arguments.rate, level_seconds=arguments.level_seconds, out=out, say=_say))
    curve = [
        (
            f"{row['batch']:.1f}",
            f"{row['steps']:.0f}",
            *(f"{1000 * row[key]:.2f}" for key in ("measured", "model", "operator_fit")),
            f"{row['operator_fit'] / row['measured'] - 1:+.1%}",
        )
        for row in found.curve
    ]
    live, twin = found.latencies["live"], found.latencies["simulated"]
    lines = [(key, f"{live[key]:.4g}", f"{twin[key]:.4g}", f"{twin[key] / live[key] - 1:+.1%}") for key in live]
    errors = [(key, f"{value:+.1%}") for key, value in found.errors.items()]
    tables = [
        Table(
            "Step by batch, another load than the one it was fitted to",
            ("mean batch", "steps", "measured ms", "step model ms", "operator's fit ms", "fit against measured"),
            curve,
        ),
        Table("Errors of predicted step time", ("what", "error"), errors),
        Table("Requests of that load", ("figure", "live", "simulated", "difference"), lines),
    ]
    return tables, found.to_json(), []


def _write(out: Path, part: str, tables: list[Table], found: dict[str, Any], plots: list[Plot]) -> None:
    folder = out / part
    (folder / "result.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    text = "\n".join(markdown(table) for table in tables)
    (folder / "tables.md").write_text(text, encoding="utf-8")
    title, banner = f"Simulation against reality: {part}", _EMULATED if part == "fleet" else ""
    report = Report(title=title, lead="", banner=banner, plots=plots, tables=tables, data=found)
    write_html(report, folder / "report.html")
    if plots:
        write_png(report, folder / "report.png")
    print(text)
    _say(f"written to {folder}")


def _say(line: str) -> None:
    print(f"  {line}", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench-sim-to-real", description="The simulator against reality.")
    parser.add_argument("--only", type=_names, default=list(_PARTS), help="fleet or single; default: both")
    parser.add_argument("--table", type=Path, help="step times; default: in the folder PENSTOCK_PROFILES")
    parser.add_argument("--seconds", type=float, default=600.0, help="of the fleet's load")
    parser.add_argument("--rate", type=float, default=6.0, help="highest of the single worker, requests/s")
    parser.add_argument("--level-seconds", type=float, default=30.0, help="of each of its ten levels")
    parser.add_argument("--out", type=Path, default=_ROOT / "out" / "bench-sim-to-real")
    return parser.parse_args()


def _names(text: str) -> list[str]:
    chosen = text.split(",")
    if unknown := [name for name in chosen if name not in _PARTS]:
        raise argparse.ArgumentTypeError(f"no part {unknown[0]!r}; there are {', '.join(_PARTS)}")
    return chosen


if __name__ == "__main__":
    sys.exit(main())
