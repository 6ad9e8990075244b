"""Mooncake's traces: a JSON object per line with `timestamp` (ms), `input_length`, `output_length`, `hash_ids`.

Source: kvcache-ai/Mooncake (Apache-2.0; FAST 2025). A hash id stands for a block of 512 prompt tokens.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from penstock_lab.traces.errors import TraceError
from penstock_lab.traces.request import TraceRequest
from penstock_lab.traces.table import open_text

FIELDS: Final = ("timestamp", "input_length", "output_length")


def read(path: Path) -> Iterator[TraceRequest]:
    """Requests with their prefix blocks.

    Raises:
        TraceError: a line is not what the format says.
    """
    with open_text(path) as file:
        try:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield _request(path, number, line)
        except (UnicodeDecodeError, EOFError) as error:
            raise TraceError(f"{path}: not a text file: {error}") from error


def _request(path: Path, number: int, line: str) -> TraceRequest:
    try:
        data: Any = json.loads(line)
    except ValueError as error:
        raise TraceError(f"{path}:{number}: not JSON: {error}") from error
    if not isinstance(data, dict):
        raise TraceError(f"{path}:{number}: must be a JSON object, got {type(data).__name__}")
    for field in FIELDS:
        value = data.get(field)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**53:
            raise TraceError(f"{path}:{number}: {field} must be a number from 0 on, got {value!r}")
    ids = data.get("hash_ids") or []
    if not isinstance(ids, list) or not all(isinstance(each, int) for each in ids):
        raise TraceError(f"{path}:{number}: hash_ids must be a list of whole numbers, got {ids!r}")
    prompt, output = (max(1, int(data[field])) for field in FIELDS[1:])
    return TraceRequest(data["timestamp"] / 1000, prompt, output, hash_ids=tuple(ids))
