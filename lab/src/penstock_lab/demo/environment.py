"""On what a run ran: versions and machine, for its summary."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Final

import psutil

from penstock_lab.cluster.catalog import TOOLS

_PACKAGES: Final = ("penstock", "torch", "aiohttp", "kopf")


def describe() -> dict[str, str]:
    """Name to value, all texts."""
    found = {name: _version(name) for name in _PACKAGES}
    found |= {name: tool.version for name, tool in TOOLS.items()}
    memory = psutil.virtual_memory().total / 2**30
    found["python"] = platform.python_version()
    found["machine"] = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB"
    load = os.getloadavg()
    found["load average of the last 15 minutes"] = f"{load[2]:.1f}"
    return found


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
