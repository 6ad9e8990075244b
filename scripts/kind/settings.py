"""The one place where the kind cluster reads its environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

PREFIX: Final = "PENSTOCK_KIND_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What may differ between machines.

    Attributes:
        cluster: name of the kind cluster.
        node_image: to run nodes from (`PENSTOCK_KIND_NODE_IMAGE`); empty is kind's own, or one made here.
        base: image to build ours on (`PENSTOCK_KIND_BASE`); empty is the Dockerfile's, or one made here.
        torch_index: package index with CPU builds of torch (`PENSTOCK_KIND_TORCH_INDEX`), for a base without torch, as
            the Dockerfile's is; empty where the base has one.
        engine: `docker` uses the Docker that answers, `private` starts one of its own (`PENSTOCK_KIND_ENGINE`); empty
            takes the first that works.
        cache: folder of root file systems, and of the private engine's images.
        run: folder of its sockets; short, since a path of a socket has 107 bytes.
        network: name of its network namespace.
    """

    cluster: str
    node_image: str
    base: str
    torch_index: str
    engine: str
    cache: Path
    run: Path
    network: str

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Read the variables above and `XDG_CACHE_HOME` (by default of this process)."""
        env = os.environ if environ is None else environ
        cache = Path(env.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        cluster = env.get(f"{PREFIX}CLUSTER") or "penstock"
        return cls(
            cluster=cluster,
            node_image=env.get(f"{PREFIX}NODE_IMAGE", ""),
            base=env.get(f"{PREFIX}BASE", ""),
            torch_index=env.get(f"{PREFIX}TORCH_INDEX", ""),
            engine=env.get(f"{PREFIX}ENGINE", ""),
            cache=cache / "penstock" / "kind",
            run=Path("/run/penstock-kind"),
            network="penstock-kind",
        )
