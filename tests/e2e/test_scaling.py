"""Scaling on a real control plane, real Prometheus and real workers with an emulated device."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from penstock_lab.cluster import LocalCluster
from penstock_lab.kube import Kube
from penstock_lab.load import client
from penstock_lab.load.outcome import Outcome
from penstock_lab.load.schedule import Lengths, Phase, plan
from penstock_lab.load.targets import ReadyPods
from penstock_lab.operator import OperatorProcess
from serving import Api, Chat
from waiting import always, eventually

LENGTHS = Lengths(prompt=(16, 32), output=(24, 40))


async def load(cluster: LocalCluster, namespace: str, rate: float, seconds: float) -> list[Outcome]:
    planned = plan([Phase("load", seconds, rate)], LENGTHS, vocabulary=512, seed=1)
    async with (
        Kube.from_kubeconfig(cluster.kubeconfig) as kube,
        ReadyPods(kube, namespace=namespace, service="chat") as pods,
    ):
        return await client.run(planned, pick=pods.pick, model="chat")


async def in_thread(function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
    return await asyncio.to_thread(function, *arguments, **keywords)


def replicas(api: Api) -> int:
    return int(api.get("deployment", "chat")["spec"]["replicas"])


def scaling_events(api: Api) -> list[str]:
    events = [item for item in api.items("events") if item["reason"] in ("ScaledUp", "ScaledDown")]
    events.sort(key=lambda item: item["firstTimestamp"])
    return [item["message"] for item in events]


def demand(operator: OperatorProcess, api: Api) -> float:
    """Tokens per second that the operator takes for asked for."""
    series = f'penstock_operator_demand_tokens_per_second{{inferenceservice="chat",namespace="{api.namespace}"}} '
    found = [line for line in operator.metrics().splitlines() if line.startswith(series)]
    return float(found[0].rsplit(" ", 1)[1]) if found else 0.0


async def test_three_times_the_capacity_offered_gives_three_times_the_replicas_in_one_decision(
    api: Api, chat: Chat, cluster: LocalCluster
) -> None:
    """Served tokens saturate at what one replica can do (200/s); only the offered load can ask for three."""
    scaling = chat()["spec"]["scaling"]
    api.apply(chat(scaling=scaling | {"mode": "Advise"}))
    await in_thread(api.wait, "chat", "Ready", "True")
    traffic = asyncio.create_task(load(cluster, api.namespace, rate=19.0, seconds=25.0))
    await in_thread(
        eventually,
        lambda: api.get("infsvc", "chat")["status"]["desiredReplicas"] >= 4,
        what="the advice is four replicas",
    )
    assert await in_thread(replicas, api) == 1, "Advise changes nothing"
    await in_thread(api.patch, "infsvc", "chat", {"spec": {"scaling": {"mode": "Auto"}}})
    await in_thread(eventually, lambda: replicas(api) > 1, what="scaled up")
    outcomes = await traffic
    first = scaling_events(api)[0]
    assert int(first.split()[2]) >= 3, first
    assert first.startswith("1 -> ")
    assert [outcome.error for outcome in outcomes if outcome.error] == []
    await in_thread(eventually, lambda: replicas(api) == 1, what="scaled down again", seconds=180)
    assert "LessLoad" in scaling_events(api)[-1]


async def test_without_prometheus_the_workers_are_asked_and_scaling_goes_on(
    api: Api, chat: Chat, cluster: LocalCluster, operator: OperatorProcess
) -> None:
    """Prometheus is stopped under load: up when more is asked for, down when less is, and no request is lost."""
    behavior = {"scaleDown": {"stabilizationWindowSeconds": 6}}
    api.apply(chat(scaling=chat()["spec"]["scaling"] | {"behavior": behavior}))
    await in_thread(api.wait, "chat", "ScalingActive", "True", "SignalsFresh")
    quiet = asyncio.create_task(load(cluster, api.namespace, rate=3.0, seconds=25.0))
    await in_thread(eventually, lambda: demand(operator, api) > 50, what="Prometheus tells of the load")
    await in_thread(cluster.stop, "prometheus")
    try:
        found = await in_thread(api.wait, "chat", "ScalingActive", "True", "SignalsFromPods")
        assert f"Prometheus at {cluster.prometheus_url} cannot be reached" in found["message"]
        burst = await load(cluster, api.namespace, rate=12.0, seconds=10.0)
        assert scaling_events(api), "more replicas under the burst"
        assert scaling_events(api)[0].startswith("1 -> ")
        outcomes = await quiet + burst
        await in_thread(eventually, lambda: replicas(api) == 1, what="fewer after it", seconds=180)
        assert api.condition("chat", "ScalingActive")["reason"] == "SignalsFromPods", "still without Prometheus"
    finally:
        await in_thread(cluster.start, "prometheus")
    assert [outcome.error for outcome in outcomes if outcome.error] == []
    await in_thread(api.wait, "chat", "ScalingActive", "True", "SignalsFresh")
    told = {item["reason"]: item["type"] for item in api.items("events")}
    assert (told["SignalsFromPods"], told["SignalsFresh"]) == ("Warning", "Normal")


@pytest.mark.parametrize("count", [0, 2, 8])
def test_created_at_its_minimum(api: Api, chat: Chat, cluster: LocalCluster, count: int) -> None:
    """The hand-over of `spec.replicas` never passes through another count."""
    del cluster
    runtime = chat()["spec"]["runtime"] | {"accelerator": {"count": 0}, "image": "test/python:1"}
    api.apply(chat(runtime=runtime, scaling={"minReplicas": count, "maxReplicas": 8}))

    def handed_over() -> bool:
        shown = api.run("get", "deployment", "chat", "-n", api.namespace, "-o", "json", "--show-managed-fields")
        entries = json.loads(shown)["metadata"]["managedFields"]
        owners = {e["manager"] for e in entries if "f:replicas" in e["fieldsV1"].get("f:spec", {})}
        return owners == {"penstock-autoscaler"}

    eventually(handed_over, what="the autoscaler alone owns replicas")
    assert replicas(api) == count
    steps = [item["message"] for item in api.items("events") if item["reason"] == "ScalingReplicaSet"]
    assert [text.rsplit(" ", 1)[1] for text in steps] == ([str(count)] if count else []), "the count never changed"


def test_the_count_survives_both_ways_between_fixed_and_scaled(api: Api, chat: Chat) -> None:
    runtime = chat()["spec"]["runtime"] | {"accelerator": {"count": 0}, "image": "test/python:1"}
    api.apply(chat(runtime=runtime, scaling=None, replicas=8))
    eventually(lambda: replicas(api) == 8, what="eight")
    seen = []

    def settled(reason: str) -> Callable[[], bool]:
        def probe() -> bool:
            seen.append(replicas(api))
            return bool(api.condition("chat", "ScalingActive").get("reason") == reason)

        return probe

    scaling = {"minReplicas": 1, "maxReplicas": 8}
    api.patch("infsvc", "chat", {"spec": {"replicas": None, "scaling": scaling}})
    eventually(settled("SignalsAbsent"), what="scaled", every=0.2)
    api.patch("infsvc", "chat", {"spec": {"replicas": 8, "scaling": None}})
    eventually(settled("ManualReplicas"), what="fixed", every=0.2)
    always(lambda: replicas(api) == 8, what="still eight", seconds=3)
    assert set(seen) == {8}


def test_a_restart_of_the_operator_never_shrinks(api: Api, chat: Chat, operator: OperatorProcess) -> None:
    scaling = chat()["spec"]["scaling"] | {
        "minReplicas": 3,
        "behavior": {"scaleDown": {"stabilizationWindowSeconds": 20}},
    }
    api.apply(chat(scaling=scaling))
    eventually(lambda: len(api.ready_pods("chat")) == 3, what="three replicas")
    operator.stop(kill=True)
    api.patch("infsvc", "chat", {"spec": {"scaling": {"minReplicas": 1}}})
    operator.start()
    api.wait("chat", "ScalingActive", "True", "SignalsFresh")
    always(lambda: replicas(api) == 3, what="what was right before the edit does not count", seconds=10)
    eventually(lambda: replicas(api) == 1, what="the window has passed")
