"""`penstock demo`."""

from __future__ import annotations

import asyncio
import sys
from importlib.metadata import version
from pathlib import Path

import click

import penstock_lab
from penstock_lab.cluster.errors import ClusterError
from penstock_lab.demo.run import DemoError, perform
from penstock_lab.demo.scenario import PROFILE, Scenario
from penstock_lab.demo.stage import StageError, stage
from penstock_lab.demo.summary import OBJECTIVE, Result
from penstock_lab.install import InstallError
from penstock_lab.kubectl import KubectlError

_ROOT = Path(penstock_lab.__file__).resolve().parents[3]


@click.command()
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("out/demo"), show_default=True)
def demo(out: Path) -> None:
    """Run the whole path on this machine: cluster, operator, workers, load, scaling up and down."""
    examples = _ROOT / "examples"
    if not examples.is_dir():
        raise click.ClickException(f"{examples} is missing: the demo runs from a checkout of Penstock")
    out = out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    click.echo(f"Penstock {version('penstock')} demo: 3 to 5 minutes; everything runs on this machine")
    click.echo(
        f"The workers run a real engine on an EMULATED device ({PROFILE.name}): token rates show scaling, not speed."
    )
    scenario = Scenario(examples=examples, out=out)
    try:
        with stage(scenario, say=_say) as staged:
            result = asyncio.run(perform(staged, scenario, say=_say))
    except (StageError, DemoError, ClusterError, KubectlError, InstallError) as error:
        click.echo(f"DEMO FAILED: {error}", err=True)
        sys.exit(1)
    _tell(result, result.write(out))
    sys.exit(1 if result.problems() else 0)


def _say(line: str) -> None:
    click.echo(f"  {line}")


def _tell(result: Result, path: Path) -> None:
    data = result.to_json()
    click.echo("\nWhat it decided, and why")
    for decision in data["decisions"]:
        click.echo(f"  {decision['at'][11:19]}  {decision['message']}")
    requests = data["requests"]
    click.echo("\nWhat the client saw (emulated device)")
    click.echo(f"  {requests['sent']} requests sent, {requests['failed']} failed, {requests['tokens']} tokens")
    for name, figures in data["phases"].items():
        click.echo(
            f"  {name:12} TTFT p50 {figures['ttft_p50_seconds']} s, p99 {figures['ttft_p99_seconds']} s; "
            f"TPOT p99 {figures['tpot_p99_seconds']} s; TTFT <= {data['objectives']['ttft_seconds']:g} s: "
            f"{figures['ttft_attainment']:.1%}"
        )
    for metric in ("ttft", "tpot"):
        share, bound = requests[f"{metric}_attainment"], data["objectives"][f"{metric}_seconds"]
        if share is not None:
            verdict = "met" if share >= OBJECTIVE else "MISSED: what waits for a new replica waits too long"
            click.echo(f"  SLA: {metric.upper()} <= {bound:g} s for {share:.1%}, asked {OBJECTIVE:.0%}: {verdict}")
    click.echo(
        f"  at most {result.peak} replicas; {data['gpu_hours']:.3f} GPU-hours, "
        f"USD {data['cost']:.2f} at the example's price"
    )
    click.echo(f"\nWritten to {path}")
    for problem in data["problems"]:
        click.echo(f"  {problem}", err=True)
    click.echo("DEMO FAILED" if data["problems"] else "DEMO PASSED: scaled up and down, no request failed")
