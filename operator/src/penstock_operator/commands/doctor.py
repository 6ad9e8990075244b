"""`penstock doctor`: is everything there that the operator needs, and if not, what to do. Exit code 1 on a failure."""

from __future__ import annotations

import asyncio
import json
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

import click

from penstock_operator.adapters.errors import ConfigurationError
from penstock_operator.adapters.prometheus import Access
from penstock_operator.commands.cluster import Where, connected, environment, where
from penstock_operator.commands.errors import AmbiguousError
from penstock_operator.commands.examination import Examination
from penstock_operator.commands.prometheus import Address
from penstock_operator.core.checkup import Level, Result, summary
from penstock_operator.core.printable import printable
from penstock_operator.runtime.settings import SettingsError

_WIDTH = 100
_INDENT = 18
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_COLOURS = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "red"}


@click.command()
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("--prometheus-url", help="Instead of the operator's own setting, which may be a name inside the cluster.")
@click.option("--prometheus-token-file", type=_FILE, help="Bearer token for Prometheus.")
@click.option("--prometheus-ca-file", type=_FILE, help="CA bundle for Prometheus; by default the system's.")
@click.option("--prometheus-header", "headers", multiple=True, help="Of each query, such as 'X-Scope-OrgID: team-a'.")
@click.option("--operator-url", help="URL of the operator's HTTP port, such as that of a port-forward.")
@click.option("--operator-namespace", help="Where to look for the operator's pod; by default everywhere.")
@click.option("--kubeconfig", help="Instead of KUBECONFIG, ~/.kube/config or the pod's service account.")
def doctor(
    output: str,
    prometheus_url: str | None,
    prometheus_token_file: Path | None,
    prometheus_ca_file: Path | None,
    headers: tuple[str, ...],
    **options: str | None,
) -> None:
    """Check everything that Penstock needs, and say how to mend what is wrong.

    API server, CRD, rights, operator, gateways, Prometheus, every needed series and its freshness, labels, nodes,
    services. It changes nothing. Exit code 1 if anything fails.
    """
    place = where(
        environment(),
        kubeconfig=options["kubeconfig"],
        namespace=None,
        operator_url=options["operator_url"],
        operator_namespace=options["operator_namespace"],
    )
    url = prometheus_url or ""
    access = Access(token_file=prometheus_token_file, ca_file=prometheus_ca_file, headers=_headers(headers))
    address = Address(url, access=access, given=bool(url))
    try:
        results = asyncio.run(_examine(place, address))
    except (ConfigurationError, AmbiguousError, SettingsError) as error:
        raise click.ClickException(printable(str(error))) from error
    counts = summary(results)
    if output == "json":
        found = [
            {"level": one.level.value, "check": one.check, "message": one.message, "fix": one.fix} for one in results
        ]
        click.echo(json.dumps({"results": found, "summary": counts}, indent=2))
    else:
        _print(results)
        click.echo(f"\n{counts['OK']} OK, {counts['WARN']} WARN, {counts['FAIL']} FAIL")
    sys.exit(1 if counts["FAIL"] else 0)


def _headers(texts: Sequence[str]) -> dict[str, str]:
    pairs = [text.partition(":") for text in texts]
    if wrong := [text for text, (name, colon, _) in zip(texts, pairs, strict=True) if not name.strip() or not colon]:
        raise click.BadParameter(f"{wrong[0]!r} is not 'Name: value'", param_hint="--prometheus-header")
    return {name.strip(): value.strip() for name, _, value in pairs}


async def _examine(place: Where, address: Address) -> list[Result]:
    async with connected(place) as cluster:
        return await Examination(cluster, address=address, env=environment()).run()


def _print(results: Sequence[Result]) -> None:
    for one in results:
        head = click.style(f"{one.level.value:<4}", fg=_COLOURS[one.level], bold=one.level is not Level.OK)
        first, *rest = _wrapped(one.message)
        click.echo(f"{head}  {one.check:<11} {first}")
        for line in rest + (_wrapped(f"fix: {one.fix}") if one.fix else []):
            click.echo(" " * _INDENT + line)


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(printable(text), _WIDTH - _INDENT, break_on_hyphens=False, break_long_words=False) or [""]


if __name__ == "__main__":
    doctor()
