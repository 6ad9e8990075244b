"""Text of others on a terminal: condition messages, labels and logs may hold sequences that a terminal obeys. Pure."""

from __future__ import annotations

import unicodedata

# Control characters (C0, DEL, C1), marks that turn or hide text, halves of surrogates, separators of lines.
_UNPRINTABLE = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def printable(text: str) -> str:
    """One line that a terminal shows and does not obey: white space as spaces, controls as replacement characters."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    if character in "\t\n\r\v\f":
        return " "
    return _REPLACEMENT if unicodedata.category(character) in _UNPRINTABLE else character
