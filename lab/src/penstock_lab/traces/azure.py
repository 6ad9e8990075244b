"""Azure's LLM inference traces of 2023 and 2024: `TIMESTAMP,ContextTokens,GeneratedTokens`.

Source: Azure/AzurePublicDataset (CC-BY 4.0; Splitwise, ISCA 2024; DynamoLLM, HPCA 2025). Timestamps are UTC dates
with up to seven decimals, with an offset (2024) or without one (2023).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from penstock_lab.traces.errors import TraceError
from penstock_lab.traces.request import TraceRequest
from penstock_lab.traces.table import Row, rows

COLUMNS: Final = ("timestamp", "contexttokens", "generatedtokens")


def read(path: Path) -> Iterator[TraceRequest]:
    """Requests with the seconds of their date.

    Raises:
        TraceError: a row is not what the format says.
    """
    for row in rows(path, COLUMNS):
        yield TraceRequest(seconds(row, "timestamp"), row.tokens("contexttokens"), row.tokens("generatedtokens"))


def seconds(row: Row, column: str) -> float:
    """A date as Unix seconds, to the microsecond.

    Raises:
        TraceError: it is no date.
    """
    text = row.text(column)
    head, dot, tail = text.partition(".")
    digits = tail[: len(tail) - len(tail.lstrip("0123456789"))]
    try:
        found = datetime.fromisoformat(head + dot + digits[:6].ljust(6, "0") + tail[len(digits) :] if dot else text)
    except ValueError as error:
        raise TraceError(f"{row.path}:{row.line}: {column} must be a date or seconds, got {text!r}") from error
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
