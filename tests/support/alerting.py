"""A Prometheus of a test's own that scrapes what it is told to and judges it by the chart's alerts."""

import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
import yaml

from penstock_lab.cluster import LocalCluster
from penstock_lab.cluster.catalog import KUBERNETES
from penstock_lab.install import CHART, helm
from waiting import eventually


class Alerts:
    """What it judged."""

    def __init__(self, url: str) -> None:
        self._url = url

    def firing(self) -> set[tuple[str, str]]:
        """Alerts that fire, each with the pod or the namespace it speaks of."""
        found = requests.get(f"{self._url}/api/v1/alerts", timeout=30).json()["data"]["alerts"]
        return {
            (labels["alertname"], labels.get("pod") or labels.get("namespace", ""))
            for labels in (alert["labels"] for alert in found if alert["state"] == "firing")
        }


def rules(cluster: LocalCluster, *, pending: str) -> dict[str, Any]:
    """`spec` of the chart's PrometheusRule, whose alerts fire after `pending` already."""
    rendered = helm(
        *(cluster, "template", "penstock", str(CHART), f"--values={CHART}/ci/minimal-values.yaml"),
        *(
            "--set=alerts.prometheusRule=true",
            f"--kube-version={KUBERNETES}",
            "--api-versions=monitoring.coreos.com/v1",
        ),
    )
    (rule,) = [item for item in yaml.safe_load_all(rendered) if item and item["kind"] == "PrometheusRule"]
    for group in rule["spec"]["groups"]:
        for one in group["rules"]:
            if "for" in one:
                one["for"] = pending
    return dict(rule["spec"])


@contextmanager
def alerting(cluster: LocalCluster, targets: Mapping[str, str], folder: Path) -> Iterator[Alerts]:
    """The Prometheus.

    Args:
        cluster: has its program, and the chart's helm.
        targets: `host:port` of operators, by the label `pod` that their samples get.
        folder: for its files.
    """
    jobs = {
        "job_name": "penstock-operator",
        "scrape_interval": "500ms",
        "scrape_timeout": "500ms",
        "static_configs": [{"targets": [address], "labels": {"pod": pod}} for pod, address in targets.items()],
    }
    config = {"global": {"evaluation_interval": "500ms"}, "scrape_configs": [jobs], "rule_files": ["rules.yml"]}
    (folder / "rules.yml").write_text(yaml.safe_dump(rules(cluster, pending="1s")))
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    command = [
        str(cluster.bin("prometheus")),
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address={address}",
        "--log.level=warn",
    ]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            eventually(lambda: requests.get(f"http://{address}/-/ready", timeout=10).ok, what="Prometheus is ready")
            yield Alerts(f"http://{address}")
        finally:
            process.terminate()
