"""Penstock on real kubelets: install, serve, upgrade, scale, roll out, drain, run out of GPUs, uninstall.

The tests go one after the other over one cluster, in the order of this file. The test of the rights looks back on all
that was done before it; those after it take Penstock away, and install it once more as the page for newcomers says.
"""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from scripts.kind import images

import kind_monitoring
from audit import granted, requests_of
from kind_record import LAST
from kind_world import GATEWAY, MONITORING, SYSTEM, TEAM, World, objects
from pages import ROOT, Page
from waiting import eventually

pytestmark = [pytest.mark.kind, pytest.mark.timeout(7200)]

ACCOUNTS = {"penstock-operator", "penstock-gateway"}
# Granted, and not to be seen in an audit log: an admission plugin asks for it.
UNSEEN = {("penstock-operator", "inference.penstock.dev", "inferenceservices/finalizers", "update")}
BY_A_NEWCOMER = "needs a kubelet; tests/kind runs it"  # the marker of blocks
ASK = """
import json, sys, urllib.request
body = {"model": "chat", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 12, "ignore_eos": True}
request = urllib.request.Request(sys.argv[1] + "/v1/chat/completions", json.dumps(body).encode(),
                                 {"Content-Type": "application/json"})
print(urllib.request.urlopen(request, timeout=60).read().decode())
"""


def scale_to(world: World, least: int, most: int, *, tokens: int = 250) -> None:
    """Change the bounds, and wait until the smallest number is there and nothing moves."""
    scaling = {"minReplicas": least, "maxReplicas": most, "targets": {"tokensPerSecond": tokens}}
    world.api.patch("infsvc", "chat", {"spec": {"scaling": scaling}})
    eventually(
        lambda: len(world.api.ready_pods("chat")) == len(world.api.pods("chat")) == least,
        what=f"{least} replicas",
        seconds=180,
    )


def uids(world: World) -> set[str]:
    return {pod["metadata"]["uid"] for pod in world.api.pods("chat")}


@contextmanager
def budget(world: World) -> Iterator[list[tuple[int, int]]]:
    """Healthy and wanted replicas, as the PodDisruptionBudget's controller saw them at each change."""
    columns = "jsonpath={.status.currentHealthy} {.status.desiredHealthy}{'\\n'}"
    process: subprocess.Popen[str] = world.kind.begin("get", "pdb", "chat", f"-n={TEAM}", "--watch", f"-o={columns}")
    seen: list[tuple[int, int]] = []
    try:
        yield seen
    finally:
        process.terminate()
        printed, _ = process.communicate()
        for line in printed.splitlines():
            healthy, wanted = line.split()
            seen.append((int(healthy), int(wanted)))


def test_all_of_it_runs_under_restricted_pod_security(world: World) -> None:
    pods = json.loads(world.kind.kubectl("get", "pods", f"-n={SYSTEM}", "-o=json"))["items"]
    assert sorted(pod["metadata"]["labels"]["app.kubernetes.io/name"] for pod in pods) == [
        *["penstock-gateway"] * 2,
        "penstock-operator",
    ]
    for pod in pods:
        assert [status["restartCount"] for status in pod["status"]["containerStatuses"]] == [0]
    for namespace in (SYSTEM, TEAM):
        command = ("run", "loose", "--image=penstock/worker:dev", "--privileged", f"-n={namespace}", "--dry-run=server")
        with pytest.raises(Exception, match='violates PodSecurity "restricted'):
            world.kind.kubectl(*command)


