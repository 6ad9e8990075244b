"""A Prometheus with the scrape configuration and the rules of an installed chart and nothing else: what it sees."""

import json
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import yaml

from penstock_lab import install as lab
from penstock_lab.cluster import LocalCluster
from penstock_lab.kubectl import kubectl_json
from waiting import eventually

Ask = Callable[..., dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Watch:
    """What was seen.

    Attributes:
        scraped: samples by metric name, one name of every component.
        rules_health: how it finds the chart's rules, by name.
        alerts: that fire.
        burn: what it recorded of the budget's use.
        panels: number of series that it has for the dashboard, by panel.
    """

    scraped: dict[str, list[dict[str, str]]]
    rules_health: dict[str, str]
    alerts: set[str]
    burn: list[dict[str, Any]]
    panels: dict[str, int]


def watched(cluster: LocalCluster, folder: Path, *, namespace: str, serve: Callable[[], object]) -> Watch:
    """What it makes of the service `chat` while requests come: a rate is of what came between two scrapes."""
    burn = 'penstock:objective_burn:ratio_rate5m{metric="E2E"} >= 0'
    with prometheus(cluster, folder) as ask:

        def rules() -> list[dict[str, Any]]:
            return [rule for group in ask("rules")["groups"] for rule in group["rules"]]

        def burnt() -> list[dict[str, Any]]:
            serve()
            return list(ask("query", query=burn)["result"])

        seen = scraped(ask)
        used = eventually(burnt, what="the use of the budget is recorded", every=1.0)
        eventually(lambda: "unknown" not in {rule["health"] for rule in rules()}, what="every rule was evaluated")
        firing = [alert for alert in ask("alerts")["alerts"] if alert["state"] == "firing"]
        return Watch(
            scraped=seen,
            rules_health={rule["name"]: rule["health"] for rule in rules()},
            alerts={alert["labels"]["alertname"] for alert in firing},
            burn=used,
            panels=panels(cluster, ask, namespace),
        )


@contextmanager
def prometheus(cluster: LocalCluster, folder: Path) -> Iterator[Ask]:
    """A Prometheus that has nothing but what the chart's ConfigMaps say; yields a function that asks its API."""
    found = kubectl_json(cluster, "get", "configmap", "penstock-scrape-configs", "-n", lab.NAMESPACE)
    config = yaml.safe_load(found["data"]["penstock.yaml"])
    config |= {"global": {"evaluation_interval": "1s"}, "rule_files": [f"{folder}/alerts.yaml"]}
    rules = kubectl_json(cluster, "get", "configmap", "penstock-alerts", "-n", lab.NAMESPACE)
    (folder / "alerts.yaml").write_text(rules["data"]["penstock-alerts.yaml"])
    for job in config["scrape_configs"]:
        for discovery in job["kubernetes_sd_configs"]:
            discovery["kubeconfig_file"] = str(cluster.kubeconfig)  # it runs outside of the cluster
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [
        cluster.bin("prometheus"),
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]

    def ask(path: str, **parameters: str) -> dict[str, Any]:
        answer = requests.get(f"http://127.0.0.1:{port}/api/v1/{path}", params=parameters, timeout=30).json()
        assert answer["status"] == "success", f"{parameters}: {answer}"
        return answer["data"]

    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            yield ask
        finally:
            process.terminate()


def scraped(ask: Ask) -> dict[str, list[dict[str, str]]]:
    def series() -> dict[str, list[dict[str, str]]] | None:
        names = (
            "penstock_worker_requests_running",
            "penstock_operator_desired_replicas",
            "penstock_gateway_requests_held",
        )
        found = {name: [item["metric"] for item in ask("query", query=name)["result"]] for name in names}
        return found if all(found.values()) else None

    return eventually(series, what="all three are scraped")


def panels(cluster: LocalCluster, ask: Ask, namespace: str) -> dict[str, int]:
    """Number of series for each panel of the chart's dashboard."""
    found: dict[str, int] = {}
    configmap = kubectl_json(cluster, "get", "configmap", "penstock-dashboard", "-n", lab.NAMESPACE)
    for panel in json.loads(configmap["data"]["penstock.json"])["panels"]:
        for target in panel.get("targets", ()):
            text = target["expr"].replace("$__rate_interval", "30s")
            text = text.replace("$namespace", namespace).replace("$service", "chat")
            series = len(ask("query", query=text)["result"])
            found[panel["title"]] = found.get(panel["title"], 0) + series
    return found
