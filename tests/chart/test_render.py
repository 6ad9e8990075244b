"""What the chart renders. The golden files hold all of it but the CRD and the dashboard, which other tests compare with
their sources: PENSTOCK_GOLDEN=write writes them anew."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from chart import Helm, Manifest, Rendered
from penstock_gateway.settings import Settings as GatewaySettings
from penstock_lab.cluster import prometheus
from penstock_lab.install import CHART
from penstock_operator.adapters.prometheus import Access
from penstock_operator.api import crd
from penstock_operator.runtime.settings import Settings

Render = Callable[..., Rendered]
GOLDEN = Path(__file__).parent / "golden"
CI = sorted(path.name.removesuffix("-values.yaml") for path in (CHART / "ci").glob("*-values.yaml"))
READ_ONLY = {"get", "list", "watch"}
ELSEWHERE = ("kind: CustomResourceDefinition", "penstock.json: |")


def environment(render: Rendered, name: str) -> dict[str, str]:
    (container,) = render.one("Deployment", name)["spec"]["template"]["spec"]["containers"]
    return {item["name"]: item["value"] for item in container["env"] if "value" in item}


def rules(render: Rendered, kind: str, name: str) -> list[Any]:
    return [manifest["rules"] for manifest in render.kind(kind) if manifest["metadata"]["name"] == name]


@pytest.mark.parametrize("ci", CI)
def test_golden(render: Render, ci: str) -> None:
    documents = render(ci=ci).text.split("\n---\n")
    text = "\n---\n".join(part for part in documents if not any(mark in part for mark in ELSEWHERE))
    path = GOLDEN / f"{ci}.yaml"
    if os.environ.get("PENSTOCK_GOLDEN") == "write":
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("ci", CI)
def test_lint(helm: Helm, ci: str) -> None:
    done = helm("lint", "--strict", str(CHART), f"--values={CHART}/ci/{ci}-values.yaml", "--kube-version=1.36.3")
    assert done.returncode == 0, done.stdout


def test_the_images_that_the_chart_is_listed_with_are_those_that_it_runs(render: Render) -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    listed = {one["name"]: one["image"] for one in yaml.safe_load(chart["annotations"]["artifacthub.io/images"])}
    run = {
        name: render().one("Deployment", f"penstock-{name}")["spec"]["template"]["spec"]["containers"][0]["image"]
        for name in ("operator", "gateway")
    }
    assert listed == run | {"worker": f"penstock/worker:{chart['appVersion']}"}


def test_one_kind_per_template_file() -> None:
    for path in (CHART / "templates").glob("*.yaml"):
        kinds = set(re.findall(r"^kind: (\w+)", path.read_text(), re.MULTILINE))
        assert len(kinds) == 1 or path.name == "crds.yaml", f"{path.name}: {kinds}"


class TestCrd:
    def test_the_copy_in_the_chart_is_that_of_the_models(self) -> None:
        copy, source = CHART / "files" / crd.FILE_NAME, CHART.parents[1] / "crds" / crd.FILE_NAME
        assert copy.read_text() == source.read_text() == crd.render(), "run `make generate`"

    def test_the_rendered_one_differs_in_its_metadata_alone(self, render: Render) -> None:
        (rendered,) = render().kind("CustomResourceDefinition")
        source = yaml.safe_load((CHART.parents[1] / "crds" / crd.FILE_NAME).read_text())
        metadata = rendered.pop("metadata")
        assert metadata["name"] == source.pop("metadata")["name"]
        assert metadata["annotations"] == {"helm.sh/resource-policy": "keep"}
        assert rendered == source

    def test_keep_and_install_are_choices(self, render: Render) -> None:
        (rendered,) = render({"crds": {"keep": False}}).kind("CustomResourceDefinition")
        assert "annotations" not in rendered["metadata"]
        assert render({"crds": {"install": False}}).kind("CustomResourceDefinition") == []


class TestRights:
    def test_no_wildcard_and_no_secret(self, render: Render) -> None:
        for ci in CI:
            for manifest in render(ci=ci).manifests:
                for rule in manifest.get("rules", ()):
                    words = {*rule["apiGroups"], *rule["resources"], *rule["verbs"]}
                    assert not {word for word in words if "*" in word or "secret" in word}, manifest["metadata"]["name"]

    @pytest.mark.parametrize("name", ["penstock-operator", "penstock-gateway"])
    def test_namespaced_roles_grant_what_the_cluster_role_grants(self, render: Render, name: str) -> None:
        whole, parts = render(), render({"watchNamespaces": ["team-a", "team-b"]})
        assert rules(whole, "Role", name) == rules(parts, "ClusterRole", name) == []
        assert rules(parts, "Role", name) == rules(whole, "ClusterRole", name) * 3
        bound = [
            item["metadata"]["namespace"] for item in parts.kind("RoleBinding") if item["metadata"]["name"] == name
        ]
        assert bound == ["team-a", "team-b", "penstock-system"], "the operator looks for gateways beside itself"

    def test_the_own_namespace_may_be_served_and_is_not_named_twice(self, render: Render) -> None:
        rendered = render({"watchNamespaces": ["penstock-system", "team-a"]})
        assert environment(rendered, "penstock-operator")["PENSTOCK_NAMESPACES"] == "penstock-system,team-a"
        assert len(rules(rendered, "Role", "penstock-operator")) == 2

    def test_nothing_of_the_whole_cluster_is_needed(self, render: Render) -> None:
        values = {"crds": {"install": False}, "rbac": {"aggregateRoles": False}, "watchNamespaces": ["team-a"]}
        assert [item["kind"] for item in render(values).manifests if "namespace" not in item["metadata"]] == []

    def test_viewers_read_only(self, render: Render) -> None:
        (view,) = rules(render(), "ClusterRole", "penstock-view")
        assert {verb for rule in view for verb in rule["verbs"]} == READ_ONLY


class TestOperator:
    def test_it_reads_what_the_chart_writes(self, render: Render) -> None:
        """Names and bounds of the variables, by the operator's own code."""
        settings = Settings.from_environment(environment(render(ci="full"), "llm-operator"))
        assert settings == Settings(
            prometheus_url="https://prometheus.example:9090/path",
            namespaces=("team-a", "penstock-system"),
            prometheus_access=Access(
                token_file=Path("/etc/penstock/prometheus-token/token"),
                ca_file=Path("/etc/penstock/prometheus-ca/ca.crt"),
                headers={"X-Scope-OrgID": "team-a"},
            ),
            tick_seconds=2.5,
            resync_seconds=60,
            workers=32,
            default_images={
                **Settings("").default_images,
                "Penstock": "registry.example/penstock/worker:1",
                "VLLM": "registry.example/vllm:1",
            },
        )

    def test_the_defaults_are_the_operators(self, render: Render) -> None:
        settings = Settings.from_environment(environment(render(), "penstock-operator"))
        assert settings == Settings(prometheus_url="http://prometheus.monitoring:9090")

    def test_a_password_is_two_files(self, render: Render) -> None:
        settings = Settings.from_environment(environment(render(ci="namespaced"), "penstock-operator"))
        folder = Path("/etc/penstock/prometheus-basic")
        assert settings.prometheus_access == Access(
            username_file=folder / "username", password_file=folder / "password"
        )

    def test_there_is_never_a_second_one(self, render: Render) -> None:
        spec = render().one("Deployment", "penstock-operator")["spec"]
        assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})


