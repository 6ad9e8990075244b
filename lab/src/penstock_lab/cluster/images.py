"""Which local program stands for which container image by default: Penstock's own, from this virtual environment."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


# Imported once and forked: a worker starts in a second instead of ten. None of our own modules, whose edits would go
# unnoticed until the cluster restarts.
_PRELOAD = ("torch", "aiohttp.web", "numpy", "tokenizers", "safetensors", "jinja2", "prometheus_client")


def default_images(*, models: Path) -> dict[str, dict[str, Any]]:
    """The image table of the node agent: image glob to `{argv, env, paths, preload}`.

    Args:
        models: Folder that containers of the worker see as `/models`.
    """
    paths = {"/models": str(models)}
    worker = {"argv": ["{python}", "-m", "penstock_worker"], "env": {}, "paths": paths, "preload": list(_PRELOAD)}
    command = {
        "/opt/penstock/bin/penstock": f"{sys.prefix}/bin/penstock"
    }  # where the real image has it, for `helm test`
    operator = {"argv": ["{python}", "-m", "penstock_operator"], "env": {}, "paths": command}
    gateway = {"argv": ["{python}", "-m", "penstock_gateway"], "env": {}, "paths": {}}
    return {"penstock/worker:*": worker, "penstock/operator:*": operator, "penstock/gateway:*": gateway}
