"""`python -m benchmarks.engines`: a real vLLM under the operator; prints what happens and writes the raw result."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from benchmarks.faults.world import ScenarioError

from penstock_lab.cluster.errors import ClusterError
from penstock_lab.cluster.local import LocalCluster
from penstock_lab.install import InstallError

from . import report
from .stage import StageError, Vllm, cluster, find_vllm, make_model, stage
from .story import Story, tell

_ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    """Run it; the exit status is 0 only if every promise held."""
    arguments = _arguments()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job is born ignoring it
    signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    try:
        story, vllm = perform(arguments.out)
    except KeyboardInterrupt:
        print("interrupted: everything that was started has ended", file=sys.stderr)
        return 130
    except (ClusterError, InstallError, StageError, ScenarioError) as error:
        print(f"bench-engines: error: {error}", file=sys.stderr)
        return 2
    if arguments.page is not None:
        text = report.page(story.to_json(), vllm=vllm.version, machine=arguments.machine)
        arguments.page.write_text(text, encoding="utf-8")
        print(f"written to {arguments.page}")
    print("\n".join(f"PROBLEM: {one}" for one in story.problems) or report.line(story.to_json()))
    return 1 if story.problems else 0


def perform(out: Path) -> tuple[Story, Vllm]:
    """Play the story in a folder, which keeps the logs and the raw result."""
    vllm = find_vllm()
    models = out / "models"
    make_model(models)
    with cluster(vllm, out=out, models=models, say=_say) as made:
        story = asyncio.run(_run(made))
    (out / "result.json").write_text(json.dumps(story.to_json(), indent=1) + "\n", encoding="utf-8")
    return story, vllm


async def _run(made: LocalCluster) -> Story:
    async with stage(made, say=_say) as world:
        return await tell(world)


def _say(line: str) -> None:
    print(f"  {line}", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench-engines", description="A real vLLM under the operator.")
    parser.add_argument("--out", type=Path, default=_ROOT / "out" / "bench-engines", help="folder of results and logs")
    parser.add_argument("--page", type=Path, default=None, help="page to write, such as docs/evidence/engines.md")
    busy = "nothing else ran on them"
    parser.add_argument("--machine", default=busy, help=f"how busy the two cores were otherwise; default: {busy}")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
