"""`penstock simulate`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from penstock_contract.profile import Profile, ProfileError, load_profile, reference_names
from penstock_lab.report import write_html
from penstock_lab.simulate import outcome
from penstock_lab.simulate.bout import ORACLE, STATIC, rows
from penstock_lab.simulate.overview import report
from penstock_lab.simulate.policies.registry import OURS, PolicyError, defaults, parameters, tuned_names
from penstock_lab.simulate.row import Row
from penstock_lab.simulate.score import Objectives
from penstock_lab.simulate.study import MOST_REQUESTS, File, Made, Origin, Study
from penstock_lab.simulate.synthetic import PREFIX, SHAPES, is_synthetic, parse
from penstock_lab.traces.errors import TraceError
from penstock_lab.traces.source import FORMATS, Source

_ALL = "all"


def _profile(_context: click.Context, _option: click.Parameter, value: str) -> Profile:
    try:
        return load_profile(value)
    except ProfileError as error:
        known = ", ".join(reference_names())
        raise click.BadParameter(f"{error}; the reference profiles are {known}") from error


def _policies(_context: click.Context, _option: click.Parameter, value: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in value.split(",") if name.strip()))
    for name in names:
        if name not in (_ALL, STATIC, ORACLE):
            try:
                parameters(name)
            except PolicyError as error:
                raise click.BadParameter(f"{error}; also {STATIC}, {ORACLE}, {_ALL}") from error
    if not names:
        raise click.BadParameter(f"name at least one policy, or {_ALL}")
    return names


def _trace(_context: click.Context, _option: click.Parameter, value: str) -> Path | Made:
    if is_synthetic(value):
        try:
            return Made(parse(value))
        except TraceError as error:
            raise click.BadParameter(str(error)) from error
    path = Path(value)
    if not path.is_file():
        raise click.BadParameter(f"{value}: no such file; made-up traffic is {PREFIX}SHAPE, of {', '.join(SHAPES)}")
    return path


def _origin(trace: Path | Made, form: str, start: float, end: float | None) -> Origin:
    if isinstance(trace, Made):
        if form != "auto" or start or end is not None:
            raise click.UsageError("--format, --start and --end are of files; made-up traffic takes seconds=NUMBER")
        return trace
    try:
        return File(Source(path=trace, format=form, start=start, end=end))
    except TraceError as error:
        raise click.UsageError(str(error)) from error


def _meant(names: tuple[str, ...], rivals: str) -> tuple[str, ...]:
    """`all` in full: ours, the oracle, the fewest that attain, and the first rivals at what was asked for."""
    if _ALL not in names:
        return names
    plain = [name for name in defaults() if name != OURS] if rivals != "tuned" else []
    tuned = tuned_names() if rivals != "defaults" else []
    return tuple(dict.fromkeys([OURS, ORACLE, STATIC, *tuned, *plain, *(name for name in names if name != _ALL)]))


@click.command()
@click.option(
    "--trace",
    "trace",
    callback=_trace,
    required=True,
    help="A trace file, or synthetic:SHAPE[,NAME=NUMBER…], as in synthetic:step3,seconds=3600.",
)
@click.option("--format", "form", type=click.Choice(("auto", *FORMATS)), default="auto", show_default=True)
@click.option("--start", type=click.FloatRange(0), default=0.0, help="Seconds into the trace to begin at.")
@click.option("--end", type=click.FloatRange(0, min_open=True), default=None, help="… and to end at.  [default: all]")
@click.option(
    "--profile",
    callback=_profile,
    default="llama70b-fp8-tp4-h100",
    show_default=True,
    help="A reference replica or a file.",
)
@click.option("--ttft", type=click.FloatRange(0, min_open=True), default=2.0, show_default=True, help="Seconds.")
@click.option(
    "--tpot", type=click.FloatRange(0, min_open=True), default=0.05, show_default=True, help="Seconds per token."
)
@click.option("--attainment", type=click.FloatRange(0, 1, min_open=True), default=0.99, show_default=True)
@click.option(
    "--policies",
    callback=_policies,
    default=_ALL,
    show_default=True,
    help="Names with commas between; NAME-tuned, static-N.",
)
@click.option(
    "--rivals",
    type=click.Choice(("both", "tuned", "defaults")),
    default="both",
    show_default=True,
    help="Which parameters of the rivals `all` runs: upstream's, those of `tuned.json`, or both.",
)
@click.option("--startup", type=click.FloatRange(0), default=60.0, show_default=True, help="Mean start-up, seconds.")
@click.option(
    "--startup-cv", type=click.FloatRange(0), default=0.25, show_default=True, help="Its coefficient of variation."
)
@click.option(
    "--mean-replicas", type=click.FloatRange(0, min_open=True), default=None, help="Scale to so many at the mean."
)
@click.option(
    "--rate-scale", type=click.FloatRange(0, min_open=True), default=None, help="Requests for each of the trace."
)
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True)
@click.option("--max-replicas", type=click.IntRange(1), default=200, show_default=True)
@click.option("--price", type=click.FloatRange(0), default=1.0, show_default=True, help="Of an accelerator-hour.")
@click.option(
    "--max-requests",
    type=click.IntRange(1),
    default=MOST_REQUESTS,
    show_default=True,
    help="Of each seed; a trace that has more at this rate ends there.",
)
@click.option(
    "--gateway",
    type=click.Choice(("paced", "plain")),
    default="paced",
    show_default=True,
    help="Whether it holds requests so that objectives are kept, as ours does unless told not to, or up to what fits.",
)
@click.option("--processes", type=click.IntRange(1), default=None, help="At the same time.  [default: one per core]")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), default=Path("out/simulate"), show_default=True
)
def simulate(  # noqa: PLR0917 - click hands the options over by name
    trace: Path | Made,
    form: str,
    start: float,
    end: float | None,
    profile: Profile,
    ttft: float,
    tpot: float,
    attainment: float,
    policies: tuple[str, ...],
    rivals: str,
    startup: float,
    startup_cv: float,
    mean_replicas: float | None,
    rate_scale: float | None,
    seeds: int,
    max_replicas: int,
    price: float,
    max_requests: int,
    gateway: str,
    processes: int | None,
    out: Path,
) -> None:
    """Replay a trace against scaling policies on simulated replicas, beside an oracle.

    Policies see what Prometheus and the gateways would show them. Without --mean-replicas or --rate-scale the trace is
    scaled to a mean of 10 replicas: at its own rate most of what differs between policies is rounding.
    """
    if mean_replicas is not None and rate_scale is not None:
        raise click.UsageError("--mean-replicas and --rate-scale exclude each other: both set the rate")
    study = Study(
        trace=_origin(trace, form, start, end),
        profile=profile,
        objectives=Objectives(ttft, tpot, attainment),
        policies=_meant(policies, rivals),
        seeds=seeds,
        startup_seconds=startup,
        startup_cv=startup_cv,
        max_replicas=max_replicas,
        mean_replicas=10.0 if rate_scale is None and mean_replicas is None else mean_replicas,
        rate_scale=rate_scale or 1.0,
        price=price,
        max_requests=max_requests,
        paced=gateway == "paced",
    )
    out.mkdir(parents=True, exist_ok=True)
    try:
        found = _perform(study, out, processes)
    except TraceError as error:
        raise click.ClickException(str(error)) from error
    _show(found, attainment)
    if said := outcome.cut(study, found):
        click.echo(f"\n{said}", err=True)
    write_html(report(study, found), out / "report.html")
    click.echo(f"\nWritten to {out / 'result.json'} and {out / 'report.html'}. Simulated: no request was sent.")


def _perform(study: Study, out: Path, processes: int | None) -> list[Row]:
    """Run what is missing, and write after every run."""
    about = outcome.meta(study, shlex.join(["penstock", *sys.argv[1:]]))
    path = out / "result.json"
    found = outcome.known(path, about)
    total = len(study.policies) * study.seeds
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("runs (the first one compiles)", total=total, completed=len(found))
        for row in rows(study, done=tuple(found), processes=processes):
            found.append(row)
            outcome.write(path, about, found)
            progress.advance(task)
    return found


def _show(found: list[Row], attainment: float) -> None:
    shown = Table(box=None, pad_edge=False)
    for number, column in enumerate(outcome.COLUMNS):
        shown.add_column(column, justify="right" if number else "left", no_wrap=True)
    for line in outcome.table(found, attainment):
        shown.add_row(*line)
    Console(width=None if sys.stdout.isatty() else 160).print(shown)
