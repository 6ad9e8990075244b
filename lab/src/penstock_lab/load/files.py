"""What a load writes into its folder."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any, Final

import numpy as np

from penstock_lab.load.ledger import Ledger

_COLUMNS: Final = (
    "due_s", "sent_late_s", "ttft_s", "tpot_s", "longest_gap_s", "e2e_s", "prompt_tokens", "output_tokens", "end"
)  # fmt: skip
_ROWS: Final = 100_000


def write_json(data: dict[str, Any], path: Path) -> None:
    """Write JSON for people and programs."""
    path.write_text(json.dumps(data, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def write_requests(ledger: Ledger, path: Path) -> None:
    """Write a row per request, in order of due time; empty cells are what a request has not."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        for start in range(0, len(ledger.due), _ROWS):
            part = slice(start, start + _ROWS)
            figures = [
                [_cell(value) for value in values[part].tolist()]
                for values in (
                    ledger.due, ledger.lag_seconds, ledger.ttft, ledger.tpot, ledger.longest_gap, ledger.e2e
                )
            ]  # fmt: skip
            counts = ledger.prompt_tokens[part].tolist(), ledger.output_tokens[part].tolist()
            ends = [ledger.reasons[code] for code in ledger.code[part]]
            writer.writerows(zip(*figures, *counts, ends, strict=True))


def _cell(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.6f}"
