"""What others wrote, made fit for a terminal: a name or an error body may hold sequences that drive it."""

from __future__ import annotations

from typing import Final

_CONTROLS: Final = {
    code: f"\\x{code:02x}" for code in (*range(0x20), 0x7F, *range(0x80, 0xA0)) if chr(code) not in "\n\t"
}


def printable(text: str) -> str:
    """The text with its control characters (C0, DEL and C1; lines and tabs stay) spelt out."""
    return text.translate(_CONTROLS)
