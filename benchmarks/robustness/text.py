"""Pieces of the page: a command, a verdict, a table, running text."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

Figures = Mapping[str, Any]


def ran(figures: Figures) -> str:
    """How the part is made again."""
    return f"<!-- not run: a benchmark, minutes -->\n```sh\n{figures['command']}\n```\n"


def verdict(figures: Figures) -> str:
    """Whether the bars hold."""
    found = figures["problems"]
    return "**Holds.**" if not found else "**Missed**: " + "; ".join(found) + "."


def table(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """In Markdown; the first column is text, the others are figures."""
    rule = ["---", *["--:"] * (len(columns) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (columns, rule, *lines))


def grouped(rows: Sequence[Figures], key: Callable[[Figures], Hashable]) -> list[list[Figures]]:
    """Rows with the same key together, in the order of their first."""
    found: dict[Hashable, list[Figures]] = {}
    for row in rows:
        found.setdefault(key(row), []).append(row)
    return list(found.values())


def prose(text: str, *, indent: str = "") -> str:
    """Filled to the width of the page."""
    return textwrap.fill(text, 120, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
