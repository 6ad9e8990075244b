"""BurstGPT: `Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type`, and with further columns.

Source: HPMLL/BurstGPT (CC-BY 4.0, arXiv 2401.17644). Timestamps are seconds. A request without an answer (`Response
tokens` 0) failed there and is left out: nothing tells how long its answer would have been.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from penstock_lab.traces.request import TraceRequest
from penstock_lab.traces.table import rows

COLUMNS: Final = ("timestamp", "request tokens", "response tokens")


def read(path: Path) -> Iterator[TraceRequest]:
    """Requests that were answered.

    Raises:
        TraceError: a row is not what the format says.
    """
    for row in rows(path, COLUMNS):
        if row.number("response tokens") > 0:
            yield TraceRequest(
                row.number("timestamp"),
                row.tokens("request tokens"),
                row.tokens("response tokens"),
                model=row.text("model") or None,
            )
