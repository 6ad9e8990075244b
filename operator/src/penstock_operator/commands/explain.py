"""`penstock explain NAME`: what one service is doing and why, from the operator itself; without it, from its status."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import click

from penstock_contract import names
from penstock_operator.adapters.errors import ConfigurationError, KubeError
from penstock_operator.api import InferenceService, InvalidSpec
from penstock_operator.commands.cluster import Cluster, Page, Where, connected, environment, where
from penstock_operator.commands.errors import AmbiguousError
from penstock_operator.core import explain as words
from penstock_operator.core import naming
from penstock_operator.core.printable import printable
from penstock_operator.core.state import Facts, State, service_state
from penstock_operator.core.state.types import MetricsSourceState

Manifest = dict[str, Any]


@click.command()
@click.argument("name")
@click.option("-n", "--namespace", help="Namespace of the service; by default that of the kubeconfig's context.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("--operator-url", help="URL of the operator's HTTP port, such as that of a port-forward.")
@click.option("--operator-namespace", help="Where to look for the operator's pod; by default everywhere.")
@click.option("--kubeconfig", help="Instead of KUBECONFIG, ~/.kube/config or the pod's service account.")
def explain(name: str, namespace: str | None, output: str, **options: str | None) -> None:
    """Say what the InferenceService NAME is doing, and why.

    Live inputs with their ages, the arithmetic of its demand, what one replica more or less would mean, what holds it
    back, its objectives with their error budgets, and the last decisions.
    """
    if "/" in name and namespace is None:
        namespace, _, name = name.partition("/")
    place = where(
        environment(),
        kubeconfig=options["kubeconfig"],
        namespace=namespace,
        operator_url=options["operator_url"],
        operator_namespace=options["operator_namespace"],
    )
    try:
        answer = asyncio.run(_answer(name, place))
    except (ConfigurationError, KubeError, AmbiguousError) as error:
        raise click.ClickException(printable(str(error))) from error
    if output == "json":
        click.echo(json.dumps(answer, indent=2))
        return
    source = answer["metrics_source"]
    text = words.lines(
        answer["service"],
        source_detail="" if source["ok"] is not False else source["detail"],
        stale=answer["why_not_live"],
    )
    click.echo("\n".join(printable(line) for line in text))


async def _answer(name: str, place: Where) -> Manifest:
    """The service as the operator sees it, or what the API server alone tells.

    Raises:
        click.ClickException: there is no such service; says which there are.
        ConfigurationError: no cluster is configured.
        KubeError: the API server refused, and the operator does not answer either.
        AmbiguousError: it is not clear which pod is the operator.
    """
    async with connected(place) as cluster:
        key = f"{place.namespace}/{name}"
        page = await cluster.state(key)
        if page.state is not None and page.state["services"]:
            return {
                "source": page.source,
                "why_not_live": "",
                "at": page.state["at"],
                "metrics_source": page.state["metrics_source"],
                "service": await _with_messages(cluster, page.state["services"][0]),
            }
        raw = await cluster.kube.get(names.KIND, namespace=place.namespace, name=name)
        if raw is None:
            raise click.ClickException(await _unknown(cluster, name, place.namespace))
        return await _from_status(cluster, raw, page)


async def _with_messages(cluster: Cluster, shown: Manifest) -> Manifest:
    """The service with what a crashed worker printed, which the open page leaves out, where the caller may read it."""
    if all(one["reason"] != "WorkerCrashed" for one in shown["conditions"]):
        return shown
    try:
        raw = await cluster.kube.get(names.KIND, namespace=shown["namespace"], name=shown["name"])
    except KubeError:
        return shown
    return shown | {"conditions": _conditions(raw or {}) or shown["conditions"]}


def _conditions(raw: Manifest) -> list[Manifest]:
    """The conditions as they are written."""
    written = (raw.get("status") or {}).get("conditions") or []
    return [{name: str(one.get(name, "")) for name in ("type", "status", "reason", "message")} for one in written]


async def _unknown(cluster: Cluster, name: str, namespace: str) -> str:
    try:
        found = [item["metadata"] for item in await cluster.kube.list(names.KIND)]
    except KubeError as error:
        if error.status == 404:
            return f"the cluster does not know {names.PLURAL}.{names.GROUP}; install the chart, or apply crds/"
        raise
    here = sorted(item["name"] for item in found if item["namespace"] == namespace)
    elsewhere = sorted(f"{item['namespace']}/{item['name']}" for item in found if item["namespace"] != namespace)
    text = f"no InferenceService {name} in namespace {namespace}"
    if here:
        return f"{text}; there are {', '.join(here)}"
    if namesakes := [one.partition("/")[0] for one in elsewhere if one.partition("/")[2] == name]:
        return f"{text}; there is one in {', '.join(namesakes)}: give -n {namesakes[0]}"
    return f"{text}, nor any other there" + (f"; elsewhere there are {', '.join(elsewhere)}" if elsewhere else "")


async def _from_status(cluster: Cluster, raw: Manifest, page: Page) -> Manifest:
    """What resource, Deployment and pods tell: no live inputs, but counts, the last written decision, conditions."""
    metadata = raw["metadata"]
    try:
        service: InferenceService | None = InferenceService.parse(raw)
    except InvalidSpec:
        service = None
    child = naming.child_name(metadata["name"])
    now = datetime.now(UTC).timestamp()
    facts = Facts(
        raw=raw,
        service=service,
        deployment=await cluster.kube.get("Deployment", namespace=metadata["namespace"], name=child),
        pods=await cluster.pods(naming.selector_string(metadata["name"]), namespace=metadata["namespace"]),
        now=now,
    )
    state = State("", now, 0.0, MetricsSourceState(None, ""), (service_state(facts),)).to_json()
    shown = state["services"][0] | _written_decision(raw.get("status") or {}, now) | {"conditions": _conditions(raw)}
    for objective in shown["objectives"]:
        objective["why_unknown"] = "not known: the operator does not answer"
    tried = "; ".join(page.tried) or f"{page.source} does not know it yet"
    return {
        "source": "status",
        "why_not_live": f"The operator does not answer, so this is its last written status: {tried}",
        "at": now,
        "metrics_source": state["metrics_source"],
        "service": shown,
    }


def _written_decision(status: Manifest, now: float) -> Manifest:
    written = status.get("decision")
    if not written:
        return {}
    signals = [
        {
            "name": one["name"],
            "state": one["state"],
            "value": None,
            "age_seconds": now - _time(one["observedAt"]) if one.get("observedAt") else None,
            "detail": "as of the last written decision",
        }
        for one in written.get("signals") or []
    ]
    decision = {
        "at": _time(written["decidedAt"]),
        "replicas": status.get("desiredReplicas"),
        "act": None,
        "reason": written["reason"],
        "limited_by": written.get("limitedBy", "None"),
        "message": "",
    }
    return {"decision": decision, "signals": signals}


def _time(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


if __name__ == "__main__":
    explain()