class TestGateway:
    def test_it_reads_what_the_chart_writes(self, render: Render) -> None:
        settings = GatewaySettings.from_environment(environment(render(ci="full"), "llm-gateway"))
        assert settings == GatewaySettings(
            namespaces=("team-a", "penstock-system"),
            api_keys_file=Path("/etc/penstock/api-keys/keys"),
            drain_seconds=600,
            held_bodies_bytes=512 << 20,
            paced=False,
        )

    def test_the_defaults_are_the_gateways(self, render: Render) -> None:
        rendered = render()
        assert GatewaySettings.from_environment(environment(rendered, "penstock-gateway")) == GatewaySettings()
        (container,) = rendered.one("Deployment", "penstock-gateway")["spec"]["template"]["spec"]["containers"]
        ports = {item["name"]: item["containerPort"] for item in container["ports"]}
        assert ports == {"http": GatewaySettings().port, "admin": GatewaySettings().admin_port}

    def test_it_has_the_time_that_its_drain_takes(self, render: Render) -> None:
        pod = render(ci="full").one("Deployment", "llm-gateway")["spec"]["template"]["spec"]
        assert pod["terminationGracePeriodSeconds"] > 600 + 15

    def test_its_budget_lets_nodes_drain(self, render: Render) -> None:
        (budget,) = render({"gateway": {"replicas": 1}}).kind("PodDisruptionBudget")
        assert "minAvailable" not in budget["spec"]
        assert budget["spec"]["maxUnavailable"] == 1


