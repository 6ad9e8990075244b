"""Builds an engine from a checked checkpoint. The only way from the server to torch; imported in the loading thread."""

from __future__ import annotations

import torch

from penstock_contract.profile import Profile
from penstock_worker.accounting import Accounting
from penstock_worker.checkpoint import Checkpoint
from penstock_worker.config import EngineConfig, ServeOptions, derive, kv_share
from penstock_worker.engine import Engine
from penstock_worker.errors import ConfigError
from penstock_worker.model import Decoder
from penstock_worker.pacing import EmulatedDevice, Pacer, WallClock
from penstock_worker.pages import PagePool
from penstock_worker.runner import Runner
from penstock_worker.scheduler import Scheduler
from penstock_worker.weights import load_weights


def build_engine(
    options: ServeOptions,
    checkpoint: Checkpoint,
    config: EngineConfig,
    profile: Profile | None,
    *,
    accounting: Accounting,
) -> tuple[Engine, EngineConfig]:
    """Load the model and put an engine around it.

    Returns:
        The engine, and its sizes: on an accelerator they are known only once the weights are there.

    Raises:
        StartupError: the weights or the device cannot be used.
    """
    device = _device(config.device)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    weights = load_weights(checkpoint, dtype=getattr(torch, config.dtype), device=device)
    if device.type == "cuda":
        free, _total = torch.cuda.mem_get_info(device)
        config = derive(options, checkpoint.config, profile, kv_share(free, device=device.type))
    decoder = Decoder(checkpoint.config, weights, max_model_len=config.max_model_len)
    runner = Runner(decoder, config)
    runner.warm_up()
    pool = PagePool(pages=config.kv_pages, page_size=config.block_size, caching=config.prefix_caching)
    scheduler = Scheduler(
        pool,
        max_num_seqs=config.max_num_seqs,
        max_num_batched_tokens=config.max_num_batched_tokens,
        max_model_len=config.max_model_len,
    )
    pacer: Pacer = EmulatedDevice(profile.model) if profile else WallClock()
    return Engine(scheduler, runner, pacer=pacer, accounting=accounting), config


def _device(flag: str) -> torch.device:
    found = torch.cuda.is_available() if flag != "cpu" else False
    if flag == "cuda" and not found:
        raise ConfigError("--device cuda: torch finds no CUDA device")
    return torch.device("cuda" if found else "cpu")
