"""Modules that are dear to import, imported where they are first used.

Every process that runs tests reads all files of tests, and one of them runs those that need torch and transformers:
six seconds of a core to import, twenty where nothing is compiled yet.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any


class Late:
    """A module by its name, imported when something public of it is asked for; pytest asks for marks of its own."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("_"):
            raise AttributeError(attribute)
        return getattr(import_module(self._name), attribute)