@pytest.mark.parametrize("component", ["operator", "gateway"])
def test_pods_carry_the_labels_that_others_select(render: Render, component: str) -> None:
    deployment = render().one("Deployment", f"penstock-{component}")["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    assert labels["app.kubernetes.io/part-of"] == "penstock"
    assert labels["app.kubernetes.io/name"] == f"penstock-{component}"
    assert deployment["selector"]["matchLabels"].items() <= labels.items()


@pytest.mark.parametrize(
    ("ci", "kind", "name"),
    [
        ("full", "Deployment", "llm-operator"),
        ("full", "Deployment", "llm-gateway"),
        ("full", "Pod", "llm-doctor"),
        ("namespaced", "Deployment", "penstock-operator"),
        ("namespaced", "Pod", "penstock-doctor"),
    ],
)
def test_files_are_mounted_where_the_variables_say(render: Render, ci: str, kind: str, name: str) -> None:
    spec = render(ci=ci).one(kind, name)["spec"]
    pod = spec["template"]["spec"] if kind == "Deployment" else spec
    (container,) = pod["containers"]
    mounts = {item["name"]: item["mountPath"] for item in container["volumeMounts"]}
    files = {
        f"{mounts[volume['name']]}/{item['path']}"
        for volume in pod["volumes"]
        for source in ("secret", "configMap")
        for item in volume.get(source, {}).get("items", ())
    }
    assert files == {item["value"] for item in container["env"] if item["name"].endswith("_FILE")}


class TestDoctor:
    def test_it_asks_as_the_operator_does(self, render: Render) -> None:
        for ci, release in (("full", "llm"), ("namespaced", "penstock")):
            pod = render(ci=ci).one("Pod", f"{release}-doctor")
            deployed = render(ci=ci).one("Deployment", f"{release}-operator")["spec"]["template"]["spec"]
            asked, told = pod["spec"]["containers"][0], deployed["containers"][0]
            assert pod["spec"]["serviceAccountName"] == deployed["serviceAccountName"]
            assert pod["spec"]["volumes"] == deployed["volumes"]
            for name in ("image", "volumeMounts", "securityContext"):
                assert asked[name] == told[name]
            of_prometheus = [item for item in told["env"] if "PROMETHEUS" in item["name"]]
            assert [item for item in asked["env"] if "PROMETHEUS" in item["name"]] == of_prometheus
            assert deployed["securityContext"] == pod["spec"]["securityContext"]

    def test_nobody_takes_it_for_the_operator(self, render: Render) -> None:
        labels = render().one("Pod", "penstock-doctor")["metadata"]["labels"]
        assert labels["app.kubernetes.io/name"] == "penstock-doctor"


class TestScraping:
    def jobs(self, rendered: Rendered) -> dict[str, Manifest]:
        (config,) = [
            item for item in rendered.kind("ConfigMap") if item["metadata"]["name"].endswith("-scrape-configs")
        ]
        return {job["job_name"]: job for job in yaml.safe_load(config["data"]["penstock.yaml"])["scrape_configs"]}

    def test_workers_are_labelled_as_on_the_local_cluster(self, render: Render) -> None:
        text = prometheus.configuration(kubeconfig=Path("k"), scrape_interval_seconds=1)
        (local,) = [job for job in yaml.safe_load(text)["scrape_configs"] if job["job_name"] == prometheus.JOB]
        job = self.jobs(render())[prometheus.JOB]
        assert job["relabel_configs"] == local["relabel_configs"]
        assert job["honor_labels"] is local["honor_labels"] is False
        (ours,), (theirs,) = job["kubernetes_sd_configs"], local["kubernetes_sd_configs"]
        assert ours["selectors"] == theirs["selectors"]

    def test_only_the_namespaces_that_are_served(self, render: Render) -> None:
        (found,) = self.jobs(render(ci="namespaced"))[prometheus.JOB]["kubernetes_sd_configs"]
        assert found["namespaces"] == {"names": ["team-a", "team-b"]}

    def test_labels_that_gateway_and_operator_set_are_not_renamed(self, render: Render) -> None:
        jobs = self.jobs(render())
        assert set(jobs) == {"penstock-worker", "penstock-operator", "penstock-gateway"}
        for name in ("penstock-operator", "penstock-gateway"):
            targets = {rule.get("target_label") for rule in jobs[name]["relabel_configs"]}
            assert targets - {None} == {"pod"}

    @pytest.mark.parametrize("value", ["podMonitor.enabled", "alerts.prometheusRule"])
    def test_kinds_of_the_prometheus_operator_need_it(self, helm: Helm, value: str) -> None:
        done = helm(
            *("template", str(CHART), "--kube-version=1.36.3", f"--set={value}=true"), "--set=prometheus.url=http://p"
        )
        assert done.returncode != 0
        assert f"{value} is true" in done.stderr
        assert "monitoring.coreos.com/v1" in done.stderr
