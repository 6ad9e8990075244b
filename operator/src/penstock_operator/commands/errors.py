"""What a command cannot decide for the one who called it."""

from __future__ import annotations


class AmbiguousError(Exception):
    """Several things may be meant; the message names them and says what to give."""
