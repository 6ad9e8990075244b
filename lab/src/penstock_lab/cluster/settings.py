"""The one place where the local cluster reads its environment."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

CLUSTER_ENV: Final = "PENSTOCK_CLUSTER"
"""Carried by every process of a cluster with the cluster's id as its value, so that none can be lost."""

SUPERVISOR_ENV: Final = "PENSTOCK_CLUSTER_SUPERVISOR"
"""The same for the supervisor, apart: a supervisor that clears up must not kill another that waits its turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where things lie on this machine.

    Attributes:
        bin_dir: Folder with ready-made binaries (`PENSTOCK_BIN_DIR`), searched first.
        bin_cache: Folder where downloaded and built binaries are kept.
        state_root: Folder that holds one folder per running cluster.
    """

    bin_dir: Path | None
    bin_cache: Path
    state_root: Path

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read `PENSTOCK_BIN_DIR`, `XDG_CACHE_HOME` and `XDG_STATE_HOME` (by default of this process)."""
        env = os.environ if environ is None else environ
        home = Path(env.get("HOME") or Path.home())
        cache = Path(env.get("XDG_CACHE_HOME") or home / ".cache")
        state = Path(env.get("XDG_STATE_HOME") or home / ".local" / "state")
        chosen = env.get("PENSTOCK_BIN_DIR")
        return cls(
            bin_dir=Path(chosen).absolute() if chosen else None,
            bin_cache=cache / "penstock" / "bin",
            state_root=state / "penstock" / "clusters",
        )
