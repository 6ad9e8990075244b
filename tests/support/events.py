"""Server-sent events of an OpenAI stream, for servers that tests write."""

from __future__ import annotations

import json
from typing import Any


def event(data: Any) -> bytes:
    """One event of a JSON value, or of bytes as they are."""
    return b"data: " + (data if isinstance(data, bytes) else json.dumps(data).encode()) + b"\n\n"


def text(word: str = "a", **more: Any) -> dict[str, Any]:
    """A chunk of a completion."""
    return {"choices": [{"index": 0, "text": word, "finish_reason": None, **more}]}


DONE = event(b"[DONE]")
