"""The one place where the demo reads its environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_NO = ("", "0", "false", "no")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How the demo behaves.

    Attributes:
        keep: leave everything running at the end (`KEEP=1`).
        plain: a line per change instead of the live view (`NO_COLOR`, `CI`, `TERM=dumb`).
    """

    keep: bool
    plain: bool

    @classmethod
    def from_environment(cls, env: Mapping[str, str]) -> Settings:
        """Read `KEEP`, `NO_COLOR`, `CI` and `TERM`."""
        return cls(
            keep=_set(env, "KEEP"),
            plain=bool(env.get("NO_COLOR")) or _set(env, "CI") or env.get("TERM", "") in ("", "dumb", "unknown"),
        )


def _set(env: Mapping[str, str], name: str) -> bool:
    return env.get(name, "").strip().lower() not in _NO
