"""Rewriting of paths inside a container to real ones, in place of a mount namespace.

A path is replaced where a word in command, args or an environment value begins with it or holds it after a character
that cannot belong to a path or host name (`--model=/models/x`, `sh -c "cat /etc/app/y"`). Paths that a program has
built in are out of reach; that is the price of running without root.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class PathMap:
    """A mapping from absolute paths in the container to real paths; the longest match wins."""

    def __init__(self, mapping: Mapping[str, str]) -> None:
        self._mapping = {inside.rstrip("/"): real.rstrip("/") for inside, real in mapping.items() if inside.strip("/")}
        inside = "|".join(re.escape(path) for path in sorted(self._mapping, key=len, reverse=True))
        self._pattern = re.compile(rf"(?<![\w./\]-])({inside})(?![\w.-])") if inside else None

    def rewrite(self, text: str) -> str:
        """Return the text with every mapped path replaced."""
        if self._pattern is None:
            return text
        return self._pattern.sub(lambda match: self._mapping[match[1]], text)
