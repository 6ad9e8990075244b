"""What is taken away from the metrics, when, and how.

Prometheus is stopped and started with its data. A scrape target is lost by pointing its address at a port where nobody
listens, as when a network policy or a dead exporter hides a pod that serves on: the pod stays a target, and is down.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from penstock_lab.cluster.local import LocalCluster
from penstock_lab.cluster.prometheus import JOB

_NOWHERE = "127.0.0.1:9"


@dataclass(frozen=True, slots=True)
class Fault:
    """One of them.

    Attributes:
        name: for people.
        begin: seconds from the start of the load.
        end: when it is mended.
        kind: `prometheus`, `one` target of each service, or `all` targets.
    """

    name: str
    begin: float
    end: float
    kind: str


def schedule(unit: float) -> tuple[Fault, ...]:
    """Three faults, each with a pause behind it.

    Args:
        unit: seconds; the last fault ends after 40 of them.
    """
    return (
        Fault("Prometheus stopped", 4 * unit, 17 * unit, "prometheus"),
        Fault("one target lost", 22 * unit, 30 * unit, "one"),
        Fault("all targets lost", 34 * unit, 40 * unit, "all"),
    )


async def commit(
    faults: Sequence[Fault],
    cluster: LocalCluster,
    *,
    victims: Callable[[], Sequence[str]],
    say: Callable[[str], None],
) -> None:
    """Carry the faults out, each at its time from now.

    Args:
        faults: in order of time.
        cluster: whose Prometheus.
        victims: names of the pods whose targets are lost when it is one of each.
        say: called with a line per fault.
    """
    loop = asyncio.get_running_loop()
    start = loop.time()
    for fault in faults:
        await asyncio.sleep(max(0.0, start + fault.begin - loop.time()))
        say(f"{fault.begin:.0f} s: {fault.name}")
        names = victims() if fault.kind == "one" else ()
        await asyncio.to_thread(_begin, cluster, fault.kind, names)
        await asyncio.sleep(max(0.0, start + fault.end - loop.time()))
        await asyncio.to_thread(_mend, cluster, fault.kind)
        say(f"{fault.end:.0f} s: mended")


def _begin(cluster: LocalCluster, kind: str, victims: Sequence[str]) -> None:
    if kind == "prometheus":
        cluster.stop("prometheus")
    else:
        _hide(cluster, "|".join(victims) if kind == "one" else ".+")


def _mend(cluster: LocalCluster, kind: str) -> None:
    if kind == "prometheus":
        cluster.start("prometheus")
    else:
        _hide(cluster, None)


def _hide(cluster: LocalCluster, pods: str | None) -> None:
    """Point the targets of some pods nowhere, or all of them back, and have the configuration read again."""
    path = Path(cluster.state_dir) / "prometheus.yml"
    config: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    for job in config["scrape_configs"]:
        if job["job_name"] != JOB:
            continue
        rules = [rule for rule in job["relabel_configs"] if rule.get("replacement") != _NOWHERE]
        if pods is not None:
            source = ["__meta_kubernetes_pod_name"]
            rules.append(
                {"source_labels": source, "regex": pods, "target_label": "__address__", "replacement": _NOWHERE}
            )
        job["relabel_configs"] = rules
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    running = {item["name"]: item["pid"] for item in cluster.status()["components"]}
    os.kill(running["prometheus"], signal.SIGHUP)
