"""The last words of a run on the terminal: what happened in plain words, and, when it stays up, what to type next."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from penstock_lab.demo.scenario import NAMESPACE, PROFILE, SERVICE
from penstock_lab.demo.stage import how_to_end, own_folder
from penstock_lab.demo.story import verdicts
from penstock_lab.demo.summary import Result


def summary(result: Result, *, written: Sequence[Path]) -> list[str]:
    """Lines for a newcomer: decisions, what clients saw, verdicts, cost, files."""
    data = result.to_json()
    lines = ["", "What it decided, and why"]
    for change in result.record.changes:
        when = datetime.fromtimestamp(change.at, UTC).strftime("%H:%M:%S")
        lines.append(f"  {result.at(change):6.1f} s  {when}  {change.sentence}")
    lines += ["", f"What the clients saw (EMULATED device {PROFILE.name}: shapes count, not rates)"]
    lines += [_phase(name, figures) for name, figures in data["phases"].items()]
    lines += ["", "Verdict"]
    lines += [f"  {_mark(verdict.good)} {verdict.text}" for verdict in verdicts(result)]
    lines.append(f"    {result.pace.sentence()}" if result.pace else "    The pace of the emulation is not known.")
    hours, spent = result.accelerator_hours, data["cost"]
    money = f", {result.currency} {spent:.2f} at the example's price" if result.price else ""
    lines.append(f"    {hours:.3f} GPU-hours{money}; {result.peak} replicas at most.")
    if silent := result.record.silent_seconds:
        lines.append(
            f"    The operator did not answer for {silent:.0f} s; the replicas it told of last count for them."
        )
    lines += ["", "Written"]
    lines += [f"  {_relative(path)}" for path in written]
    lines += ["", "DEMO FAILED" if result.problems() else "DEMO PASSED: scaled up and down, no request failed"]
    return lines


def next_steps(*, name: str, gateway: str, operator: str) -> list[str]:
    """Commands for a cluster that was kept, each to be typed as it stands.

    Args:
        name: of the cluster.
        gateway: base URL of the service at one gateway.
        operator: base URL of the operator.
    """
    folder = own_folder()
    body = f'{{"model": "{SERVICE}", "prompt": "The gate", "max_tokens": 8}}'
    return [
        "",
        f"Everything is left running as cluster {name}. What to type next:",
        f"  export KUBECONFIG=$({folder}/penstock cluster kubeconfig --name {name})",
        f"  {folder}/kubectl get infsvc -n {NAMESPACE} -o wide",
        f"  {folder}/penstock explain {SERVICE} -n {NAMESPACE}",
        f"  curl {gateway}/v1/completions -d '{body}'",
        f"In a browser the same, live, for every service: {operator}/",
        "To end it:",
        f"  {how_to_end(name)}",
    ]


def _phase(name: str, figures: dict[str, float | None]) -> str:
    ttft = f"TTFT p50 {_seconds(figures['ttft_p50_seconds'])}, p99 {_seconds(figures['ttft_p99_seconds'])}"
    tpot = f"TPOT p99 {_seconds(figures['tpot_p99_seconds'])}"
    return f"  {name:12} {figures['sent']:4} sent, {figures['failed']} failed; {ttft}; {tpot}"


def _seconds(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f} s"


def _mark(good: bool | None) -> str:
    return {True: "+", False: "-", None: " "}[good]


def _relative(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
