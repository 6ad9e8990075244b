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
from .result import Result
from .scenarios import SCENARIOS
from .stage import make_models, world

_ROOT = Path(__file__).resolve().parents[2]
_LONGEST_SECONDS = 480.0


def main() -> int:
    """Run it; the exit status is 0 only if every promise held."""
    arguments = _arguments()
    # One way out: SIGTERM unwinds like Ctrl-C, so that the cluster ends in order.
    signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    arguments.out.mkdir(parents=True, exist_ok=True)
    models = arguments.out / "models"
    make_models(models)
    results: dict[str, Result | str] = {}
    try:
        with LocalCluster(
            "bench-faults", nodes=2, gpus_per_node=4, models=models, state_dir=arguments.out / "cluster", report=_say
        ) as cluster:
            asyncio.run(_run(cluster, arguments.only, results))
    except KeyboardInterrupt:
        print("interrupted: everything that was started has ended", file=sys.stderr)
        return 130
    except (ClusterError, InstallError) as error:
        print(f"bench-faults: error: {error}", file=sys.stderr)
        return 2
    finally:
        raw = {name: one if isinstance(one, str) else one.to_json() for name, one in results.items()}
        (arguments.out / "result.json").write_text(json.dumps(raw, indent=1) + "\n", encoding="utf-8")
    text = report.page(results, machine=f"{os.cpu_count()} shared cores, everything on them")
    page = _ROOT / "docs" / "evidence" / "faults.md" if not arguments.only else arguments.out / "faults.md"
    page.write_text(text, encoding="utf-8")
    found = report.problems(results)
    print("\n".join(f"PROBLEM: {one}" for one in found) or "no promise was broken")
    print(f"written to {page}")
    return 1 if found else 0


async def _run(cluster: LocalCluster, only: list[str], results: dict[str, Result | str]) -> None:
    async with world(cluster, say=_say) as made:
        for name in only or SCENARIOS:
            _say(f"{name}: begins")
            try:
                async with asyncio.timeout(_LONGEST_SECONDS):
                    result = results[name] = await SCENARIOS[name](made)
            except Exception as error:  # noqa: BLE001 - one scenario that fails must not hide the others
                traceback.print_exc()
                results[name] = f"{type(error).__name__}: {error}"
                _say(f"{name}: NOT CARRIED OUT: {results[name]}")
            else:
                _say(f"{name}: {report.line(result)}")
                for problem in result.problems:
                    _say(f"{name}: PROBLEM: {problem}")


def _say(line: str) -> None:
    print(f"  {line}", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench-faults", description="What becomes of requests while things break.")
    parser.add_argument("--only", type=_names, default=[], help="scenarios, such as scale,rollout; default: all")
    parser.add_argument("--out", type=Path, default=_ROOT / "out" / "bench-faults", help="folder of results and logs")
    return parser.parse_args()


def _names(text: str) -> list[str]:
    chosen = text.split(",")
    if unknown := [name for name in chosen if name not in SCENARIOS]:
        raise argparse.ArgumentTypeError(f"no scenario {unknown[0]!r}; there are {', '.join(SCENARIOS)}")
    return chosen


if __name__ == "__main__":
    sys.exit(main())
