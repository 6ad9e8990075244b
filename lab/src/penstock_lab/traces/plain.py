"""CSV of our own: `arrival_s,prompt_tokens,output_tokens` or `timestamp,prompt_tokens,output_tokens`.

`arrival_s` counts from the start of the trace; `timestamp` is a date or seconds, and the first one is the start.
Optional columns: `hash_ids` (separated by spaces, a block of 512 tokens each), `model`, `client`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from penstock_lab.traces.azure import seconds
from penstock_lab.traces.errors import TraceError
from penstock_lab.traces.request import TraceRequest
from penstock_lab.traces.table import Row, rows

ARRIVAL: Final = "arrival_s"
TIMESTAMP: Final = "timestamp"
COLUMNS: Final = ("prompt_tokens", "output_tokens")


def read_arrivals(path: Path) -> Iterator[TraceRequest]:
    """Requests of a file with `arrival_s`.

    Raises:
        TraceError: a row is not what the format says.
    """
    for row in rows(path, (ARRIVAL, *COLUMNS)):
        yield _request(row, row.number(ARRIVAL))


def read_timestamps(path: Path) -> Iterator[TraceRequest]:
    """Requests of a file with `timestamp`.

    Raises:
        TraceError: a row is not what the format says.
    """
    for row in rows(path, (TIMESTAMP, *COLUMNS)):
        text = row.text(TIMESTAMP)
        dated = "-" in text[1:] and ":" in text
        yield _request(row, seconds(row, TIMESTAMP) if dated else row.number(TIMESTAMP))


def _request(row: Row, arrival: float) -> TraceRequest:
    try:
        ids = tuple(int(each) for each in row.text("hash_ids").split())
    except ValueError as error:
        raise TraceError(f"{row.path}:{row.line}: hash_ids must be whole numbers: {error}") from error
    return TraceRequest(
        arrival,
        row.tokens("prompt_tokens"),
        row.tokens("output_tokens"),
        hash_ids=ids,
        model=row.text("model") or None,
        client=row.text("client") or None,
    )
