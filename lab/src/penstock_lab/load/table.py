"""A report as tables on a terminal; latencies in milliseconds, as the field's load generators print them."""

from __future__ import annotations

from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from penstock_lab.load.quantiles import PERCENTILES, name
from penstock_lab.load.text import printable

_LATENCIES: Final = {
    "ttft_seconds": "TTFT (ms)",
    "tpot_seconds": "TPOT (ms)",
    "itl_seconds": "ITL (ms)",
    "e2e_seconds": "E2E (ms)",
}
_RATES: Final = {
    "offered_requests_per_second": "Offered (requests/s)",
    "answered_requests_per_second": "Request throughput (requests/s)",
    "goodput_requests_per_second": "Goodput (requests/s)",
    "output_tokens_per_second": "Output token throughput (tokens/s)",
    "input_tokens_per_second": "Input token throughput (tokens/s)",
}
_COLUMNS: Final = ("mean", *(name(each) for each in PERCENTILES), "max")


def show(report: dict[str, Any], console: Console) -> None:
    """Print a report."""
    console.print(_latency(report["latency"]))
    console.print(_summary(report))
    for phase in report["phases"]:
        first = phase["ttft_seconds"]
        console.print(
            f"  {printable(phase['name'])}: {phase['answered']} of {phase['requests']} answered, "
            f"TTFT p50 {figure(first, 'p50')} ms, p99 {figure(first, 'p99')} ms",
            highlight=False,
            markup=False,
        )
    for reason, found in report["requests"]["failures"].items():
        console.print(printable(f"  {found['count']} {reason}: {found['example']}"), highlight=False, markup=False)
    for problem in report["problems"]:
        console.print(printable(f"NOT VALID: {problem}"), style="bold red", highlight=False, markup=False)


def _latency(latency: dict[str, Any]) -> Table:
    bounded = any(row["at_least"] for row in latency.values())
    caption = "≥: some requests were given up, and count with what they had waited by then" if bounded else None
    table = Table(title="Latency, from when each request was due", caption=caption)
    table.add_column("", no_wrap=True)
    for column in _COLUMNS:
        table.add_column(column, justify="right")
    for key, title in _LATENCIES.items():
        table.add_row(title, *(figure(latency[key], column) for column in _COLUMNS))
    return table


def _summary(report: dict[str, Any]) -> Table:
    table = Table(show_header=False)
    table.add_column("")
    table.add_column("", justify="right")
    requests = report["requests"]
    counts = " / ".join(f"{requests[key]:,}" for key in ("measured", "answered", "refused", "failed"))
    table.add_row("Requests / answered / refused / failed", counts)
    for key, title in _RATES.items():
        if (rate := report["rates"][key]) is not None:
            table.add_row(title, f"{rate:,.2f}")
    for metric, found in report["objectives"].items():
        within = "All objectives" if metric == "all" else f"{metric.upper()} ≤ {found['threshold_seconds'] * 1000:g} ms"
        table.add_row(f"{within}, attainment", attainment(found))
    sender = report["sender"]
    late = milliseconds(sender["lag_seconds"]["p99"]), milliseconds(sender["loop_lag_seconds"]["p99"])
    table.add_row("Generator: sent late / woke late, p99 (ms)", " / ".join(late))
    return table


def attainment(found: dict[str, Any]) -> str:
    """An attainment with its interval."""
    if found["attainment"] is None:
        return "-"
    return f"{found['attainment']:.2%} ({found['low']:.2%} to {found['high']:.2%})"


def milliseconds(seconds: float | None) -> str:
    """A duration for a table; "-" without one."""
    return "-" if seconds is None else f"{seconds * 1000:,.1f}"


def figure(row: dict[str, Any], key: str) -> str:
    """One figure of a latency in milliseconds, marked when it is a lower bound."""
    return ("≥" if key in row["at_least"] else "") + milliseconds(row[key])


def show_sweep(sweep: dict[str, Any], console: Console) -> None:
    """Print the steps of a sweep and its knee."""
    title = "Throughput and latency (ms) by offered rate"
    table = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    titles = ("req/s", "done/s", "good/s", "tok/s", "TTFT p50", "TTFT p99", "ITL p99", "met", "")
    for column in titles:
        table.add_column(column, justify="right", no_wrap=True)
    for step in sweep["steps"]:
        rates, latency, share = step["rates"], step["latency"], step["objectives"]["all"]["attainment"]
        table.add_row(
            f"{step['requests_per_second']:g}",
            f"{rates['answered_requests_per_second']:.1f}",
            f"{rates['goodput_requests_per_second']:.1f}",
            f"{rates['output_tokens_per_second']:,.0f}",
            figure(latency["ttft_seconds"], "p50"),
            figure(latency["ttft_seconds"], "p99"),
            figure(latency["itl_seconds"], "p99"),
            "-" if share is None else f"{share:.1%}",
            _standing(step),
        )
    console.print(table)
    console.print(f"Knee: {sweep['knee']['explanation']}", style="bold", highlight=False, markup=False)


def _standing(step: dict[str, Any]) -> str:
    if step["good"]:
        return "good"
    return "missed" if step["sender"]["kept_up"] and not step["meta"]["interrupted"] else "invalid"