def test_an_example_answers_from_inside_the_cluster(world: World) -> None:
    with world.record.phase("`kubectl apply -f examples/chat.yaml`, to Ready") as phase:
        world.kind.kubectl("apply", f"--namespace={TEAM}", "-f", str(ROOT / "examples" / "chat.yaml"))
        world.api.wait("chat", "Ready", "True", seconds=180)
        phase.seen = "image, GPU and model are there"
    with world.record.phase("chat completions from a pod") as phase:
        for url in (GATEWAY, f"http://chat.{TEAM}"):
            answer = json.loads(world.python(ASK, url))
            assert answer["usage"]["completion_tokens"] == 12
            assert answer["choices"][0]["message"]["content"]
        phase.seen = "through the gateways' Service, and from the worker's own"
    (pod,) = world.api.ready_pods("chat")
    assert pod["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert pod["spec"]["nodeName"] in world.kind.nodes()


def test_an_upgrade_under_load_loses_nothing_and_leaves_workers_alone(world: World) -> None:
    """To this chart and to images of another tag: all that comes after it is seen of them."""
    scale_to(world, 2, 2)
    before, was = uids(world), {pod["metadata"]["name"]: image(pod) for pod in system_pods(world)}
    version = images.version()
    values = (f"--set=operator.image.tag={version}", f"--set=gateway.image.tag={version}")
    more = ("--set=operator.tickSeconds=1", "--set=gateway.podAnnotations.upgraded=yes")
    chart = str(ROOT / "charts" / "penstock")
    kind = "from the version before, chart and images" if world.old else "of the same version, other values"
    with world.record.phase(f"`helm upgrade` {kind}") as phase:
        with world.load(5.0, seed=6) as load:
            load.more(10)
            world.kind.helm(
                *("upgrade", "penstock", chart, f"--namespace={SYSTEM}", "--reset-then-reuse-values"), *values, *more
            )
            for name in ("penstock-operator", "penstock-gateway"):
                world.kind.kubectl("rollout", "status", f"-n={SYSTEM}", f"deployment/{name}", "--timeout=240s")
            eventually(lambda: len(system_pods(world)) == 3, what="the old gateways have gone", seconds=240)
            load.more(20)
        phase.count(load)
        phase.seen = "operator and both gateways replaced; the workers are the same"
    assert load.not_answered == []
    assert uids(world) == before
    now = {pod["metadata"]["name"]: image(pod) for pod in system_pods(world)}
    assert not was.keys() & now.keys()
    assert {one.rpartition(":")[2] for one in now.values()} == {version}
    assert {one.rpartition(":")[2] for one in was.values()} == {images.PREVIOUS if world.old else version}
    world.gone.update(was)


def system_pods(world: World) -> list[Any]:
    return list(json.loads(world.kind.kubectl("get", "pods", f"-n={SYSTEM}", "-o=json"))["items"])


def image(pod: dict[str, Any]) -> str:
    return str(pod["spec"]["containers"][0]["image"])


def test_load_scales_up_and_down_and_loses_nothing(world: World) -> None:
    with world.record.phase("scale 1 → 3 → 1 by load") as phase:
        scale_to(world, 1, 3, tokens=80)
        with world.load(0.5, seed=1) as low:
            with world.load(7.0, seed=2) as burst:
                eventually(lambda: len(world.api.ready_pods("chat")) == 3, what="three replicas", seconds=180)
                nodes = {pod["spec"]["nodeName"] for pod in world.api.ready_pods("chat")}
                burst.more(30)
            eventually(lambda: len(world.api.pods("chat")) == 1, what="one replica again", seconds=600)  # reserve fades
            low.more(5)
        phase.count(low, burst)
        phase.seen = f"three replicas on {len(nodes)} nodes, and back"
    assert low.not_answered + burst.not_answered == []
    assert len(nodes) == 2, "two GPUs a node: a third replica is on the other one"
    reasons = {event["reason"] for event in world.api.items("events")}
    assert {"ScaledUp", "ScaledDown"} <= reasons


def test_a_rolling_update_under_load_loses_nothing(world: World) -> None:
    scale_to(world, 2, 2)
    before = uids(world)
    with world.record.phase("rolling update (`runtime.env`)") as phase:
        with world.load(5.0, seed=3) as load:
            load.more(10)
            world.api.patch("infsvc", "chat", {"spec": {"runtime": {"env": [{"name": "LOG_LEVEL", "value": "debug"}]}}})
            eventually(
                lambda: not before & uids(world) and len(world.api.ready_pods("chat")) == 2,
                what="both workers replaced",
                seconds=240,
            )
            load.more(20)
        phase.count(load)
        phase.seen = "both workers replaced"
    assert load.not_answered == []


def test_a_node_is_drained_within_the_budget_and_nothing_is_lost(world: World) -> None:
    first, second = world.kind.nodes()
    scale_to(world, 1, 1)
    world.kind.kubectl("cordon", first)
    world.kind.kubectl("delete", "pods", f"-n={TEAM}", "-l=inference.penstock.dev/service=chat")
    scale_to(world, 2, 2)
    world.kind.kubectl("uncordon", first)
    assert {pod["spec"]["nodeName"] for pod in world.api.ready_pods("chat")} == {second}
    with world.record.phase("`kubectl drain` of the node with both workers") as phase:
        with world.load(5.0, seed=4) as load, budget(world) as seen:
            load.more(10)
            options = ("--ignore-daemonsets", "--delete-emptydir-data", "--timeout=280s")
            world.kind.kubectl("drain", second, *options, seconds=300)
            eventually(lambda: len(world.api.ready_pods("chat")) == 2, what="two replicas again", seconds=180)
            load.more(20)
        phase.count(load)
        refused = [one for one in evictions(world) if one == 429]
        phase.seen = f"{len(refused)} evictions refused by the budget; at least {min(h for h, _ in seen)} of 2 ready"
    world.kind.kubectl("uncordon", second)
    assert load.not_answered == []
    assert refused, "the second worker was not protected while the first one's place was empty"
    assert all(healthy >= wanted for healthy, wanted in seen)
    assert {wanted for _, wanted in seen} == {1}
    assert {pod["spec"]["nodeName"] for pod in world.api.ready_pods("chat")} == {first}
    system = json.loads(world.kind.kubectl("get", "pods", f"-n={SYSTEM}", "-o=json"))["items"]
    assert {pod["spec"]["nodeName"] for pod in system} == {first}


def evictions(world: World) -> list[int]:
    """How the API server answered each eviction of a worker."""
    entries = (json.loads(line) for line in world.kind.audit_log.read_text().splitlines() if '"eviction"' in line)
    return [
        entry["responseStatus"]["code"]
        for entry in entries
        if entry["objectRef"].get("subresource") == "eviction" and entry["objectRef"].get("namespace") == TEAM
    ]


def test_one_replica_more_than_gpus_is_told(world: World) -> None:
    with world.record.phase("five replicas on four GPUs") as phase:
        with world.load(2.0, seed=5) as load:
            world.api.patch("infsvc", "chat", {"spec": {"scaling": {"minReplicas": 5, "maxReplicas": 5}}})
            eventually(lambda: len(world.api.ready_pods("chat")) == 4, what="four replicas", seconds=240)
            progress = world.api.wait("chat", "Progressing", "False", "Unschedulable", seconds=120)
            ready = world.api.wait("chat", "Ready", "True", "Unschedulable", seconds=60)
            load.more(5)
        phase.count(load)
        waiting = [pod for pod in world.api.pods("chat") if "nodeName" not in pod["spec"]]
        phase.seen = f"`Progressing=False ({progress['reason']})`, `Ready=True ({ready['reason']})`"
    assert load.not_answered == []
    assert "nvidia.com/gpu" in progress["message"]
    assert len(waiting) == 1
    scale_to(world, 2, 2)
    world.api.wait("chat", "Progressing", "True", "Complete", seconds=120)


def test_a_service_that_was_deleted_is_made_anew(world: World) -> None:
    """By this version: the one that was there was made by the version before."""
    with world.record.phase("the service deleted, and applied again, to Ready") as phase:
        world.kind.kubectl("delete", "infsvc", "chat", f"--namespace={TEAM}")
        eventually(lambda: world.api.pods("chat") == [], what="its workers are gone", seconds=180)
        world.kind.kubectl("apply", f"--namespace={TEAM}", "-f", str(ROOT / "examples" / "chat.yaml"))
        world.api.wait("chat", "Ready", "True", seconds=180)
        phase.seen = "its workers go with it, and come again"


def test_a_prometheus_of_the_prometheus_operator_will_do(world: World) -> None:
    """It scrapes by the chart's PodMonitors and takes the chart's rules; then it is the only one, and is scaled by."""
    if not world.operated:
        pytest.skip("the Prometheus Operator cannot be built on this machine")
    ask = kind_monitoring.Asked(world.python)
    with world.record.phase("by PodMonitors of the Prometheus Operator: scale 1 → 2 by load") as phase:
        values = ("podMonitor.enabled=true", "alerts.prometheusRule=true", f"prometheus.url={kind_monitoring.URL}")
        chart = str(ROOT / "charts" / "penstock")
        options = (f"--namespace={SYSTEM}", "--reset-then-reuse-values", *(f"--set={value}" for value in values))
        world.kind.helm("upgrade", "penstock", chart, *options)
        world.kind.kubectl("rollout", "status", f"-n={SYSTEM}", "deployment/penstock-operator", "--timeout=240s")
        samples = eventually(lambda: scraped(ask), what="all three are scraped", seconds=180)
        rules = eventually(lambda: evaluated(ask), what="every rule was evaluated", seconds=120)
        world.kind.kubectl("scale", f"-n={MONITORING}", "deployment/prometheus", "--replicas=0")
        scale_to(world, 1, 2, tokens=80)
        with world.load(6.0, seed=7) as load:
            eventually(lambda: len(world.api.ready_pods("chat")) == 2, what="two replicas", seconds=180)
            load.more(10)
        phase.count(load)
        phase.seen = f"workers, gateways, operator are scraped, {len(rules)} rules evaluated; the plain one is gone"
    assert load.not_answered == []
    for name, labels in samples:
        assert (labels["namespace"], labels["inferenceservice"]) == (TEAM, "chat"), name
        assert labels["pod"].startswith(("chat-", "penstock-")), name
        assert not [label for label in labels if label.startswith("exported_")], name
    assert {rule["name"]: rule["health"] for rule in rules if rule["health"] != "ok"} == {}
    assert {"PenstockOperatorDown", "PenstockObjectiveMissed"} <= {rule["name"] for rule in rules}


def scraped(ask: kind_monitoring.Asked) -> list[tuple[str, dict[str, str]]]:
    """Labels of what each component exports; nothing as long as one of them is missing."""
    names = ("penstock_worker_requests_running", "penstock_operator_desired_replicas", "penstock_gateway_requests_held")
    found = [[(name, item["metric"]) for item in ask(f"query?query={name}")["result"]] for name in names]
    return [sample for samples in found for sample in samples] if all(found) else []


def evaluated(ask: kind_monitoring.Asked) -> list[dict[str, Any]]:
    rules = [rule for group in ask("rules")["groups"] for rule in group["rules"]]
    return rules if rules and "unknown" not in {rule["health"] for rule in rules} else []


def test_helm_test_finds_all_that_the_operator_needs(world: World) -> None:
    with world.record.phase("`helm test`") as phase:
        said = world.kind.helm("test", "penstock", f"--namespace={SYSTEM}", "--timeout=120s")
        phase.seen = "`penstock doctor` from the operator's image"
    assert "Phase:          Succeeded" in said


def test_what_was_asked_of_the_api_server_is_what_the_chart_grants(world: World) -> None:
    roles = json.loads(world.kind.kubectl("get", "clusterroles", "-o=json"))
    rules = granted(roles, "penstock")
    heard = [one for one in requests_of(world.kind.audit_log, SYSTEM) if one.account in ACCOUNTS]
    heard = [one for one in heard if "doctor" not in one.pod]  # which asks what it may, as everybody may
    heard = [one for one in heard if one.pod not in world.gone]  # the roles are of this version
    used = {need for one in heard for need in one.needs}
    world.record.rights = len(rules)
    world.record.requests = {name: sum(one.account == name for one in heard) for name in sorted(ACCOUNTS)}
    assert sorted({one.refused for one in heard} - {""}) == []
    assert sorted(used - rules) == []
    assert sorted(rules - used) == sorted(UNSEEN)


def test_an_uninstallation_leaves_the_crd_and_what_is_served(world: World) -> None:
    with world.record.phase("`helm uninstall`") as phase:
        world.kind.helm("uninstall", "penstock", f"--namespace={SYSTEM}", "--wait", "--cascade=foreground")
        left = eventually(
            lambda: found if len(found := objects(world.kind) - world.before) == 2 else None,
            what="all but the CRD is gone",
            seconds=180,
        )
        answer = json.loads(world.python(ASK, f"http://chat.{TEAM}"))
        phase.seen = "the CRD is left, and the workers answer"
    assert {name.partition("/")[0] for name in left} == {
        "customresourcedefinition.apiextensions.k8s.io",
        "apiservice.apiregistration.k8s.io",  # the API server's own, for the CRD
    }
    assert answer["usage"]["completion_tokens"] == 12
    with world.record.phase("the CRD deleted, to the last worker gone") as phase:
        world.kind.kubectl("delete", "crd", "inferenceservices.inference.penstock.dev", "--wait=false")
        eventually(lambda: world.api.pods("chat") == [], what="no worker is left", seconds=180)
        phase.seen = "nothing is left that was not there before the installation"
    assert world.before >= objects(world.kind)


def test_a_newcomer_who_follows_the_page_gets_tokens(world: World, tmp_path: Path) -> None:
    """The blocks of docs/install.md that begin after `scripts.kind run bash`, in that shell, one after the other."""
    world.kind.kubectl("delete", "namespace", SYSTEM, "monitoring", "--timeout=120s")
    blocks = [block.text for block in Page(ROOT / "docs/install.md").commands if block.marker[1] == BY_A_NEWCOMER]
    script = tmp_path / "newcomer.sh"
    script.write_text("set -euo pipefail\n" + "".join(blocks).replace("port-forward.log", f"{tmp_path}/forward"))
    with world.record.phase(LAST) as phase:
        env = {"KUBECONFIG": str(world.kind.kubeconfig), "PATH": f"{world.kind.binaries['helm'].parent}:/usr/bin:/bin"}
        printed = world.kind.engine.run("env", *(f"{k}={v}" for k, v in env.items()), "bash", str(script), seconds=600)
        phase.seen = f"{len(blocks)} blocks of commands"
    answer = json.loads(next(line for line in printed.splitlines() if line.startswith('{"id"')))
    reason, tokens = answer["choices"][0]["finish_reason"], answer["usage"]["completion_tokens"]
    assert (reason, tokens) == ("length", 16) or (reason == "stop" and 1 <= tokens <= 16)  # the weights are random
