"""`python -m benchmarks.operator_scale`: measure each size on a cluster of its own, write JSON, print the table."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from penstock_lab.cluster.errors import ClusterError
from penstock_lab.cluster.local import LocalCluster
from penstock_lab.kube import KubeError

from .processes import BenchmarkError, machine, now
from .progress import Progress, expected_seconds
from .report import problems, table
from .run import Run

_OUT = Path(__file__).resolve().parents[2] / "out" / "bench-operator"


def main() -> int:
    """Run it; the exit status is 0 only if everything was adopted and nothing was written at rest."""
    arguments = _arguments()
    # One way out: SIGTERM unwinds like Ctrl-C, so that the cluster and the processes end in order.
    signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    arguments.out.mkdir(parents=True, exist_ok=True)
    progress = Progress(expected_seconds(arguments.sizes, steady_seconds=arguments.steady_seconds))
    result: dict[str, Any] = {"at": now(), "machine": machine(), "command": " ".join(sys.argv[1:]), "runs": []}
    try:
        for size in arguments.sizes:
            result["runs"].append(_measure(size, arguments, progress))
            (arguments.out / "result.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    except KeyboardInterrupt:
        print("interrupted: everything that was started has ended", file=sys.stderr)
        return 130
    except (BenchmarkError, ClusterError, KubeError, TimeoutError) as error:
        print(f"bench-operator: error: {error}", file=sys.stderr)
        return 2
    text = table(result)
    (arguments.out / "table.md").write_text(text, encoding="utf-8")
    print(f"\n{text}")
    found = problems(result)
    print("\n".join(f"PROBLEM: {one}" for one in found) or "all resources adopted, no write at rest")
    print(f"raw result: {arguments.out / 'result.json'}")
    return 1 if found else 0


def _measure(size: int, arguments: argparse.Namespace, progress: Progress) -> dict[str, Any]:
    for log in arguments.out.glob(f"*-{size}.log"):
        log.unlink()
    progress.say(f"{size:,}: starting a control plane")
    with LocalCluster(f"bench-operator-{size}", node_agent=False, report=lambda _: None) as cluster:
        run = Run(cluster, size=size, steady_seconds=arguments.steady_seconds, out=arguments.out, say=progress.say)
        return asyncio.run(run.measure())


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench-operator", description="What the operator costs at scale.")
    parser.add_argument("--sizes", type=_sizes, default=[1000, 5000], help="resources per run, such as 1000,5000")
    parser.add_argument("--steady-seconds", type=float, default=60.0, help="length of the steady span, 10 or more")
    parser.add_argument("--out", type=Path, default=_OUT, help="folder of the results and logs")
    arguments = parser.parse_args()
    if arguments.steady_seconds < 10:
        parser.error("--steady-seconds must be 10 or more: two ticks")
    return arguments


def _sizes(text: str) -> list[int]:
    try:
        sizes = [int(part) for part in text.split(",")]
    except ValueError:
        sizes = []
    if not sizes or min(sizes) < 1 or max(sizes) > 20000:
        raise argparse.ArgumentTypeError(f"{text!r}: give numbers from 1 to 20000, such as 1000,5000")
    return sizes


if __name__ == "__main__":
    sys.exit(main())
