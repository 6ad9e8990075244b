"""From the raw result to the table that people read, and to what is not as it should be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Run = dict[str, Any]


def problems(result: dict[str, Any]) -> list[str]:
    """What contradicts the promises: a resource not adopted, or a write at rest."""
    found = []
    for run in result["runs"]:
        size = f"{run['size']:,} resources"
        if any(run["lacking"].values()):
            found.append(f"{size}: not all adopted, lacking {run['lacking']}")
        if run["pods"]:
            found.append(f"{size}: {run['pods']} pods, although nothing asks for one")
        for span, part in (
            ("steady", run["steady"]["operator"]),
            ("restart", run["restart"]),
            ("resync", run["resync"]),
        ):
            if part["writes"]:
                found.append(f"{size}: {part['writes']} writes in the {span} span: {part['requests']}")
    return found


def table(result: dict[str, Any]) -> str:
    """A Markdown table, one column per size."""
    runs = result["runs"]
    head = "| | " + " | ".join(f"{run['size']:,} resources" for run in runs) + " |\n"
    rule = "|---|" + "---|" * len(runs) + "\n"
    rows = [f"| {label} | " + " | ".join(show(run) for run in runs) + " |" for label, show in _ROWS]
    return head + rule + "\n".join(rows) + "\n"


def _percent(run: Run, name: str) -> str:
    return f"{run['steady']['cpu']['percent_of_a_core'][name]:.2f} %"


def _memory(run: Run, name: str) -> str:
    return f"{run['steady'][name]['rss_mib']:.0f} MiB"


def _share(run: Run) -> str:
    cpu = run["adoption"]["to_adopted"]
    seconds, spent = cpu["seconds"], cpu["cpu_seconds"]
    names = ("kube-apiserver", "etcd", "kube-controller-manager", "operator", "watcher", "benchmark", "others")
    return ", ".join(f"{name} {spent[name] / seconds:.2f}" for name in names)


def _per_resource(run: Run) -> str:
    return f"{run['adoption']['writes']:,} ({run['adoption']['writes'] / run['size']:.1f} each)"


def _ms(part: dict[str, float], *names: str) -> str:
    return " / ".join(f"{1000 * part[name]:.0f}" for name in names) + " ms"


def _scrape(run: Run) -> str:
    scrape = run["steady"]["scrape"]
    return f"{scrape['series']:,} series, {scrape['bytes'] / 1e6:.1f} MB, {scrape['cpu_seconds']:.2f} s of CPU"


_ROWS: tuple[tuple[str, Callable[[Run], str]], ...] = (
    ("start → ready (first full list)", lambda run: f"{run['adoption']['start_to_ready_seconds']:.1f} s"),
    ("**start → all adopted**", lambda run: f"**{run['adoption']['start_to_adopted_seconds']:.1f} s**"),
    ("start → last write (counts handed over)", lambda run: f"{run['adoption']['start_to_settled_seconds']:.1f} s"),
    ("cores busy until adopted", _share),
    ("writes until settled", _per_resource),
    ("time of a write in the API server, p50 / p99", lambda run: _ms(run["adoption"]["server_seconds"], "p50", "p99")),
    ("**steady CPU, of a core: operator**", lambda run: f"**{_percent(run, 'operator')}**"),
    ("steady CPU: bare watcher", lambda run: _percent(run, "watcher")),
    ("steady CPU: API server", lambda run: _percent(run, "kube-apiserver")),
    ("… before the operator started", lambda run: f"{run['baseline']['percent_of_a_core']['kube-apiserver']:.2f} %"),
    ("steady CPU: Prometheus", lambda run: _percent(run, "prometheus")),
    ("CPU of the machine that was not ours meanwhile", lambda run: _percent(run, "others")),
    ("**RSS: operator**", lambda run: f"**{_memory(run, 'operator')}**"),
    ("RSS: operator at its highest", lambda run: f"{run['steady']['operator']['peak_rss_mib']:.0f} MiB"),
    ("RSS: bare watcher", lambda run: _memory(run, "watcher")),
    ("**writes in the steady span**", lambda run: f"**{run['steady']['operator']['writes']}**"),
    ("**writes in a restart**", lambda run: f"**{run['restart']['writes']}**"),
    ("**writes in a full resync**", lambda run: f"**{run['resync']['writes']}**"),
    ("restart → ready", lambda run: f"{run['restart']['start_to_ready_seconds']:.1f} s"),
    ("CPU of a restart", lambda run: f"{run['restart']['operator_cpu_seconds_beyond_steady']:.1f} s"),
    ("CPU of a full resync", lambda run: f"{run['resync']['operator_cpu_seconds_beyond_steady']:.1f} s"),
    ("tick, mean", lambda run: _ms(run["steady"]["tick_seconds"], "mean")),
    ("tick, p50 / p99 at most (bucket bounds)", lambda run: _ms(run["steady"]["tick_seconds"], "p50", "p99")),
    ("event-loop lag, p50 / p99 / max", lambda run: _ms(run["steady"]["loop_lag_seconds"], "p50", "p99", "max")),
    ("one scrape of /metrics", _scrape),
    ("bare watcher: start → all seen", lambda run: f"{run['watcher']['seconds_to_see_all']:.1f} s"),
)
