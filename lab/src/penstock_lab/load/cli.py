"""`penstock load`: an open-loop load on any OpenAI endpoint."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import click
import uvloop
from rich.console import Console

from penstock_lab.load.endpoint import Endpoint, Kind, base_of
from penstock_lab.load.errors import LoadError, OptionError
from penstock_lab.load.files import write_json, write_requests
from penstock_lab.load.flags import Duration, Header, PhaseFlag, Rate, Rates, Tokens
from penstock_lab.load.lengths import MIXES
from penstock_lab.load.options import ARRIVALS, Options
from penstock_lab.load.preflight import Ready, check
from penstock_lab.load.progress import Progress
from penstock_lab.load.report import Judgement, Objectives
from penstock_lab.load.run import Bench
from penstock_lab.load.sender import Limits, raise_open_files
from penstock_lab.load.settings import Settings
from penstock_lab.load.sweep import Sweep
from penstock_lab.load.table import show, show_sweep
from penstock_lab.load.text import printable
from penstock_lab.traces.errors import TraceError
from penstock_lab.traces.source import FORMATS

EXIT_FAILED: Final = 1
EXIT_NOT_MET: Final = 3
_PIPED_COLUMNS: Final = 120  # without a terminal nobody says how wide it is, and figures must not be cut
_MIX_HELP: Final = "Lengths of a kind of traffic: " + "; ".join(f"{name}: {mix.source}" for name, mix in MIXES.items())
_KINDS: Final = tuple(kind.value for kind in Kind)
_SECRET: Final = ("api_key", "headers")

_SHARE = click.FloatRange(0, 1)
_POSITIVE = click.FloatRange(min=0, min_open=True)
_READABLE = click.Path(exists=True, dir_okay=False, path_type=Path)
_FOLDER = click.Path(file_okay=False, path_type=Path)

_OPTIONS: Final = [
    click.option("--url", required=True, help="Of the endpoint, with or without /v1."),
    click.option("--model", default="", help="Served name. [default: the only one that the endpoint lists]"),
    click.option("--endpoint", type=click.Choice(_KINDS), default=Kind.COMPLETIONS.value, show_default=True),
    click.option("--api-key", help="Bearer token. [env: OPENAI_API_KEY]"),
    click.option("--header", "headers", type=Header(), multiple=True, help="Sent with every request."),
    click.option("--insecure", is_flag=True, help="Do not check TLS certificates."),
    click.option("--arrivals", type=click.Choice(ARRIVALS), help="[default: poisson; trace with --trace]"),
    click.option("--rate", type=Rate(), help="Mean rate; of on-off: in bursts; of ramp: at the start."),
    click.option("--duration", type=Duration(), help="Of the arrivals. [default: 60s; all of a trace]"),
    click.option("--warmup", type=Duration(), default="0s", show_default=True, help="First part, not measured."),
    click.option("--phase", "phases", type=PhaseFlag(), multiple=True, help="Stretch of constant rate; repeat it."),
    click.option("--on", type=Duration(), help="Length of a burst (on-off)."),
    click.option("--off", type=Duration(), help="Length of a pause (on-off)."),
    click.option("--off-rate", type=Rate(), help="Rate in pauses (on-off). [default: 0]"),
    click.option("--rate-to", type=Rate(), help="Rate at the end (ramp)."),
    click.option("--period", type=Duration(), help="Of the swing (diurnal). [default: the duration]"),
    click.option("--peak-to-trough", type=float, help="Ratio of rates (diurnal). [default: 4]"),
    click.option("--trace", type=_READABLE, help="Trace to replay, plain or gzip."),
    click.option("--format", "format", type=click.Choice(["auto", *FORMATS]), help="Of the trace. [default: auto]"),
    click.option("--start", type=Duration(), help="Where in the trace to begin. [default: 0]"),
    click.option("--end", type=Duration(), help="Where in the trace to end."),
    click.option("--rate-scale", type=_POSITIVE, help="Requests per request of the trace, at the same clock."),
    click.option("--speed", type=_POSITIVE, help="How much faster than the trace's clock."),
    click.option("--mix", type=click.Choice([*MIXES]), help=_MIX_HELP),
    click.option("--prompt-tokens", type=Tokens(), help="N, A:B or lognormal:MEAN:CV. [default: 512]"),
    click.option("--output-tokens", type=Tokens(), help="The same. [default: 128]"),
    click.option("--length-scale", type=_POSITIVE, default=1.0, show_default=True, help="Multiplies all lengths."),
    click.option("--shared-prefix", type=_SHARE, default=0.0, show_default=True, help="Part of a prompt that repeats."),
    click.option("--prefix-groups", type=click.IntRange(1), default=1, show_default=True, help="Different prefixes."),
    click.option("--prompt-as", type=click.Choice(["auto", "ids", "text"]), default="auto", show_default=True),
    click.option("--vocabulary", type=click.IntRange(16), default=512, show_default=True, help="Ids are below this."),
    click.option("--ttft", type=Duration(), help="Objective: time to first token."),
    click.option("--tpot", type=Duration(), help="Objective: mean time per output token, of 16 tokens or more."),
    click.option("--itl", type=Duration(), help="Objective: every gap between tokens."),
    click.option("--e2e", type=Duration(), help="Objective: time to the end."),
    click.option("--attainment", type=_SHARE, default=0.99, show_default=True, help="Share that must meet them all."),
    click.option("--check", is_flag=True, help=f"Exit with {EXIT_NOT_MET} if they do not, or if a request failed."),
    click.option("--sweep", type=Rates(), help="Find the knee: rates to try, or auto; each lasts warmup + duration."),
    click.option("--sweep-steps", type=click.IntRange(1), default=14, show_default=True, help="Most loads in it."),
    click.option("--timeout", type=Duration(), default="10m", show_default=True, help="Of a request, from when due."),
    click.option("--drain", type=Duration(), default="60s", show_default=True, help="Wait for answers after the load."),
    click.option("--max-lag", type=Duration(), default="100ms", show_default=True, help="Of the generator, at p99."),
    click.option("--probe-timeout", type=Duration(), default="2m", show_default=True, help="Of first ones; 0: none."),
    click.option("--seed", type=click.IntRange(0), default=0, show_default=True),
    click.option("--out", type=_FOLDER, help="Folder for result.json, PNG and requests.csv."),
    click.option("--save-requests", is_flag=True, help="A row per request in requests.csv."),
    click.option("--quiet", is_flag=True, help="No progress."),
]  # fmt: skip


def _all_options(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


@click.command()
@_all_options
@click.pass_context
def load(context: click.Context, /, **flags: Any) -> None:
    """Send an open-loop load to an OpenAI endpoint and measure what its clients see.

    Arrivals are fixed before the first request, so a slow answer delays no other request, and latency counts from
    when a request was due. Exit status: 1 the load could not run, 2 a bad option, 3 the result is not valid
    or --check failed.
    """
    console = Console(width=None if sys.stdout.isatty() else _PIPED_COLUMNS)
    try:
        plan = _Plan(flags, command=_command(context), console=console)
        status = uvloop.run(plan.run())
    except (OptionError, TraceError) as error:
        raise click.UsageError(printable(str(error)), context) from error
    except LoadError as error:
        click.echo(printable(f"error: {error}"), err=True)
        status = EXIT_FAILED
    context.exit(status)


class _Plan:
    """One use of the command."""

    def __init__(self, flags: dict[str, Any], *, command: str, console: Console) -> None:
        self._flags = flags
        self._command = command
        self._console = console
        self._progress = Progress(console, quiet=flags["quiet"])
        objectives = Objectives(**{name: flags[name] for name in Objectives.__slots__})
        known = {name: flags[name] for name in Options.__slots__ if name in flags}
        self.options = Options(objectives=objectives, **known)
        self.options.check()
        if flags["save_requests"] and (flags["out"] is None or self.options.sweep is not None):
            raise OptionError("--save-requests needs --out, and is not for --sweep")

    async def run(self) -> int:
        """Check the endpoint, send, report; the exit status."""
        options, flags = self.options, self._flags
        workload = None if options.sweep is not None else options.workload()
        files = raise_open_files()
        ready = await check(
            self._endpoint(), options.shape, prompt_as=flags["prompt_as"], probe_seconds=flags["probe_timeout"]
        )
        for note in ready.notes:
            self._progress.say(note)
        bench = self._bench(ready, files)
        if workload is None:
            return await self._sweep(bench)
        self._progress.say(f"{len(workload)} requests in {workload.seconds:.0f} s to {ready.endpoint.url}")
        done = await bench.run(workload)
        show(done.report, self._console)
        if (out := self._folder()) is not None:
            write_json(done.report, out / "result.json")
            if flags["save_requests"]:
                write_requests(done.ledger, out / "requests.csv")
            from penstock_lab.load.plot import draw  # noqa: PLC0415 - matplotlib takes a second, and only --out needs it

            draw(done.report, out / "load.png")
            self._progress.say(f"written to {out}")
        return self._verdict(done.report)

    async def _sweep(self, bench: Bench) -> int:
        options, flags = self.options, self._flags

        async def step(rate: float) -> dict[str, Any]:
            done = await bench.run(options.workload(rate), title=f"{rate:g} requests/s")
            share = done.report["objectives"]["all"]["attainment"]
            self._progress.say(f"{rate:g} requests/s: attainment {'-' if share is None else f'{share:.2%}'}")
            return done.report

        sweep = Sweep(step, flags["attainment"], flags["sweep_steps"])
        await sweep.search(options.sweep or None, first=options.rate or 1.0)
        found = sweep.to_json(meta=bench.meta, objectives=options.objectives.given())
        show_sweep(found, self._console)
        if (out := self._folder()) is not None:
            write_json(found, out / "sweep.json")
            from penstock_lab.load.plot import draw_sweep  # noqa: PLC0415 - see `run`

            draw_sweep(found, out / "sweep.png")
            self._progress.say(f"written to {out}")
        return 0 if found["knee"]["requests_per_second"] is not None or not flags["check"] else EXIT_NOT_MET

    def _bench(self, ready: Ready, files: int) -> Bench:
        flags, options = self._flags, self.options
        meta = {
            "command": self._command,
            "version": version("penstock"),
            "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "url": ready.endpoint.url,
            "model": ready.endpoint.model,
            "prompt_as": "ids" if ready.shape.as_ids else "text",
            "context": ready.context,
            "notes": list(ready.notes),
            "warmup_seconds": options.warmup,
            "open_files": files,
        }
        return Bench(
            ready=ready,
            judgement=Judgement(objectives=options.objectives, most_lag=flags["max_lag"]),
            limits=Limits(request=flags["timeout"], drain=flags["drain"]),
            warmup=options.warmup,
            progress=self._progress,
            meta=meta,
        )

    def _endpoint(self) -> Endpoint:
        headers = dict(self._flags["headers"])
        key = self._flags["api_key"] or Settings.from_environment().api_key
        if key and "authorization" not in {name.lower() for name in headers}:
            headers["Authorization"] = f"Bearer {key}"
        return Endpoint(
            base=base_of(self._flags["url"]),
            model=self._flags["model"],
            kind=Kind(self._flags["endpoint"]),
            headers=headers,
            verify_tls=not self._flags["insecure"],
        )

    def _folder(self) -> Path | None:
        out: Path | None = self._flags["out"]
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
        return out

    def _verdict(self, report: dict[str, Any]) -> int:
        requests = report["requests"]
        found = report["objectives"].get("all")
        missed = found is not None and (found["attainment"] or 0.0) < self._flags["attainment"]
        failed = requests["failed"] or requests["refused"] or missed
        return EXIT_NOT_MET if not report["valid"] or (self._flags["check"] and failed) else 0


def _command(context: click.Context) -> str:
    """The command as it was typed, without secrets."""
    words = ["penstock load"]
    for parameter in context.command.params:
        name = parameter.name or ""
        if context.get_parameter_source(name) is not click.core.ParameterSource.COMMANDLINE:
            continue
        value, flag = context.params[name], parameter.opts[0]
        if parameter.type is click.BOOL or getattr(parameter, "is_flag", False):
            words.append(flag)
            continue
        for each in value if getattr(parameter, "multiple", False) else [value]:
            words += [flag, "***" if name in _SECRET else _text(name, each)]
    return " ".join(words)


def _text(name: str, value: Any) -> str:
    if name == "phases":
        return f"{value.name}:{value.seconds:g}:{value.requests_per_second:g}"
    if name == "sweep":
        return ",".join(f"{rate:g}" for rate in value) or "auto"
    return f"{value:g}" if isinstance(value, float) else str(value)
