"""An installed chart's life, lived through once, and what was seen on the way.

Install the chart as it was, serve, upgrade to the chart as it is, then to rights in one namespace only, uninstall.
"""

import io
import subprocess
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from audit import Request, granted, requests_of
from chart_watch import Watch, watched
from penstock_contract.profile import Profile
from penstock_contract.step import StepModel
from penstock_lab import install as lab
from penstock_lab.cluster import LocalCluster
from penstock_lab.kubectl import kubectl, kubectl_json
from serving import Api
from waiting import eventually

TEAM = "team-a"
KEY = "a-key-of-the-test"
OLD_VALUES: dict[str, Any] = {
    "operator": {"tickSeconds": 1},
    "gateway": {"apiKeysSecretRef": {"name": "api-keys"}, "preStopSleepSeconds": 1, "drainSeconds": 5},
    "scrape": {"intervalSeconds": 1},
}
VALUES: dict[str, Any] = OLD_VALUES | {
    "prometheus": {"headers": {"X-Scope-OrgID": "anonymous"}},
    "alerts": {"configMap": True},
    "dashboard": {"enabled": True},
    "networkPolicy": {
        "enabled": True,
        "prometheusFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
        "workerNamespaces": [TEAM],
    },
}
# The chart before alerts, dashboard, fences, doctor and further credentials of Prometheus.
PREVIOUS = "331308746f9e2be47e798ed7890290c7f3517cc8"
SERVICE = {
    "apiVersion": "inference.penstock.dev/v1alpha1",
    "kind": "InferenceService",
    "metadata": {"name": "chat"},
    "spec": {
        "model": {"source": {"containerPath": "/models/tiny"}},
        "runtime": {"image": "penstock/worker:dev", "args": ["--emulate-device=/models/profile.json"]},
        "sla": {"objectives": [{"metric": "E2E", "percentile": 99, "thresholdMilliseconds": 60000}]},
        "scaling": {
            "minReplicas": 1,
            "maxReplicas": 2,
            "targets": {"tokensPerSecond": 150},
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 1}},
        },
    },
}
PROFILE = Profile(
    name="chart",
    model=StepModel(c0=0.005, cB=0.0, cKV=0.0, cP=0.0, cPP=0.0),
    kv_tokens=8192,
    max_num_seqs=4,
    max_num_batched_tokens=512,
    accelerators=1,
    startup_seconds=0.1,
    source="made up for the tests",
)


@dataclass(repr=False)
class Story:
    """What was seen.

    Attributes:
        pods: of the release, once it was installed.
        notes: what helm said then, by kind of installation.
        rules: granted to the ServiceAccounts while they had a ClusterRole.
        heard: requests of the ServiceAccounts while they had a ClusterRole.
        later: requests of the pods that started with a Role only.
        answers: HTTP answers, by what was asked.
        watch: what a Prometheus with the chart's configuration and rules makes of it.
        upgraded: uids of the worker's pods before and after the upgrade from the previous chart.
        examined: what `helm test` said.
        left: names of objects after the uninstallation, by kind.
    """

    pods: list[dict[str, Any]] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)
    rules: set[tuple[str, str, str, str]] = field(default_factory=set)
    heard: list[Request] = field(default_factory=list)
    later: list[Request] = field(default_factory=list)
    answers: dict[str, requests.Response] = field(default_factory=dict)
    watch: Watch | None = None
    upgraded: tuple[list[str], list[str]] | None = None
    examined: str = ""
    left: dict[str, list[str]] = field(default_factory=dict)


