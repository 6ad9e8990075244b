"""From results to the page that people read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .result import Result
from .traffic import End

_HEAD = """# Faults and planned actions under load

What becomes of every request while replicas, gateways, the operator or parts of the control plane come and go.
Written by `make bench-faults`; the raw figures are in `out/bench-faults/result.json`.

A real kube-apiserver, controller manager, scheduler and Prometheus; operator and two gateways installed from the chart
with its defaults (but a tick of 2 s); workers run the real engine on an **emulated device** (40 ms a step, batch 16),
so times show behaviour, not speed. Load is open-loop and streamed, most of it 8 to 10 requests/s of about 32 tokens,
sent to the gateways in turn by a client that **never tries again**: what the gateways do not mend is counted as failed.

- *answered*: every token and `[DONE]` came. *refused*: 429 or 503 with an OpenAI error body and `Retry-After`.
- *failed, told*: an error body, or an error event in the stream. *failed, silent*: cut off without a word, or no end.
- *twice*: a second worker got the request after a first one had taken it and broke before the first byte, so both may
  have generated for it; read from the gateways' logs by `x-request-id`. No client ever gets two answers.
- *at workers*: requests that workers took in, from the last scrape of each; a scrape is a second, so a worker that is
  killed takes the last ones with it, and a connection that vanished counts.

"""


def page(results: Mapping[str, Result | str], *, machine: str) -> str:
    """The Markdown page.

    Args:
        results: by scenario; a text says why one could not be carried out.
        machine: on which it ran.
    """
    done = [result for result in results.values() if isinstance(result, Result)]
    parts = [_HEAD, f"Machine: {machine}.\n\n"]
    parts += ["## Planned actions: nothing may fail\n\n", _table([one for one in done if one.planned])]
    parts += [
        "\n## Faults: what may fail is bounded, and says so\n\n",
        _table([one for one in done if not one.planned]),
    ]
    found = problems(results)
    parts += ["\n## Verdict\n\n", "".join(f"- {one}\n" for one in found) or "Everything as promised.\n"]
    return "".join(parts)


def problems(results: Mapping[str, Result | str]) -> list[str]:
    """What contradicts the promises, a line each."""
    found = []
    for name, result in results.items():
        if isinstance(result, str):
            found.append(f"`{name}` could not be carried out: {result}")
        else:
            found += [f"`{name}`: {problem}" for problem in result.problems]
    return found


def line(result: Result) -> str:
    """Progress: the counts of one scenario."""
    counts = ", ".join(f"{result.count(end)} {end}" for end in End)
    return f"{len(result.answers)} sent: {counts}, {len(result.twice)} twice; {result.seen}"


def _table(results: Sequence[Result]) -> str:
    head = (
        "| | sent | answered | refused | failed, told | failed, silent | twice | at workers | TTFT p50 / p99 "
        "| longest gap | what was seen |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|\n"
    )
    return head + "".join(_row(result) for result in results)


def _row(result: Result) -> str:
    counts = " | ".join(f"{result.count(end):,}" for end in (End.ANSWERED, End.REFUSED, End.TOLD, End.SILENT))
    at_workers = "-" if result.at_workers is None else f"{result.at_workers:,}"
    return (
        f"| {result.title} | {len(result.answers):,} | {counts} | {len(result.twice)} | {at_workers} "
        f"| {_seconds(result.ttft(0.5))} / {_seconds(result.ttft(0.99))} | {_seconds(result.longest_gap)} "
        f"| {result.seen} |\n"
    )


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s" if value < 10 else f"{value:.0f} s"
