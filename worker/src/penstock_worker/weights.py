"""Tensors of a checked checkpoint, read from safetensors files one by one into the serving dtype and device."""

from __future__ import annotations

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from penstock_worker.checkpoint import Checkpoint
from penstock_worker.errors import CheckpointError


def load_weights(checkpoint: Checkpoint, *, dtype: torch.dtype, device: torch.device) -> dict[str, Tensor]:
    """Load what the decoder needs and nothing else.

    Raises:
        CheckpointError: a file changed or broke since it was checked.
    """
    needed = checkpoint.config.tensors()
    by_file: dict[str, list[str]] = {}
    for name in needed:
        by_file.setdefault(str(checkpoint.files[name]), []).append(name)
    weights: dict[str, Tensor] = {}
    for path, names in by_file.items():
        try:
            with safe_open(path, framework="pt") as file:
                for name in names:
                    weights[name] = file.get_tensor(name).to(device=device, dtype=dtype)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{path}: cannot be read ({error})") from error
    return weights