class _Life:
    """The installation and its service while the story goes on."""

    def __init__(self, cluster: LocalCluster, folder: Path) -> None:
        self.cluster, self.folder, self.seen = cluster, folder, Story()

        def run(*arguments: str, stdin: str | None = None) -> str:
            return kubectl(cluster, *arguments, stdin=stdin)

        self.api = Api(run, TEAM, kubeconfig=cluster.kubeconfig)
        for namespace in (lab.NAMESPACE, TEAM):
            lab.make_namespace(cluster, namespace)
        keys = f"--from-literal=keys={KEY}"
        kubectl(cluster, "create", "secret", "generic", "api-keys", "-n", lab.NAMESPACE, keys)

    def serve(self) -> list[str]:
        """Apply the service; uids of its pods once it is ready."""
        self.api.apply(SERVICE)
        self.api.wait("chat", "Ready", "True", "Ready", seconds=180)
        return sorted(pod["metadata"]["uid"] for pod in self.api.pods("chat"))

    def ask_gateway(self, release: lab.Release, *, key: str | None = KEY) -> requests.Response:
        return _complete(f"http://{release.address('gateway')}:8080/{TEAM}/chat/v1/completions", key=key)

    def ask_worker(self) -> requests.Response:
        address = self.api.ready_pods("chat")[0]["status"]["podIP"]
        return _complete(f"http://{address}:8000/v1/completions", key=None)

    def heard(self) -> list[Request]:
        return requests_of(self.cluster.audit_log, lab.NAMESPACE)

    def notes(self, release: lab.Release) -> str:
        return lab.helm(self.cluster, "get", "notes", release.name, "-n", release.namespace)

    def as_it_was(self) -> list[str] | None:
        """Serve with the previous chart; uids of the service's pods, None where the repository does not hold it."""
        chart = _previous(self.folder)
        if chart is None:
            return None
        values = OLD_VALUES | {"gateway": OLD_VALUES["gateway"] | {"replicas": 1}}
        lab.install(self.cluster, values=values, chart=chart)
        return self.serve()

    def as_it_is(self, before: list[str] | None) -> lab.Release:
        """Upgrade, ask, let Prometheus look on, scale to two and back."""
        seen, api = self.seen, self.api
        release = lab.install(self.cluster, values=VALUES)
        seen.pods = release.pods()
        seen.notes["all"] = self.notes(release)
        after = self.serve()
        seen.upgraded = (before, after) if before else None
        seen.answers["worker"] = self.ask_worker()
        seen.answers["gateway"] = self.ask_gateway(release)
        seen.answers["no key"] = self.ask_gateway(release, key=None)
        address = f"http://{release.address('gateway')}:8080/{TEAM}/chat/v1/completions"
        seen.watch = watched(self.cluster, self.folder, namespace=TEAM, serve=lambda: _complete(address, key=KEY))
        api.patch("infsvc", "chat", {"spec": {"scaling": {"minReplicas": 2}}})
        eventually(lambda: len(api.ready_pods("chat")) == 2, what="two replicas", seconds=180)
        api.patch("infsvc", "chat", {"spec": {"scaling": {"minReplicas": 1}}})
        eventually(lambda: len(api.pods("chat")) == 1, what="one has been drained and is gone", seconds=180)
        seen.rules = granted(kubectl_json(self.cluster, "get", "clusterroles"), release.name)
        seen.heard = self.heard()
        seen.examined = _examined(self.cluster, release)
        return release

    def in_one_namespace(self) -> lab.Release:
        """Upgrade to a Role only, and let a new template roll out."""
        api, before = self.api, {one.pod for one in self.heard()}
        fewer = VALUES["gateway"] | {"replicas": 1}
        release = lab.install(self.cluster, values=VALUES | {"watchNamespaces": [TEAM], "gateway": fewer})
        api.patch("infsvc", "chat", {"spec": {"runtime": {"env": [{"name": "LOG_LEVEL", "value": "debug"}]}}})
        generation = api.get("infsvc", "chat")["metadata"]["generation"]
        eventually(lambda: api.get("infsvc", "chat")["status"]["observedGeneration"] == generation, what="observed")
        api.wait("chat", "Progressing", "True", "Complete", seconds=180)
        self.seen.answers["gateway of one namespace"] = self.ask_gateway(release)
        self.seen.later = [one for one in self.heard() if one.pod not in before]
        self.seen.notes["one"] = self.notes(release)
        return release


def live(cluster: LocalCluster, folder: Path) -> Story:
    """All of it, on a cluster whose audit log is that of this installation alone; `folder` is for files."""
    life = _Life(cluster, folder)
    life.as_it_is(life.as_it_was())
    life.in_one_namespace().uninstall()
    life.seen.answers["after the uninstallation"] = life.ask_worker()
    life.seen.left = _left(cluster)
    return life.seen


def _previous(folder: Path) -> Path | None:
    """The chart as it was; None where the repository does not reach back so far."""
    archive = subprocess.run(
        ["git", "-C", str(lab.CHART.parents[1]), "archive", PREVIOUS, "charts/penstock"],
        capture_output=True,
        check=False,
    )
    if archive.returncode:
        return None
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(folder, filter="data")
    return folder / "charts" / "penstock"


def _examined(cluster: LocalCluster, release: lab.Release) -> str:
    """What helm says of its test; what the doctor said if it failed."""
    try:
        return lab.helm(cluster, "test", release.name, "-n", release.namespace, "--timeout=120s")
    except lab.InstallError as error:
        logs = [path.read_text() for path in cluster.pod_logs.glob(f"{release.namespace}_penstock-doctor_*.log")]
        raise AssertionError("\n".join([str(error), *logs])) from error


def _complete(url: str, *, key: str | None) -> requests.Response:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return requests.post(
        url, json={"model": "chat", "prompt": "Hello", "max_tokens": 8, "ignore_eos": True}, headers=headers, timeout=30
    )


def _left(cluster: LocalCluster) -> dict[str, list[str]]:
    kinds = (
        "deployments,pods,services,poddisruptionbudgets,configmaps,serviceaccounts,roles,rolebindings,networkpolicies"
    )
    found = kubectl_json(cluster, "get", kinds, "-n", lab.NAMESPACE)["items"]
    found += kubectl_json(cluster, "get", "roles,rolebindings,networkpolicies", "-n", TEAM)["items"]
    ours = "-l=app.kubernetes.io/part-of=penstock"
    found += kubectl_json(cluster, "get", "clusterroles,clusterrolebindings,crds", ours)["items"]
    names: dict[str, list[str]] = {}
    for item in found:
        if item["metadata"]["name"] not in ("kube-root-ca.crt", "default"):
            names.setdefault(item["kind"], []).append(item["metadata"]["name"])
    return names
