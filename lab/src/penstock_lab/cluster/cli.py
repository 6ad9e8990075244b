"""`penstock cluster …` and `penstock logs`: a local cluster from the command line."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import yaml
from rich.console import Console
from rich.table import Table

from penstock_lab.cluster.binaries import Resolver
from penstock_lab.cluster.catalog import TOOLS
from penstock_lab.cluster.errors import ClusterError, NotRunningError
from penstock_lab.cluster.local import LocalCluster
from penstock_lab.cluster.podlogs import find_logs, follow
from penstock_lab.cluster.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

EXIT_NOT_RUNNING: Final = 3

_name = click.option("--name", default="default", show_default=True, help="Of the cluster; several may run.")
_state_dir = click.option(
    "--state-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for everything the cluster writes. [default: ~/.local/state/penstock/clusters/NAME]",
)


class _Explained(click.Command):
    """Shows a `ClusterError` as a message, not as a trace."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ClusterError as error:
            click.echo(f"error: {error}", err=True)
            ctx.exit(EXIT_NOT_RUNNING if isinstance(error, NotRunningError) else 1)


class _ExplainedGroup(_Explained, click.Group):
    """The same for all commands of a group."""


@click.group(cls=_ExplainedGroup)
def cluster() -> None:
    """Run a real Kubernetes control plane on this machine, as processes."""


@cluster.command()
@_name
@_state_dir
@click.option("--nodes", default=1, show_default=True, type=click.IntRange(min=0), help="How many Nodes.")
@click.option(
    "--gpus-per-node", default=8, show_default=True, type=click.IntRange(min=0), help="nvidia.com/gpu of each."
)
@click.option("--prometheus/--no-prometheus", default=True, help="Whether to run Prometheus.")
@click.option("--node-agent/--no-node-agent", default=True, help="Whether pods run; without it there are no Nodes.")
@click.option("--scrape-interval", default=1.0, show_default=True, type=click.FloatRange(min=0.1), help="In seconds.")
@click.option("--models", type=click.Path(file_okay=False, path_type=Path), help="What containers see as /models.")
@click.option(
    "--images",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="YAML of further images: glob to {argv, args, env, paths}.",
)
@click.option("--foreground", is_flag=True, help="Stay, and take the cluster down on Ctrl-C.")
def up(
    *,
    name: str,
    state_dir: Path | None,
    nodes: int,
    gpus_per_node: int,
    prometheus: bool,
    node_agent: bool,
    scrape_interval: float,
    models: Path | None,
    images: Path | None,
    foreground: bool,
) -> None:
    """Start a cluster; do nothing if it runs already."""
    began = time.monotonic()
    console = Console(highlight=False)
    local = LocalCluster(
        name,
        nodes=nodes,
        gpus_per_node=gpus_per_node,
        prometheus=prometheus,
        node_agent=node_agent,
        scrape_interval_seconds=scrape_interval,
        models=models.absolute() if models else None,
        more_images=_read_images(images) if images else None,
        state_dir=state_dir,
        report=_stepwise(console),
    )
    try:
        started = local.up()
    except KeyboardInterrupt:
        raise ClusterError("interrupted; nothing is left running") from None
    if started:
        console.print(f"cluster {name} is up ({time.monotonic() - began:.1f} s)", style="green")
    console.print(f"  kubeconfig  {local.kubeconfig}", soft_wrap=True)
    console.print(f"  API server  {local.api_url}")
    if prometheus:
        console.print(f"  Prometheus  {local.prometheus_url}")
    if not foreground:
        local.detach()
        return
    if not started:
        raise ClusterError(f"cluster {name} runs already, in the background; --foreground cannot take it over")
    _stay(local, console)


@cluster.command()
@_name
@_state_dir
def down(*, name: str, state_dir: Path | None) -> None:
    """Take a cluster down and remove its data, also what a crash has left."""
    began = time.monotonic()
    if LocalCluster(name, state_dir=state_dir).down():
        click.echo(f"cluster {name} is down ({time.monotonic() - began:.1f} s)")
    else:
        click.echo(f"cluster {name} does not run; nothing was left of it either")


