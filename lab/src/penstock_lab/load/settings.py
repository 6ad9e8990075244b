"""The one place where the load generator reads its environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment says.

    Attributes:
        api_key: sent as a bearer token (`OPENAI_API_KEY`); None for none.
    """

    api_key: str | None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read the environment, by default of this process."""
        return cls(api_key=(os.environ if environ is None else environ).get("OPENAI_API_KEY") or None)
