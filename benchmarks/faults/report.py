"""From results to the page that people read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .traffic import End

Row = dict[str, Any]

_HEAD = """# Faults and planned actions under load

What becomes of every request while replicas, gateways, the operator or parts of the control plane come and go.
Written by `make bench-faults` (all of it, or some rows again with `BENCH_ARGS=--only=scale,zero`); the raw figures
are in `out/bench-faults/result.json`.

A real kube-apiserver, controller manager, scheduler and Prometheus; operator and two gateways installed from the chart
with its defaults (but a tick of 2 s); workers run the real engine on an **emulated device** (40 ms a step, batch 16),
so times show behaviour, not speed. Load is open-loop and streamed, most of it 8 to 10 requests/s of about 32 tokens,
sent to the gateways in turn by a client that **never tries again**: what the gateways do not mend is counted as failed.

- *answered*: every token and `[DONE]` came. *refused*: 429 or 503 with an OpenAI error body and `Retry-After`.
- *failed, told*: an error body, or an error event in the stream. *failed, silent*: cut off without a word, or no end
  (nobody else can say it when the gateway itself is killed; a client sees a refused or broken connection).
- *twice*: a second worker got the request after a first one had taken it and broke before the first byte, so both may
  have generated for it; read from the gateways' logs by `x-request-id`. No client ever gets two answers.
- *at workers*: requests that workers took in, from the last scrape of each; a scrape is a second, so a worker that is
  killed takes the last ones with it, and a connection that vanished counts.

"""

_TAIL = """
## How to read it

- A worker that is killed takes its unfinished streams with it; the gateway ends each with an error event. Requests
  that it had taken and not begun to answer go to another worker: those are the ones counted *twice*.
- A worker that hangs gets nothing new once its pod is not ready or two health checks went unanswered. What waited for a
  first byte then moves on; streams that had begun are given 20 s more before they are ended with an error event. Its
  liveness probe has the container restarted.
- A gateway that is killed takes its connections with it. A stream that was cut is never taken for whole: its chunked
  body has no end, which HTTP clients report. The client is not sent there again once the pod is not ready, here within
  half a second, in a cluster as soon as kubelet and Service proxy know. It may ask again what had no answer yet.
- A node dies here as a process of its own: a further node agent with its pods, all killed, or all stopped, in the same
  moment. The rest is the control plane's: no heartbeat for 20 s makes the node not ready, pods tolerate that for 10 s
  (300 s by default elsewhere), then they are replaced. Killed pods refuse connections, stopped ones only keep silent;
  of the latter the kernel still completes handshakes, which a machine without power would not. What had begun there is
  ended with an error event, at once or after the time that a silent worker is given.
- After a SIGKILL the next operator asks Prometheus for the past windows, runs them through the same policy, and so has
  the memory of the one that died; marks tell it up to when that one knew all of the window. While little is known, for
  half a minute, it leaves drains as they are, unless the replicas that still serve are too few for the load it sees.
  Afterwards a count that is held unmarks what drains, and the drain begins anew; the row and the verdict would say it.
  The load of that row is small. With one near what a replica carries, estimates just after a restart ask for the
  replicas: in 6 of 9 runs the drain was called back and begun anew, with no request lost. That is open.
- While Prometheus is gone the operator asks the workers themselves and goes on scaling
  ([why](../adr/0011-workers-stand-in.md)). The load of that row is steady and had been seen for some 12 s. Taken away
  4 s after the first request of a new service, while answers were taken for longer than they are, it had the operator
  go from 2 to 4 replicas and back.
- A storm is refused with 429 beyond what workers and `routing.maxHeldRequests` (300 here, in each gateway) take.

## Not covered

More than one machine, so no lost packets and no partition of which both sides live on; a node that dies with an
operator or a gateway on it (each dies alone above); only our own engine (others drain by their preStop hook); streams
longer than `drain.timeoutSeconds` or `gateway.drainSeconds`, which are cut by design. Duplicates are an upper bound
from the gateways' logs, no count of tokens generated in vain.
"""


def page(rows: Mapping[str, Row], *, machine: str) -> str:
    """The Markdown page.

    Args:
        rows: raw results by scenario; one with only an `error` could not be carried out.
        machine: on which it ran.
    """
    done = [row for row in rows.values() if "error" not in row]
    parts = [_HEAD, f"Machine: {machine}.\n\n"]
    parts += ["## Planned actions: nothing may fail\n\n", _table([row for row in done if row["planned"]])]
    parts += ["\n## Faults: what may fail is bounded, and says so\n\n"]
    parts += [_table([row for row in done if not row["planned"]]), "\n## Verdict\n\n"]
    parts.append("".join(f"- {one}\n" for one in problems(rows)) or "Everything as promised.\n")
    parts.append(_TAIL)
    return "".join(parts)


def problems(rows: Mapping[str, Row]) -> list[str]:
    """What contradicts the promises, a line each."""
    found = []
    for name, row in rows.items():
        if "error" in row:
            found.append(f"`{name}` could not be carried out: {row['error']}")
        else:
            found += [f"`{name}`: {problem}" for problem in row["problems"]]
    return found


def line(row: Row) -> str:
    """Progress: the counts of one scenario."""
    counts = ", ".join(f"{row[end.name.lower()]} {end}" for end in End)
    return f"{row['sent']} sent: {counts}; {len(row['twice'])} twice; {row['seen']}"


def _table(rows: Sequence[Row]) -> str:
    head = (
        "| | sent | answered | refused | failed, told | failed, silent | twice | at workers | TTFT p50 / p99 "
        "| longest gap | what was seen |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|\n"
    )
    return head + "".join(_row(row) for row in rows)


def _row(row: Row) -> str:
    counts = " | ".join(f"{row[end.name.lower()]:,}" for end in End)
    at_workers = "-" if row["requests_at_workers"] is None else f"{row['requests_at_workers']:,}"
    return (
        f"| {row['title']} | {row['sent']:,} | {counts} | {len(row['twice'])} | {at_workers} "
        f"| {_seconds(row['ttft_p50_seconds'])} / {_seconds(row['ttft_p99_seconds'])} "
        f"| {_seconds(row['longest_gap_seconds'])} | {row['seen']} |\n"
    )


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s" if value < 10 else f"{value:.0f} s"
