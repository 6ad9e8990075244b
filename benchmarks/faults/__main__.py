"""`python -m benchmarks.faults`: run the scenarios, print their counts, write the page."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import traceback
from pathlib import Path

from penstock_lab.cluster.errors import ClusterError
from penstock_lab.cluster.local import LocalCluster
from penstock_lab.install import InstallError

from . import report
from .scenarios import SCENARIOS
from .stage import make_models, world

_ROOT = Path(__file__).resolve().parents[2]
_LONGEST_SECONDS = 480.0


def main() -> int:
    """Run it; the exit status is 0 only if every promise held."""
    arguments = _arguments()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job is born ignoring it
    # One way out: SIGTERM unwinds like Ctrl-C, so that the cluster ends in order.
    signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    arguments.out.mkdir(parents=True, exist_ok=True)
    models = arguments.out / "models"
    make_models(models)
    raw = arguments.out / "result.json"
    rows = json.loads(raw.read_text(encoding="utf-8")) if arguments.only and raw.is_file() else {}
    try:
        with LocalCluster(
            "bench-faults", nodes=2, gpus_per_node=4, models=models, state_dir=arguments.out / "cluster", report=_say
        ) as cluster:
            asyncio.run(_run(cluster, arguments.only or list(SCENARIOS), rows))
    except KeyboardInterrupt:
        print("interrupted: everything that was started has ended", file=sys.stderr)
        return 130
    except (ClusterError, InstallError) as error:
        print(f"bench-faults: error: {error}", file=sys.stderr)
        return 2
    finally:
        rows = {name: rows[name] for name in SCENARIOS if name in rows}
        raw.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    machine = f"{os.cpu_count()} shared cores, everything on them"
    arguments.page.parent.mkdir(parents=True, exist_ok=True)
    arguments.page.write_text(report.page(rows, machine=machine), encoding="utf-8")
    found = report.problems(rows)
    print("\n".join(f"PROBLEM: {one}" for one in found) or "no promise was broken")
    print(f"written to {arguments.page}")
    return 1 if found else 0


async def _run(cluster: LocalCluster, names: list[str], rows: dict[str, report.Row]) -> None:
    async with world(cluster, say=_say) as made:
        for name in names:
            _say(f"{name}: begins")
            try:
                async with asyncio.timeout(_LONGEST_SECONDS):
                    row = rows[name] = (await SCENARIOS[name](made)).to_json()
            except Exception as error:  # noqa: BLE001 - one scenario that fails must not hide the others
                traceback.print_exc()
                rows[name] = {"error": f"{type(error).__name__}: {error}"}
                _say(f"{name}: NOT CARRIED OUT: {rows[name]['error']}")
            else:
                _say(f"{name}: {report.line(row)}")
                for problem in row["problems"]:
                    _say(f"{name}: PROBLEM: {problem}")


def _say(line: str) -> None:
    print(f"  {line}", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench-faults", description="What becomes of requests while things break.")
    parser.add_argument("--only", type=_names, default=[], help="these again, such as scale,rollout; default: all")
    parser.add_argument("--out", type=Path, default=_ROOT / "out" / "bench-faults", help="folder of results and logs")
    parser.add_argument("--page", type=Path, default=_ROOT / "docs" / "evidence" / "faults.md", help="page to write")
    return parser.parse_args()


def _names(text: str) -> list[str]:
    chosen = text.split(",")
    if unknown := [name for name in chosen if name not in SCENARIOS]:
        raise argparse.ArgumentTypeError(f"no scenario {unknown[0]!r}; there are {', '.join(SCENARIOS)}")
    return chosen


if __name__ == "__main__":
    sys.exit(main())
