"""`penstock demo`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from types import FrameType

import click
from rich.console import Console

import penstock_lab
from penstock_lab.cluster.errors import ClusterError
from penstock_lab.demo import closing
from penstock_lab.demo.display import open_display
from penstock_lab.demo.environment import describe
from penstock_lab.demo.errors import DemoError
from penstock_lab.demo.run import make_ready, observe_pace, perform
from penstock_lab.demo.scenario import EXAMPLE, Scenario
from penstock_lab.demo.settings import Settings
from penstock_lab.demo.stage import Stage, how_to_end, is_up, stage
from penstock_lab.demo.story import BANNER, tell
from penstock_lab.demo.summary import Result
from penstock_lab.install import InstallError
from penstock_lab.kubectl import KubectlError
from penstock_lab.report import write_html, write_png

_ROOT = Path(penstock_lab.__file__).resolve().parents[3]
_FAILURES = (DemoError, ClusterError, KubectlError, InstallError)
_INTERRUPTED = 130
_REPORT, _PICTURE, _SUMMARY = "report.html", "report.png", "summary.json"


@click.command()
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="Folder of what is written.  [default: out/NAME]"
)
@click.option("--name", default="demo", show_default=True, help="Of the cluster; another one runs beside a kept demo.")
@click.option("--keep", is_flag=True, help="Leave everything running and say what to type next; so does KEEP=1.")
@click.option("--plain", is_flag=True, help="A line per change instead of the live view, as without a terminal.")
def demo(out: Path | None, name: str, keep: bool, plain: bool) -> None:
    """Run the whole path on this machine: cluster, operator, workers, load, scaling up and down."""
    examples = _ROOT / "examples"
    if not (examples / EXAMPLE).is_file():
        raise click.ClickException(f"{examples / EXAMPLE} is missing: the demo runs from a checkout of Penstock")
    settings = Settings.from_environment(os.environ)
    scenario = Scenario(examples=examples, out=(out or Path("out") / name).absolute(), name=name)
    try:
        scenario.out.mkdir(parents=True, exist_ok=True)
        for old in (_REPORT, _PICTURE, _SUMMARY):  # what is there after a run that fails must not be of one that passed
            (scenario.out / old).unlink(missing_ok=True)
    except OSError as error:
        fix = "name a folder that can be made and written"
        raise click.ClickException(f"--out {scenario.out}: {error.strerror}; {fix}") from error
    click.echo(f"Penstock {version('penstock')} demo: 4 to 6 minutes; everything runs on this machine")
    click.echo(BANNER)
    try:
        with _terminable():
            passed = _run(scenario, keep=keep or settings.keep, plain=plain or settings.plain)
    except _FAILURES as error:
        click.echo(f"DEMO FAILED: {error}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        left = f"left running; end it with\n  {how_to_end(name)}" if is_up(name) else "nothing is left running"
        click.echo(f"\ninterrupted; {left}", err=True)
        sys.exit(_INTERRUPTED)
    sys.exit(0 if passed else 1)


def _run(scenario: Scenario, *, keep: bool, plain: bool) -> bool:
    began = time.monotonic()
    with stage(scenario, say=_say) as staged:
        result = _perform(staged, scenario, plain=plain, began=began)
        report = tell(result)
        written = [
            write_html(report, scenario.out / _REPORT),
            write_png(report, scenario.out / _PICTURE),
            result.write(scenario.out),
        ]
        for line in closing.summary(result, written=written):
            click.echo(line)
        if keep:
            staged.keep()
            steps = closing.next_steps(name=scenario.name, gateway=staged.gateways[0], operator=staged.operator)
            click.echo("\n".join(steps))
        else:
            click.echo("taking everything down")
    return not result.problems()


def _perform(staged: Stage, scenario: Scenario, *, plain: bool, began: float) -> Result:
    price = asyncio.run(make_ready(staged, say=_say))
    with open_display(scenario, Console(highlight=False), plain=plain, say=_say) as display:
        record = asyncio.run(perform(staged, scenario, display, price=price))
    try:
        pace = asyncio.run(observe_pace(staged))
    except DemoError as error:
        _say(str(error))
        pace = None
    return Result(scenario, record, price, pace, describe(), time.monotonic() - began)


@contextmanager
def _terminable() -> Iterator[None]:
    """Treat SIGTERM and SIGHUP like Ctrl-C, so that they too give the terminal back and take everything down."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say(line: str) -> None:
    click.echo(f"  {line}")
