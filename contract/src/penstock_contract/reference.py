"""The reference page of the metrics, made from the tables.

`python -m penstock_contract.reference` writes `docs/reference/metrics.md`; with `--check` it only compares.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from penstock_contract.metrics import GATEWAY, LATENCY_BUCKETS, OPERATOR, VLLM, WORKER, Metric

PAGE: Final = Path(__file__).resolve().parents[3] / "docs" / "reference" / "metrics.md"
_HEAD: Final = """\
# Metrics

<!-- Made from penstock_contract.metrics by `make generate`; edits to this file are lost. -->

Seconds everywhere. `namespace`, `inferenceservice` and `pod` are added to the worker's series by target relabelling
(`honor_labels: false`): no exporter speaks for another service. All latency histograms have the same buckets (s):
"""
_PARTS: Final = (
    ("Worker", "Counters are cumulative and start at 0.", WORKER),
    ("Worker, vLLM's names", "The same values under the names that dashboards and routers know.", VLLM),
    ("Gateway", "Speaks for several services, so it sets the labels itself.", GATEWAY),
    ("Operator", "`desired_replicas` may be acted on by KEDA or an HPA; set `scaling.mode: Advise` then.", OPERATOR),
)


def render() -> str:
    """The page as Markdown."""
    buckets = ", ".join(f"{bound:g}" for bound in LATENCY_BUCKETS)
    return f"{_HEAD}{buckets}.\n" + "".join(_part(title, text, table) for title, text, table in _PARTS)


def _part(title: str, text: str, table: Iterable[Metric]) -> str:
    rows = "".join(
        f"| `{metric.name}` | {metric.kind} | {', '.join(metric.labels) or '-'} | {metric.help} |\n" for metric in table
    )
    return f"\n## {title}\n\n{text}\n\n| Name | Kind | Labels | Meaning |\n|---|---|---|---|\n{rows}"


def main(arguments: Sequence[str]) -> int:
    """Write or compare the page; returns the exit code."""
    if "--check" in arguments:
        if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == render():
            return 0
        sys.stderr.write(f"{PAGE} does not agree with penstock_contract.metrics; run `make generate`\n")
        return 1
    PAGE.write_text(render(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
