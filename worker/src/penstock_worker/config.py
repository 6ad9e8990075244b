"""What the flags ask for, and the sizes that follow from flags, checkpoint, emulated device and memory.

`ServeOptions` is what the command line says (flag names and meanings are vLLM's); `EngineConfig` is what the engine
runs with. A flag goes before the profile, the profile before a default. Nothing else reads the environment.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from penstock_contract.profile import Profile
from penstock_worker.checkpoint import ModelConfig
from penstock_worker.errors import ConfigError

DEFAULT_MAX_NUM_SEQS: Final = 256
DEFAULT_MAX_NUM_BATCHED_TOKENS: Final = 2048
DEFAULT_BLOCK_SIZE: Final = 16
_KV_SHARE_OF_MEMORY: Final = 0.25
_KV_SHARE_OF_DEVICE: Final = 0.9
_ITEM_SIZE: Final = {"float32": 4, "bfloat16": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """The flags of `penstock-worker serve`; None means "derive it"."""

    model: Path
    host: str
    port: int
    admin_port: int
    served_model_name: str | None = None
    dtype: str = "auto"
    device: str = "auto"
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    max_model_len: int | None = None
    block_size: int = DEFAULT_BLOCK_SIZE
    kv_cache_tokens: int | None = None
    prefix_caching: bool = True
    threads: int | None = None
    emulate_device: str | None = None
    drain_timeout_seconds: float = 120.0

    @property
    def model_name(self) -> str:
        """The name under which requests ask for the model."""
        return self.served_model_name or str(self.model)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """Sizes of one engine: tokens, sequences and pages as counts; `auto` is decided where torch is known."""

    dtype: str
    device: str
    max_model_len: int
    max_num_seqs: int
    max_num_batched_tokens: int
    block_size: int
    kv_pages: int
    prefix_caching: bool = True
    threads: int | None = None

    @property
    def kv_tokens(self) -> int:
        """KV capacity in tokens."""
        return self.kv_pages * self.block_size


def derive(options: ServeOptions, model: ModelConfig, profile: Profile | None, free_bytes: int) -> EngineConfig:
    """Sizes from flags, checkpoint, profile and memory.

    Args:
        options: the flags.
        model: shape of the checkpoint.
        profile: the emulated device, if one is emulated.
        free_bytes: memory that may hold the KV cache, on the device.

    Raises:
        ConfigError: the flags contradict each other or the checkpoint; the message names the flags.
    """
    dtype = _dtype(options.dtype, model)
    if options.max_model_len is not None and options.max_model_len > model.max_positions:
        raise ConfigError(
            f"--max-model-len {options.max_model_len} exceeds the checkpoint's max_position_embeddings"
            f" {model.max_positions}"
        )
    seqs = options.max_num_seqs or (profile.max_num_seqs if profile else DEFAULT_MAX_NUM_SEQS)
    fallback = profile.max_num_batched_tokens if profile else DEFAULT_MAX_NUM_BATCHED_TOKENS
    budget = options.max_num_batched_tokens or max(fallback, seqs)
    if budget < seqs:
        raise ConfigError(f"--max-num-batched-tokens {budget} is less than --max-num-seqs {seqs}; raise it")
    wanted_len = options.max_model_len or model.max_positions
    kv_tokens = options.kv_cache_tokens or (profile.kv_tokens if profile else None)
    if kv_tokens is None:
        fits = free_bytes // model.kv_bytes_per_token(_ITEM_SIZE[dtype])
        kv_tokens = min(fits, seqs * wanted_len)
    pages = kv_tokens // options.block_size
    capacity = pages * options.block_size
    if capacity < 2 or (options.max_model_len is not None and capacity < wanted_len):
        raise ConfigError(
            f"the KV cache holds {capacity} tokens, --max-model-len {wanted_len} needs more;"
            " raise --kv-cache-tokens or lower --max-model-len"
        )
    return EngineConfig(
        dtype=dtype,
        # The tiny model behind an emulated device needs no real one.
        device="cpu" if profile else options.device,
        max_model_len=min(wanted_len, capacity),
        max_num_seqs=seqs,
        max_num_batched_tokens=budget,
        block_size=options.block_size,
        kv_pages=pages,
        prefix_caching=options.prefix_caching,
        # An emulated device shares its machine with others; more threads only spin.
        threads=options.threads or (1 if profile else None),
    )


def kv_share(free_bytes: int, *, device: str) -> int:
    """The part of free memory that the KV cache takes by default, in bytes."""
    return int(free_bytes * (_KV_SHARE_OF_MEMORY if device == "cpu" else _KV_SHARE_OF_DEVICE))


def host_free_bytes() -> int:
    """Memory of this machine or container that is free, in bytes."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):  # absent, or the word "max"
            return min(free, int(Path("/sys/fs/cgroup", name).read_text(encoding="ascii")))
    return free


def _dtype(flag: str, model: ModelConfig) -> str:
    """`auto` is the checkpoint's; half precision runs as bfloat16, which has its range on every device."""
    if flag != "auto":
        return flag
    return "float32" if model.dtype == "float32" else "bfloat16"
