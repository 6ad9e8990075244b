"""The scrape configuration of a cluster's Prometheus.

Targets are found through the API server, one per worker pod. The labels `namespace`, `inferenceservice` and `pod` come
from relabelling alone (`honor_labels: false`), so no exporter can speak for another service. There is no filter on
Ready: a worker that still loads its model must be a target already, or its first seconds would be missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import yaml

from penstock_contract import names

if TYPE_CHECKING:
    from pathlib import Path

JOB: Final = "penstock-worker"
GATEWAY_JOB: Final = "penstock-gateway"
HTTP_PORT_NAME: Final = "http"


def configuration(*, kubeconfig: Path, scrape_interval_seconds: float) -> str:
    """Prometheus' configuration file as YAML."""
    interval = f"{round(scrape_interval_seconds * 1000)}ms"
    worker: dict[str, Any] = {
        "job_name": JOB,
        "honor_labels": False,
        "kubernetes_sd_configs": [
            {
                "role": "pod",
                "kubeconfig_file": str(kubeconfig),
                "selectors": [{"role": "pod", "label": names.SERVICE}],
            }
        ],
        "relabel_configs": _worker_rules(),
    }
    return yaml.safe_dump(
        {
            "global": {
                "scrape_interval": interval,
                "scrape_timeout": interval,
                "evaluation_interval": interval,
            },
            "scrape_configs": [worker, _gateway(kubeconfig)],
        },
        sort_keys=False,
    )


def _gateway(kubeconfig: Path) -> dict[str, Any]:
    """The job of the gateways. They speak for several services, so namespace and service are labels of their own."""
    selector = f"{names.LABEL_NAME}={names.GATEWAY_NAME}"
    port = "__meta_kubernetes_pod_container_port_number"
    return {
        "job_name": GATEWAY_JOB,
        "honor_labels": False,
        "kubernetes_sd_configs": [
            {
                "role": "pod",
                "kubeconfig_file": str(kubeconfig),
                "selectors": [{"role": "pod", "label": selector}],
            }
        ],
        "relabel_configs": [
            {"source_labels": [port], "action": "keep", "regex": str(names.GATEWAY_ADMIN_PORT)},
            {"source_labels": ["__meta_kubernetes_pod_name"], "target_label": names.LABEL_POD},
        ],
    }


def _worker_rules() -> list[dict[str, Any]]:
    service = f"__meta_kubernetes_pod_label_{_sanitised(names.SERVICE)}"
    return [
        {"source_labels": [service], "action": "keep", "regex": ".+"},
        {
            "source_labels": ["__meta_kubernetes_pod_container_port_name"],
            "action": "keep",
            "regex": HTTP_PORT_NAME,
        },
        {"source_labels": ["__meta_kubernetes_pod_phase"], "action": "drop", "regex": "Succeeded|Failed"},
        {
            "source_labels": ["__meta_kubernetes_pod_annotation_prometheus_io_path"],
            "regex": "(.+)",
            "target_label": "__metrics_path__",
        },
        {"source_labels": ["__meta_kubernetes_namespace"], "target_label": names.LABEL_NAMESPACE},
        {"source_labels": [service], "target_label": names.LABEL_SERVICE},
        {"source_labels": ["__meta_kubernetes_pod_name"], "target_label": names.LABEL_POD},
    ]


def _sanitised(label: str) -> str:
    """A Kubernetes label as Prometheus spells it in meta labels."""
    return "".join(character if character.isalnum() else "_" for character in label)