@cluster.command()
@_name
@_state_dir
def status(*, name: str, state_dir: Path | None) -> None:
    """Show every component and Node; exit 0 if all are well, 1 if not, 3 if the cluster does not run."""
    found = LocalCluster(name, state_dir=state_dir).status()
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
    parts = Table(box=None, pad_edge=False)
    for column in ("COMPONENT", "PID", "PORT", "HEALTH", "STATE", "LOG"):
        parts.add_column(column, no_wrap=True)
    for part in found["components"]:
        healthy = found["health"][part["name"]]
        pid, port = (str(part[key]) if part[key] else "-" for key in ("pid", "port"))
        word = "[green]ok[/]" if healthy else "[red]failing[/]" if part["state"] == "running" else "[red]down[/]"
        parts.add_row(part["name"], pid, port, word, part["state"], part["log"])
    console.print(parts, soft_wrap=True)
    nodes = Table(box=None, pad_edge=False)
    nodes.add_column("NODE")
    nodes.add_column("STATUS")
    for node, state in sorted(found["nodes"].items()):
        nodes.add_row(node, f"[green]{state}[/]" if state == "Ready" else f"[red]{state}[/]")
    if found["nodes"]:
        console.print()
        console.print(nodes)
    console.print(f"\nAPI server {found['api_url']}  pods {found['address_prefix']}.0.0/16", soft_wrap=True)
    if not all(found["health"].values()) or any(state != "Ready" for state in found["nodes"].values()):
        raise SystemExit(1)


@cluster.command()
@_name
@_state_dir
def kubeconfig(*, name: str, state_dir: Path | None) -> None:
    """Print the path of a running cluster's kubeconfig: export KUBECONFIG=$(penstock cluster kubeconfig)."""
    local = LocalCluster(name, state_dir=state_dir)
    _ = local.api_url  # refuses when it does not run
    click.echo(local.kubeconfig)


@cluster.command()
@_name
@_state_dir
def prometheus(*, name: str, state_dir: Path | None) -> None:
    """Print the URL of a running cluster's Prometheus, for the chart's prometheus.url."""
    click.echo(LocalCluster(name, state_dir=state_dir).prometheus_url)


@cluster.command()
@click.argument("tools", nargs=-1, type=click.Choice(list(TOOLS)))
@click.option(
    "--link", type=click.Path(file_okay=False, path_type=Path), help="Folder in which to link kubectl and helm."
)
def prefetch(*, tools: tuple[str, ...], link: Path | None) -> None:
    """Fetch or build the binaries of the control plane now (all of them by default)."""
    resolver = Resolver(Settings.from_environment(), report=_stepwise(Console(highlight=False)))
    for name, binary in resolver.resolve_all(tools or tuple(TOOLS)).items():
        click.echo(f"{name} {TOOLS[name].version}: {binary.path} ({binary.source})")
        if link is not None and name in ("kubectl", "helm"):
            _link(link / name, binary.path)


@click.command(cls=_Explained)
@click.argument("pod")
@click.option("-n", "--namespace", default="default", show_default=True, help="Of the pod.")
@click.option("-c", "--container", help="Only this container's.")
@click.option("-f", "--follow", "following", is_flag=True, help="Go on until Ctrl-C.")
@_name
@_state_dir
def logs(
    *,
    pod: str,
    namespace: str,
    container: str | None,
    following: bool,
    name: str,
    state_dir: Path | None,
) -> None:
    """Print what the containers of POD wrote, on a local cluster."""
    local = LocalCluster(name, state_dir=state_dir)
    found = find_logs(local.pod_logs, pod=pod, namespace=namespace, container=container)
    if not found:
        which = f"container {container} of pod" if container else "pod"
        known = ", ".join(sorted({f"{log.namespace}/{log.pod}" for log in find_logs(local.pod_logs)})) or "none"
        raise click.ClickException(f"no log of {which} {namespace}/{pod} on cluster {name}; there are: {known}")
    try:
        for line in follow(found, following=following):
            click.echo(line)
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def _read_images(path: Path) -> dict[str, dict[str, Any]]:
    try:
        found = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ClusterError(f"--images {path}: {error}") from error
    if not isinstance(found, dict):
        raise ClusterError(f"--images {path}: must map image names or globs to {{argv, args, env, paths}}")
    return found


def _stepwise(console: Console) -> Callable[[str], None]:
    return lambda line: console.print(f"  {line}", style="dim", markup=False, soft_wrap=True)


def _stay(local: LocalCluster, console: Console) -> None:
    console.print("Ctrl-C takes it down.")
    try:
        local.wait()
        raise ClusterError(f"cluster {local.name} was taken down")
    except KeyboardInterrupt:
        console.print("taking it down …")
    finally:
        local.down()


def _link(link: Path, target: Path) -> None:
    if link.is_symlink() and link.readlink() == target:
        return
    fresh = link.with_name(f".{link.name}.new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    fresh.replace(link)
