"""`penstock-worker`: flags by vLLM's names, one line on stderr when something is wrong.

The one place that reads the environment. Torch is not imported here, so that `drain`, which a preStop hook runs in a
fresh process, takes no longer than Python does.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from penstock_contract import names
from penstock_worker.config import DEFAULT_BLOCK_SIZE, ServeOptions
from penstock_worker.drain import drain_worker
from penstock_worker.errors import ConfigError, WorkerError

_COUNT = click.IntRange(min=1)
_LEVELS = ("debug", "info", "warning", "error")
_PORT = click.IntRange(min=1, max=65535)

_HOST_HELP = f"Address of both listeners. [env: {names.BIND_ADDRESS_ENV}; default: 0.0.0.0]"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Serve a model, or wait until a worker is idle."""


@cli.command()
@click.option("--model", type=click.Path(path_type=Path), required=True, help="Hugging Face checkpoint folder.")
@click.option("--served-model-name", help="Name that requests use. [default: the value of --model]")
@click.option("--host", envvar=names.BIND_ADDRESS_ENV, default="0.0.0.0", help=_HOST_HELP)  # noqa: S104 - a pod's own address
@click.option("--port", type=_PORT, default=names.HTTP_PORT, show_default=True)
@click.option("--admin-port", type=_PORT, default=names.ADMIN_PORT, show_default=True, help="Port of /drain.")
@click.option("--dtype", type=click.Choice(["auto", "float32", "bfloat16"]), default="auto", show_default=True)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--max-num-seqs", type=_COUNT, help="Most requests running at once. [default: 256]")
@click.option("--max-num-batched-tokens", type=_COUNT, help="Token budget of a step. [default: 2048]")
@click.option("--max-model-len", type=click.IntRange(min=2), help="Most tokens of prompt and output.")
@click.option("--block-size", type=_COUNT, default=DEFAULT_BLOCK_SIZE, show_default=True, help="Tokens per KV page.")
@click.option("--kv-cache-tokens", type=_COUNT, help="KV capacity in tokens. [default: from memory]")
@click.option("--enable-prefix-caching/--no-enable-prefix-caching", "prefix_caching", default=True, show_default=True)
@click.option("--threads", type=_COUNT, envvar="OMP_NUM_THREADS", help="CPU threads of the engine.")
@click.option("--tensor-parallel-size", type=_COUNT, default=1, help="1; any number with --emulate-device.")
@click.option("--emulate-device", metavar="PROFILE", help="Pace steps as a profile says: a reference name or a file.")
@click.option("--drain-timeout-seconds", type=click.FloatRange(min=0), default=120.0, show_default=True)
@click.option("--log-level", type=click.Choice(_LEVELS, case_sensitive=False), envvar="LOG_LEVEL", default="info")
def serve(*, tensor_parallel_size: int, log_level: str, **flags: Any) -> int:
    """Serve a checkpoint over the OpenAI API."""
    options = ServeOptions(**flags)
    if tensor_parallel_size > 1 and options.emulate_device is None:
        raise ConfigError(f"--tensor-parallel-size {tensor_parallel_size}: this engine runs on one device; use 1")
    logging.basicConfig(level=log_level.upper(), format="%(asctime)s %(message)s")
    from penstock_worker.serve import serve as run  # noqa: PLC0415 - `drain` must not wait for this import

    return run(options)


@cli.command()
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait until nothing is in flight.")
@click.option("--host", envvar=names.BIND_ADDRESS_ENV, default="127.0.0.1", help="Address of the admin port.")
@click.option("--admin-port", type=_PORT, default=names.ADMIN_PORT, show_default=True)
@click.option("--timeout-seconds", type=click.FloatRange(min=0), default=120.0, show_default=True)
@click.option(
    "--settle-seconds",
    type=click.FloatRange(min=0),
    default=3.0,
    show_default=True,
    help="Keep taking requests for so long, until clients have heard that this worker goes.",
)
def drain(*, wait: bool, host: str, admin_port: int, timeout_seconds: float, settle_seconds: float) -> int:
    """Drain the worker on this machine: for a preStop hook.

    Requests are still taken while endpoints and gateways learn that the pod goes (--settle-seconds); then new ones
    are refused, and the command returns when those in flight have finished. The process gets its SIGTERM after that.
    """
    drain_worker(host=host, port=admin_port, timeout=timeout_seconds, settle=settle_seconds, wait=wait)
    return 0


def main(args: Sequence[str] | None = None) -> None:
    """Entry point; exits the process."""
    sys.exit(run(args))


def run(args: Sequence[str] | None = None) -> int:
    """Run a command; its exit status. What went wrong is one line, the last on stderr."""
    try:
        return int(cli.main(args, prog_name=names.WORKER_NAME, standalone_mode=False) or 0)
    except click.ClickException as error:
        message, status = error.format_message(), 2
    except WorkerError as error:
        message, status = str(error), 1
    except click.Abort:
        return 130
    click.echo(f"{names.WORKER_NAME}: error: {' '.join(message.split())}", err=True)
    return status
